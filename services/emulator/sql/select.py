"""SELECT and set operations: from a tree to the engine's SQL with named, typed outputs."""

from dataclasses import dataclass, field

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql import stars
from services.emulator.sql.casts import cast
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.dialect import TEXT, position, shown
from services.emulator.sql.functions.calls import direction
from services.emulator.sql.names import fold
from services.emulator.sql.operators import comparable, truth
from services.emulator.sql.scope import Expr, Output, Query, Scope
from services.emulator.sql.tables import bind_from
from services.emulator.sql.types import common

DEEPEST = 60  # nested queries; a bound on what one statement may cost to compile


def compile_query(c: Compiler, node: exp.Expr, parent: Scope | None = None) -> Query:
    """Return *node*, a SELECT, set operation, VALUES or parenthesised query, compiled."""
    c.depth += 1
    if c.depth > DEEPEST:
        raise errors.compilation(1003, "42000", "query nested too deep")
    try:
        return _with(c, node, parent)
    finally:
        c.depth -= 1


def _with(c: Compiler, node: exp.Expr, parent: Scope | None) -> Query:
    clause = node.args.get("with_")
    c.ctes.append({})
    heads = [_cte(c, cte, parent) for cte in clause.expressions] if clause else []
    try:
        query = _body(c, node, parent)
    finally:
        c.ctes.pop()
    if not heads:
        return query
    return Query(f"WITH RECURSIVE {', '.join(heads)} {query.sql}", query.outputs)


def _cte(c: Compiler, cte: exp.CTE, parent: Scope | None) -> str:
    name, alias = fold(cte.args["alias"].this), c.alias("q")
    renamed = tuple(fold(part) for part in cte.args["alias"].args.get("columns") or ())
    inner = cte.this
    if isinstance(inner, exp.Union) and _mentions(inner.expression, name):
        return _recursive(c, inner, name=name, alias=alias, renamed=renamed, parent=parent)
    query = compile_query(c, inner, parent)
    c.ctes[-1][name] = _named(alias, query, renamed)
    return f"{alias} AS MATERIALIZED ({query.sql})" if _volatile(query.sql) else f"{alias} AS ({query.sql})"


def _volatile(sql: str) -> bool:
    return "random" in sql or "uuid" in sql or "nextval" in sql


def _named(alias: str, query: Query, renamed: tuple[str, ...]) -> Query:
    outputs = query.source(alias, (), renamed).columns
    return Query(
        f"SELECT * FROM {alias}", tuple(Output(column.name, column.type, column.nullable) for column in outputs)
    )


def _mentions(node: exp.Expr, name: str) -> bool:
    return any(fold(table.this) == name and not table.args.get("db") for table in node.find_all(exp.Table))


def _recursive(
    c: Compiler, union: exp.Union, *, name: str, alias: str, renamed: tuple[str, ...], parent: Scope | None
) -> str:
    anchor = compile_query(c, union.this, parent)
    c.ctes[-1][name] = _named(alias, anchor, renamed)
    step = compile_query(c, union.expression, parent)
    if len(step.outputs) != len(anchor.outputs):
        raise _uneven(anchor, step)
    word = "UNION" if union.args.get("distinct") else "UNION ALL"
    columns = ", ".join(f"c{index}" for index in range(len(anchor.outputs)))
    return f"{alias}({columns}) AS ({_brought(anchor, anchor.outputs)} {word} {_brought(step, anchor.outputs)})"


def _brought(query: Query, outputs: tuple[Output, ...]) -> str:
    columns = ", ".join(
        f"CAST(r.c{index} AS {output.type.physical}) AS c{index}" for index, output in enumerate(outputs)
    )
    return f"(SELECT {columns} FROM ({query.sql}) AS r)"


def _body(c: Compiler, node: exp.Expr, parent: Scope | None) -> Query:
    match node:
        case exp.Select():
            return _Select(c, node, parent).compile()
        case exp.Union() | exp.Intersect() | exp.Except():
            return _set_operation(c, node, parent)
        case exp.Subquery():
            inner = compile_query(c, node.this, parent)
            return _tail(c, inner, node, parent)
    raise errors.syntax(*position(node), node.sql(dialect="snowflake").split(" ")[0])


