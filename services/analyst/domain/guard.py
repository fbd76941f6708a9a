"""What may be executed: one query over the tables, columns and functions that a semantic model allows, whoever wrote it.

Everything is by allow-list: a kind of node that is not named in ``productions`` is refused. What runs is rendered from the checked tree, over
projections of the base tables to their allowed columns, so that a column which is not allowed cannot be reached by any reading of the text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, traverse_scope

from services.analyst.domain.productions import FUNCTIONS, NAMED_FUNCTIONS, NODES
from services.mesh.errors import InvalidInput

MAX_BYTES = 64 << 10
MAX_TOKENS = 12_000
MAX_NESTING = 100  # of brackets; the parser needs some stack for each
MAX_NODES = 8_000
MAX_DEPTH = 150  # of the tree; renderers recurse
MAX_SUBQUERY_DEPTH = 12
MAX_GROWTH = 64  # concatenations and replacements: each may double a text
MAX_PADDING = 1000
MAX_LITERAL = 10_000

_OPENING, _CLOSING = {"L_PAREN", "L_BRACKET", "L_BRACE"}, {"R_PAREN", "R_BRACKET", "R_BRACE"}
_CTE_PREFIX = "q__"


class StatementRefused(InvalidInput):
    """The statement is not one query over what is allowed; the message says what is not."""

    reason = "STATEMENT_REFUSED"


@dataclass(frozen=True, slots=True)
class TableName:
    """A base table as a model names it; parts that were not given are empty."""

    table: str
    schema: str = ""
    database: str = ""

    def matches(self, node: exp.Table) -> bool:
        """Say whether *node* names this table: each part that it gives is the same, ignoring case, or is not known here."""
        pairs = ((node.name, self.table), (node.db, self.schema), (node.catalog, self.database))
        return all(not given or not own or given.casefold() == own.casefold() for given, own in pairs)

    @property
    def dotted(self) -> str:
        """All parts, as in ``database.schema.table``."""
        return ".".join(part for part in (self.database, self.schema, self.table) if part)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a base table is in the warehouse, and its columns there."""

    table: exp.Table
    columns: Sequence[str]


Columns = frozenset[str] | None  # case folded; None: all


def parse_statement(text: str, dialect: str) -> exp.Query:
    """Return the one query that *text* is. Raises ``StatementRefused``."""
    _check_size(text, dialect)
    try:
        trees = [tree for tree in sqlglot.parse(text, read=dialect) if tree is not None]
    except RecursionError as error:
        raise StatementRefused("the statement is nested too deeply") from error
    except (SqlglotError, ValueError) as error:
        raise StatementRefused(f"the statement cannot be read as {dialect} SQL") from error
    trees = [tree for tree in trees if not isinstance(tree, exp.Semicolon)]
    if len(trees) != 1:
        raise StatementRefused(f"there must be one statement, got {len(trees)}")
    (tree,) = trees
    if not isinstance(tree, exp.Query):
        raise StatementRefused(f"only queries may run, got {_kind(tree)}")
    return tree


def check(tree: exp.Query, allowed: Mapping[TableName, Columns]) -> None:
    """Return if *tree* is a query over what is allowed, else raise ``StatementRefused``."""
    if not isinstance(tree, exp.Select | exp.SetOperation | exp.Subquery):
        raise StatementRefused(f"only queries may run, got {_kind(tree)}")
    _check_shape(tree)
    for node in tree.walk():
        _check_node(node)
    tables = _base_tables(tree)
    known = set(_names_made(tree))
    for node in tables:
        columns = _find(node, allowed)[1]
        known |= columns if columns is not None else {_ANY}
    if _ANY not in known:
        _check_columns(tree, known)


def tables_read(tree: exp.Query, allowed: Mapping[TableName, Columns]) -> frozenset[TableName]:
    """Return the base tables that the checked *tree* reads."""
    return frozenset(_find(node, allowed)[0] for node in _base_tables(tree))


def confine(tree: exp.Query, allowed: Mapping[TableName, Columns], places: Mapping[TableName, Place]) -> exp.Query:
    """Return the checked *tree* so that it can read nothing but the allowed columns of its tables in the warehouse.

    Every reference to a CTE gets a name of its own, so that it cannot be taken for a table of the warehouse.
    """
    tree = tree.copy()
    tables = _base_tables(tree)
    own = {id(node) for node in tables}
    references = [
        node for node in tree.find_all(exp.Table) if id(node) not in own and isinstance(node.this, exp.Identifier)
    ]
    for cte in list(tree.find_all(exp.CTE)):
        cte.args["alias"].set("this", exp.to_identifier(_CTE_PREFIX + cte.alias, quoted=True))
    for node in references:
        if not node.alias:
            node.set("alias", exp.TableAlias(this=node.this.copy()))
        node.set("this", exp.to_identifier(_CTE_PREFIX + node.name, quoted=True))
    placed = set()
    for node in tables:
        name, columns = _find(node, allowed)
        projection, table = _projection(node, places[name], columns)
        node.replace(projection)
        placed.add(id(table))
    for node in tree.find_all(exp.Table):
        named = isinstance(node.this, exp.Identifier)
        if named and id(node) not in placed and not node.name.startswith(_CTE_PREFIX):
            raise StatementRefused(f"the table {node.name!r} stands where none can")
    return tree


