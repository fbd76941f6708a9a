"""Functions that answer with rows: FLATTEN, GENERATOR, SPLIT_TO_TABLE, RESULT_SCAN, and tables named by text."""

from sqlglot import exp

from services.emulator import errors
from services.emulator.protocol.arrow import from_rows
from services.emulator.sql import information
from services.emulator.sql import types as t
from services.emulator.sql.casts import cast
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.names import fold, split
from services.emulator.sql.scope import Column, Scope, Source, quoted
from services.emulator.sql.semi_paths import key_step, member
from services.emulator.sql.tables import item
from services.emulator.sql.types import SqlType


def compile_table_function(c: Compiler, call: exp.Expr, node: exp.Expr, scope: Scope) -> str:
    """Return an entry of FROM for ``f(...)`` behind LATERAL, ``TABLE(f(...))`` or ``IDENTIFIER('t')``."""
    name = fold(call.this)
    if name == "IDENTIFIER":
        return _identified(c, call, node, scope)
    if name == "TABLE":
        inner = call.expressions[0]
        if isinstance(inner, exp.Literal | exp.Parameter):
            return _identified(c, call, node, scope)
        if isinstance(inner, exp.Dot):
            inner = inner.expression
        if not isinstance(inner, exp.Anonymous):
            return _identified(c, call, node, scope)
        return compile_table_function(c, inner, node, scope)
    function = _FUNCTIONS.get(name)
    if function is None:
        raise errors.unknown_function(name)
    alias = c.alias()
    sql, columns = function(c, _arguments(call), scope)
    shown, renamed = _names(node)
    names = list(renamed) + [column for column, _ in columns[len(renamed) :]]
    found = tuple(
        Column(name_, kind, nullable=True, sql=f"{alias}.{quoted_name(at)}")
        for at, (name_, (_, kind)) in enumerate(zip(names, columns, strict=True))
    )
    scope.sources.append(Source((shown,) if shown else (), found))
    return f"LATERAL ({sql}) AS {alias}" if name in _LATERAL else f"({sql}) AS {alias}"


def quoted_name(at: int) -> str:
    return f"c{at}"


def _names(node: exp.Expr) -> tuple[str, tuple[str, ...]]:
    alias = node.args.get("alias")
    if not isinstance(alias, exp.TableAlias):
        return "", ()
    return fold(alias.this), tuple(fold(column) for column in alias.args.get("columns") or ())


def _arguments(call: exp.Expr) -> dict[str, exp.Expr]:
    """Return arguments by name; those without one are numbered."""
    found: dict[str, exp.Expr] = {}
    for at, part in enumerate(call.expressions):
        if isinstance(part, exp.Kwarg):
            found[part.this.name.upper()] = part.expression
        else:
            found[str(at)] = part
    return found


def _identified(c: Compiler, call: exp.Expr, node: exp.Expr, scope: Scope) -> str:
    inner = call.expressions[0]
    value = c.bind(inner, Scope()) if not isinstance(inner, exp.Column) else None
    parts = split(str(value.constant)) if value is not None else tuple(fold(part) for part in inner.parts)
    names = dict(
        zip(("this", "db", "catalog"), (exp.to_identifier(part, quoted=True) for part in reversed(parts)), strict=False)
    )
    table = exp.Table(**names, alias=node.args.get("alias"))
    return item(c, table, scope)


Columns = list[tuple[str, SqlType]]


def _flatten(c: Compiler, given: dict[str, exp.Expr], scope: Scope) -> tuple[str, Columns]:
    source = given.get("INPUT") or given.get("0")
    if source is None:
        raise errors.compilation(1003, "42601", "missing argument INPUT for FLATTEN")
    value = c.bind(source, scope)
    if not value.type.is_semi and value.type.name != "NULL":
        raise errors.invalid_types("FLATTEN", str(value.type))
    flags = {name: _flag(given.get(name)) for name in ("OUTER", "RECURSIVE")}
    mode = str(given["MODE"].name).upper() if "MODE" in given else "BOTH"
    path = str(given["PATH"].name) if "PATH" in given else ""
    inner = value.sql
    if path:
        inner = member(value, "$" + "".join(key_step(part) for part in path.split("."))).sql
    rows = f"sf_flatten(COALESCE({inner}, 'null'), {flags['OUTER']}, {flags['RECURSIVE']}, '{mode}', {quoted(path)})"
    sql = f"SELECT 1 AS c0, r.k AS c1, r.p AS c2, r.i AS c3, r.v AS c4, r.t AS c5 FROM (SELECT unnest({rows}) AS r)"
    return sql, [
        ("SEQ", t.number(19)),
        ("KEY", t.VARCHAR),
        ("PATH", t.VARCHAR),
        ("INDEX", t.number(9)),
        ("VALUE", t.VARIANT),
        ("THIS", t.VARIANT),
    ]