def _uneven(left: Query, right: Query) -> errors.SqlError:
    text = f"Invalid number of result columns for set operator input branches, expected {len(left.outputs)}, got {len(right.outputs)} in branch {{2}}"
    return errors.compilation(1789, "42601", text)


def _set_operation(c: Compiler, node: exp.SetOperation, parent: Scope | None) -> Query:
    left, right = compile_query(c, node.this, parent), compile_query(c, node.expression, parent)
    if node.args.get("by_name"):
        right = _by_name(left, right)
    if len(left.outputs) != len(right.outputs):
        raise _uneven(left, right)
    if not isinstance(node, exp.Union) and not node.args.get("distinct"):
        raise errors.syntax(*position(node), "ALL")
    word = {exp.Union: "UNION", exp.Intersect: "INTERSECT", exp.Except: "EXCEPT"}[type(node)]
    outputs = []
    for one, two in zip(left.outputs, right.outputs, strict=True):
        kind = common(one.type, two.type)
        if kind is None:
            raise errors.compilation(
                1789, "42601", f"Inconsistent data type for result columns: {one.type} and {two.type}"
            )
        outputs.append(Output(one.name, kind, one.nullable or two.nullable))
    sides = [_converted(c, query, tuple(outputs)) for query in (left, right)]
    every = "" if node.args.get("distinct") else " ALL"
    return _tail(c, Query(f"{sides[0]} {word}{every} {sides[1]}", tuple(outputs)), node, parent)


def _by_name(left: Query, right: Query) -> Query:
    order = {output.name: index for index, output in enumerate(right.outputs)}
    if set(order) != {output.name for output in left.outputs}:
        raise _uneven(left, right)
    picks = [order[output.name] for output in left.outputs]
    columns = ", ".join(f"r.c{pick} AS c{index}" for index, pick in enumerate(picks))
    return Query(f"SELECT {columns} FROM ({right.sql}) AS r", tuple(right.outputs[pick] for pick in picks))


def _converted(c: Compiler, query: Query, outputs: tuple[Output, ...]) -> str:
    columns = ", ".join(
        f"{exactly(cast(c, Expr(f'r.c{index}', given.type), wanted.type))} AS c{index}"
        for index, (given, wanted) in enumerate(zip(query.outputs, outputs, strict=True))
    )
    return f"(SELECT {columns} FROM ({query.sql}) AS r)"


def exactly(value: Expr) -> str:
    """Return *value* in the physical type that its type promises."""
    return f"CAST({value.sql} AS {value.type.physical})"


def _tail(c: Compiler, query: Query, node: exp.Expr, parent: Scope | None) -> Query:
    """Return *query* with the ORDER BY and LIMIT that follow a set operation or parentheses."""
    order, sql = node.args.get("order"), query.sql
    if order is None and not node.args.get("limit") and not node.args.get("offset"):
        return query
    scope = Scope(parent, [query.source("r", ())])
    keys = [_outer_key(c, item, query, scope) for item in order.expressions] if order else []
    columns = ", ".join(f"r.c{index}" for index in range(len(query.outputs)))
    sql = f"SELECT {columns} FROM ({query.sql}) AS r"
    return Query(sql + (f" ORDER BY {', '.join(keys)}" if keys else "") + limits(c, node, scope), query.outputs)


def _outer_key(c: Compiler, item: exp.Ordered, query: Query, scope: Scope) -> str:
    if isinstance(item.this, exp.Literal) and not item.this.is_string:
        place = _place(item.this, len(query.outputs))
        return f"{comparable(Expr(f'r.c{place}', query.outputs[place].type))} {direction(item)}"
    return f"{comparable(c.bind(item.this, scope))} {direction(item)}"


def _place(literal: exp.Literal, count: int) -> int:
    number = int(literal.this) if str(literal.this).isdigit() else 0
    if not 1 <= number <= count:
        raise errors.compilation(
            1789, "42601", f"ORDER BY position {literal.this} is not in select list" if count else "invalid position"
        )
    return number - 1