def limited(tree: exp.Query, rows: int) -> exp.Query:
    """Return *tree* with at most *rows* rows; a limit of its own that is lower stays."""
    limit = tree.args.get("limit")
    if limit is None:
        return tree.limit(rows)
    count = limit.expression if isinstance(limit, exp.Limit) else None
    if isinstance(count, exp.Literal) and count.is_int and not limit.args.get("limit_options"):
        return tree.limit(min(rows, int(count.name)))
    outer: exp.Query = exp.select("*").from_(tree.subquery("limited")).limit(rows)
    return outer


def render(tree: exp.Query, dialect: str) -> str:
    """Return *tree* as text without comments. Raises ``StatementRefused`` where *dialect* cannot say it."""
    try:
        return tree.sql(dialect=dialect, comments=False, unsupported_level=sqlglot.ErrorLevel.RAISE)
    except SqlglotError as error:
        raise StatementRefused(f"the statement cannot be said in {dialect} SQL") from error
    except (RecursionError, ValueError) as error:
        raise StatementRefused("the statement is nested too deeply") from error


def _check_size(text: str, dialect: str) -> None:
    size = len(text.encode(errors="replace"))
    if not 1 <= size <= MAX_BYTES:
        raise StatementRefused(f"a statement has 1 to {MAX_BYTES} bytes, got {size}")
    try:
        tokens = sqlglot.tokenize(text, read=dialect)
    except (SqlglotError, ValueError) as error:
        raise StatementRefused(f"the statement cannot be read as {dialect} SQL") from error
    if len(tokens) > MAX_TOKENS:
        raise StatementRefused(f"a statement has at most {MAX_TOKENS} words, got {len(tokens)}")
    depth = 0
    for token in tokens:
        kind = token.token_type.name
        depth += (kind in _OPENING) - (kind in _CLOSING)
        if depth > MAX_NESTING:
            raise StatementRefused(f"brackets nest at most {MAX_NESTING} deep")


def _check_shape(tree: exp.Query) -> None:
    nodes, deepest = 0, 0
    level: list[exp.Expr] = [tree]
    while level:
        nodes, deepest = nodes + len(level), deepest + 1
        if nodes > MAX_NODES or deepest > MAX_DEPTH:
            raise StatementRefused(f"a statement has at most {MAX_NODES} parts, {MAX_DEPTH} deep")
        level = [child for node in level for child in node.iter_expressions()]
    growing = sum(
        isinstance(node, exp.Concat | exp.ConcatWs | exp.DPipe | exp.Replace | exp.RegexpReplace)
        for node in tree.walk()
    )
    if growing > MAX_GROWTH:
        raise StatementRefused(f"a statement concatenates and replaces texts at most {MAX_GROWTH} times, got {growing}")
    for node in tree.find_all(exp.Select):
        if sum(1 for _ in _queries_above(node)) > MAX_SUBQUERY_DEPTH:
            raise StatementRefused(f"queries nest at most {MAX_SUBQUERY_DEPTH} deep")


def _queries_above(node: exp.Expr) -> Iterator[exp.Expr]:
    parent = node.parent
    while parent is not None:
        if isinstance(parent, exp.Select):
            yield parent
        parent = parent.parent


def _check_node(node: exp.Expr) -> None:
    """Refuse a node that is no known production, and known ones in forms that do more than read."""
    name = type(node).__name__
    match node:
        case exp.Anonymous():
            if node.name.lower() not in NAMED_FUNCTIONS:
                raise StatementRefused(f"the function {node.name.lower()!r} is not allowed")
        case exp.Func():
            if name not in FUNCTIONS:
                raise StatementRefused(f"the function {node.sql_name().lower()!r} is not allowed")
            _check_function(node)
        case exp.Select():
            _check_select(node)
        case exp.With() if node.recursive:
            raise StatementRefused("recursive queries are not allowed")
        case exp.Literal() if len(node.name) > MAX_LITERAL:
            raise StatementRefused(f"a text in a statement has at most {MAX_LITERAL} characters")
        case exp.Table():
            _check_table_form(node)
        case _ if name not in NODES:
            raise StatementRefused(f"{_kind(node)} is not allowed")