def _flag(node: exp.Expr | None) -> str:
    return "TRUE" if isinstance(node, exp.Boolean) and node.this else "FALSE"


def _generator(c: Compiler, given: dict[str, exp.Expr], scope: Scope) -> tuple[str, Columns]:
    count = given.get("ROWCOUNT") or given.get("0")
    number = c.bind(count, Scope()).constant if count is not None else 0
    if not isinstance(number, int):
        raise errors.compilation(1015, "22023", "argument ROWCOUNT to function GENERATOR needs to be constant")
    return f"SELECT range AS c0 FROM range({number})", [("$GENERATED", t.number(19))]


def _split_to_table(c: Compiler, given: dict[str, exp.Expr], scope: Scope) -> tuple[str, Columns]:
    text, mark = (cast(c, c.bind(given[key], scope), t.VARCHAR).sql for key in ("0", "1"))
    sql = f"SELECT 1 AS c0, generate_subscripts(parts, 1) AS c1, unnest(parts) AS c2 FROM (SELECT string_split({text}, {mark}) AS parts)"
    return sql, [("SEQ", t.number(19)), ("INDEX", t.number(9)), ("VALUE", t.VARCHAR)]


def _strtok_split(c: Compiler, given: dict[str, exp.Expr], scope: Scope) -> tuple[str, Columns]:
    text = cast(c, c.bind(given["0"], scope), t.VARCHAR).sql
    marks = cast(c, c.bind(given["1"], scope), t.VARCHAR).sql if "1" in given else "' '"
    sql = f"SELECT 1 AS c0, generate_subscripts(parts, 1) AS c1, unnest(parts) AS c2 FROM (SELECT sf_tokens({text}, {marks}) AS parts)"
    return sql, [("SEQ", t.number(19)), ("INDEX", t.number(9)), ("VALUE", t.VARCHAR)]


def _result_scan(c: Compiler, given: dict[str, exp.Expr], scope: Scope) -> tuple[str, Columns]:
    query_id = str(c.bind(given["0"], Scope()).constant)
    record = c.session.account.history.get(query_id)
    if record is None or record.result is None:
        raise errors.SqlError(709, "02000", f"Statement {query_id} not found")
    result = record.result
    name = f"r{c.alias()}_{c.session.session_id}"
    table = result.table if result.table is not None else from_rows(result.rows, result.outputs)
    c.session.cursor.register(name, table.rename_columns([f"c{at}" for at in range(table.num_columns)]))
    return f"SELECT * FROM {name}", [(output.name, output.type) for output in result.outputs]


_LISTED = 100  # docs: query_history, RESULT_LIMIT left out


def _query_history(c: Compiler, given: dict[str, exp.Expr], scope: Scope) -> tuple[str, Columns]:
    return information.history(c, limit=_number(c, given.get("RESULT_LIMIT"), _LISTED))


def _history_by_session(c: Compiler, given: dict[str, exp.Expr], scope: Scope) -> tuple[str, Columns]:
    wanted = _number(c, given.get("SESSION_ID") or given.get("0"), c.session.session_id)
    return information.history(c, limit=_number(c, given.get("RESULT_LIMIT"), _LISTED), session_id=wanted)


def _number(c: Compiler, node: exp.Expr | None, fallback: int) -> int:
    if node is None:
        return fallback
    return int(c.session.evaluate(cast(c, c.bind(node, Scope()), t.INTEGER).sql))


_FUNCTIONS = {
    "QUERY_HISTORY": _query_history,
    "QUERY_HISTORY_BY_SESSION": _history_by_session,
    "FLATTEN": _flatten,
    "GENERATOR": _generator,
    "SPLIT_TO_TABLE": _split_to_table,
    "STRTOK_SPLIT_TO_TABLE": _strtok_split,
    "RESULT_SCAN": _result_scan,
}
_LATERAL = {"FLATTEN", "SPLIT_TO_TABLE", "STRTOK_SPLIT_TO_TABLE"}