def limits(c: Compiler, node: exp.Expr, scope: Scope) -> str:
    """Return LIMIT and OFFSET; FETCH and TOP are the same thing."""
    limit, offset, text = node.args.get("limit"), node.args.get("offset"), ""
    if isinstance(limit, exp.Limit):
        if (options := limit.args.get("limit_options")) is not None and (
            options.args.get("percent") or options.args.get("with_ties")
        ):
            raise errors.syntax(*position(limit), "PERCENT")
        if limit.args.get("offset"):
            raise errors.syntax(*position(limit), ",")
        text += _count(c, limit.expression, "LIMIT", scope)
    elif isinstance(limit, exp.Fetch):
        text += _count(c, limit.args["count"], "LIMIT", scope)
    if offset is not None:
        text += _count(c, offset.expression, "OFFSET", scope)
    return text


def _count(c: Compiler, node: exp.Expr, word: str, scope: Scope) -> str:
    if isinstance(node, exp.Null):
        return ""
    value = c.bind(node, Scope(scope.parent))
    shown_text = str(value.constant if value.constant is not None else "")
    if not shown_text.isdigit():
        if value.sql == "NULL" or shown_text == "":
            return ""
        raise errors.compilation(
            1003, "42000", f"syntax error line 1 at position {position(node)[1]} unexpected '{node.sql()}'."
        )
    return f" {word} {shown_text}"