def _check_select(node: exp.Select) -> None:
    if node.args.get("into") or node.args.get("locks") or node.args.get("kind"):
        raise StatementRefused("a query may read only: no INTO, no FOR UPDATE, no AS STRUCT")
    if not node.expressions:
        raise StatementRefused("a query must select something")


def _check_function(node: exp.Func) -> None:
    if isinstance(node, exp.Pad):
        width = node.expression
        if not (isinstance(width, exp.Literal) and width.is_int and int(width.name) <= MAX_PADDING):
            raise StatementRefused(f"texts are padded to at most {MAX_PADDING} characters")
    if isinstance(node, exp.GenerateSeries) and not isinstance(node.parent, exp.Table):
        raise StatementRefused("a series may stand only where a table stands")


def _check_table_form(node: exp.Table) -> None:
    source = node.this
    if isinstance(source, exp.Identifier):
        odd = {key for key, value in node.args.items() if value} - {
            "this",
            "db",
            "catalog",
            "alias",
            "joins",
            "laterals",
            "pivots",
        }
        if odd:
            raise StatementRefused(f"a table may not stand with {', '.join(sorted(odd)).upper()}")
        if not _is_name(node):
            raise StatementRefused(f"{node.name!r} is no table's name")
    elif not isinstance(source, exp.GenerateSeries):
        raise StatementRefused(
            "functions that stand for tables are not allowed, other than a series of numbers or dates"
        )


def _is_name(node: exp.Table) -> bool:
    return all(isinstance(part, exp.Identifier) and part.name for part in node.parts) and not node.name.startswith("@")


def _base_tables(tree: exp.Query) -> list[exp.Table]:
    """Return the nodes that name a base table. Raises ``StatementRefused`` where a table stands in a place that is not understood."""
    base: dict[int, exp.Table] = {}
    seen: set[int] = set()
    try:
        scopes = traverse_scope(tree)
    except (SqlglotError, RecursionError) as error:
        raise StatementRefused("the statement names the same thing twice") from error
    for scope in scopes:
        for node in scope.tables:
            seen.add(id(node))
            if isinstance(node.this, exp.Identifier) and not _is_cte(node, scope):
                base[id(node)] = node
    for node in tree.find_all(exp.Table):
        if id(node) not in seen and isinstance(node.this, exp.Identifier):
            raise StatementRefused(f"the table {node.name!r} stands where none can")
    return list(base.values())


def _is_cte(node: exp.Table, scope: Scope) -> bool:
    return not node.db and node.name.casefold() in {name.casefold() for name in scope.cte_sources}


def _find(node: exp.Table, allowed: Mapping[TableName, Columns]) -> tuple[TableName, Columns]:
    for name, columns in allowed.items():
        if name.matches(node):
            return name, columns
    written = ".".join(part.name for part in node.parts)
    raise StatementRefused(f"the table {written!r} is not part of the semantic model")


_ANY = "*"


def _names_made(tree: exp.Query) -> Iterator[str]:
    """Yield every name that the statement gives itself."""
    for node in tree.walk():
        if isinstance(node, exp.Alias | exp.CTE | exp.Subquery | exp.Table) and node.alias:
            yield node.alias.casefold()
        if isinstance(node, exp.TableAlias):
            yield from (column.name.casefold() for column in node.args.get("columns") or ())
        if isinstance(node, exp.PivotAlias):
            yield node.alias.casefold()
        if isinstance(node, exp.Table) and isinstance(node.this, exp.GenerateSeries):
            yield from ("range", "generate_series")


def _check_columns(tree: exp.Query, known: set[str]) -> None:
    for column in tree.find_all(exp.Column):
        if not isinstance(column.this, exp.Star) and column.name.casefold() not in known:
            raise StatementRefused(f"the column {column.name!r} is not part of the semantic model")


def _projection(node: exp.Table, place: Place, columns: Columns) -> tuple[exp.Subquery, exp.Table]:
    """Return a query for the allowed columns, under the name by which the statement calls the table, and the table in it."""
    shown = [
        exp.column(exp.to_identifier(name, quoted=True))
        for name in place.columns
        if columns is None or name.casefold() in columns
    ]
    table = place.table.copy()
    alias = node.args.get("alias") or exp.TableAlias(this=node.this.copy())
    projected = exp.Subquery(this=exp.Select(expressions=shown or [exp.null()]).from_(table, copy=False), alias=alias)
    for key in ("joins", "laterals"):  # moved, not copied: there may be tables in them
        if node.args.get(key):
            projected.set(key, node.args[key])
    return projected, table


def _kind(node: exp.Expr) -> str:
    return type(node).__name__.upper()