@dataclass(slots=True)
class _Select:
    c: Compiler
    node: exp.Select
    parent: Scope | None
    scope: Scope = field(default_factory=Scope)
    items: list[tuple[str, Expr]] = field(default_factory=list)
    waiting: dict[str, exp.Expr] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)

    def compile(self) -> Query:
        c, node = self.c, self.node
        self._refuse_foreign()
        self.scope = Scope(self.parent)
        source = bind_from(c, node, self.scope)
        self.waiting = {fold(item.args["alias"]): item.this for item in node.expressions if isinstance(item, exp.Alias)}
        self.scope.pending = self._alias
        where = node.args.get("where")
        condition = truth(c, where.this, self.scope) if where else None
        self.scope.aggregates = True
        self._project()
        group = self._group()
        having = self._filter("having")
        qualify = self._filter("qualify")
        order = self._order()
        columns = ", ".join(f"{exactly(value)} AS c{index}" for index, (_, value) in enumerate(self.items))
        distinct = "DISTINCT " if node.args.get("distinct") else ""
        parts = [
            f"SELECT {distinct}{columns}",
            source,
            f"WHERE {condition.sql}" if condition else "",
            group,
            having,
            qualify,
            order,
        ]
        sql = " ".join(part for part in parts if part) + limits(c, node, self.scope)
        outputs = tuple(Output(name, value.type, value.nullable) for name, value in self.items)
        return Query(sql, outputs)

    def _refuse_foreign(self) -> None:
        distinct = self.node.args.get("distinct")
        if distinct is not None and distinct.args.get("on"):
            raise errors.syntax(*position(distinct), "ON")
        for part in _NEVER:
            if self.node.args.get(part):
                raise errors.syntax(*position(self.node), part.upper())
        if not self.node.expressions:
            raise errors.syntax(*position(self.node), "FROM")

    def _alias(self, name: str) -> Expr | None:
        """Return an output of this SELECT by its alias, compiled at its first use."""
        node = self.waiting.get(name)
        if node is None or name in self.busy:
            return None
        self.busy.add(name)
        try:
            outer = self.scope.aggregates
            self.scope.aggregates = True
            value = self.c.bind(node, self.scope)
            self.scope.aggregates = outer
        finally:
            self.busy.discard(name)
        self.scope.aliases[name] = value
        return value

    def _project(self) -> None:
        for item in self.node.expressions:
            if stars.is_star(item):
                self.items += stars.expand(self.c, item, self.scope)
                continue
            inner = item.this if isinstance(item, exp.Alias) else item
            name = fold(item.args["alias"]) if isinstance(item, exp.Alias) else named(inner, item.meta.get(TEXT))
            if isinstance(item, exp.Alias):
                self.busy.add(name)
                value = self.scope.aliases.get(name) or self.c.bind(inner, self.scope)
                self.busy.discard(name)
                self.scope.aliases[name] = value
            else:
                value = self.c.bind(inner, self.scope)
            self.items.append((name, value))

    def _group(self) -> str:
        group = self.node.args.get("group")
        if group is None:
            return ""
        if group.args.get("all"):
            return "GROUP BY ALL"
        keys = [self._key(part) for part in group.expressions]
        for kind in ("rollup", "cube", "grouping_sets"):
            keys += [self._key(part) for part in group.args.get(kind) or ()]
        return f"GROUP BY {', '.join(keys)}"

    def _key(self, part: exp.Expr) -> str:
        words: dict[type[exp.Expr], str] = {exp.Rollup: "ROLLUP", exp.Cube: "CUBE", exp.GroupingSets: "GROUPING SETS"}
        if type(part) in words:
            return f"{words[type(part)]} ({', '.join(self._key(item) for item in part.expressions)})"
        if isinstance(part, exp.Tuple):
            return f"({', '.join(self._key(item) for item in part.expressions)})"
        if isinstance(part, exp.Literal) and not part.is_string:
            place = _place(part, len(self.items))
            value = self.items[place][1]
        else:
            value = self.c.bind(part, self.scope)
        if value.aggregate:
            raise errors.compilation(
                2059, "42601", f"Invalid aggregate in GROUP BY clause [{part.sql(dialect='snowflake').upper()}]"
            )
        if value.type.name == "VECTOR":
            raise errors.compilation(2304, "42601", f"Expressions of type {value.type} cannot be used as GROUP BY keys")
        return f"({value.sql})"

    def _filter(self, clause: str) -> str:
        node = self.node.args.get(clause)
        return f"{clause.upper()} {truth(self.c, node.this, self.scope).sql}" if node is not None else ""

    def _order(self) -> str:
        order = self.node.args.get("order")
        if order is None:
            return ""
        return "ORDER BY " + ", ".join(self._order_key(item) for item in order.expressions)

    def _order_key(self, item: exp.Ordered) -> str:
        if isinstance(item.this, exp.Column) and fold(item.this.this) == "ALL" and not item.this.args.get("table"):
            return ", ".join(f"{index + 1} {direction(item)}" for index in range(len(self.items)))
        if isinstance(item.this, exp.Literal) and not item.this.is_string:
            place = _place(item.this, len(self.items))
        elif (
            isinstance(item.this, exp.Column)
            and not item.this.args.get("table")
            and (place := self._output(fold(item.this.this))) >= 0
        ):
            pass
        else:
            value = self.c.bind(item.this, self.scope)
            self._ordered_type(value)
            return f"{comparable(value)} {direction(item)}"
        self._ordered_type(self.items[place][1])
        key = f"{place + 1}" if self.items[place][1].type.name != "TIMESTAMP_TZ" else comparable(self.items[place][1])
        return f"{key} {direction(item)}"

    def _ordered_type(self, value: Expr) -> None:
        if value.type.name == "VECTOR" and self.c.session.strict_vector_order:
            raise errors.compilation(2304, "42601", f"Expressions of type {value.type} cannot be used as ORDER BY keys")

    def _output(self, name: str) -> int:
        places = [index for index, (shown_name, _) in enumerate(self.items) if shown_name == name]
        return places[0] if places else -1


_NEVER = (
    "distribute",
    "cluster",
    "sort",
    "sample",
    "windows",
    "laterals",
    "hint_",
    "prewhere",
    "format",
    "settings",
    "operation_modifiers",
    "kind",
)


def named(node: exp.Expr, text: object) -> str:
    """Return the name of an output without an alias: the column's own, else the text in upper case."""
    if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
        return fold(node.this)
    if isinstance(node, exp.Identifier):
        return fold(node)
    return shown(str(text or node.sql(dialect="snowflake")))
