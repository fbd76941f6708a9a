"""What can be said of a semantic model without its data: names, references, keys, expressions."""

import re
from collections.abc import Iterable, Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from services.analyst.domain.semantic_model.finding import Finding, Places, Severity
from services.analyst.domain.semantic_model.model import (
    Column,
    Filter,
    LogicalTable,
    Metric,
    Relationship,
    SemanticModel,
)

DIALECT = "snowflake"  # of every expression in a semantic model
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
# Words that Snowflake does not take as the name of a column or an alias (its list of reserved keywords, the ANSI part).
_RESERVED_WORDS = """
all alter and any as between by case cast check column connect constraint create cross current delete distinct drop else
exists false following for from full grant group having in inner insert intersect into is join lateral left like not
null of on or order qualify regexp revoke right rlike row rows sample select set some start table tablesample then to
trigger true union unique update using values view when whenever where with user end desc asc do default primary references analyze only offset limit window
"""
RESERVED = frozenset(_RESERVED_WORDS.split())
_ONE_TO = {"one_to_many", "many_to_many"}


def check_structure(model: SemanticModel, places: Places) -> list[Finding]:
    """Return what is wrong in the model itself."""
    return list(_Structure(model, places).findings())


def parse_expression(text: str) -> exp.Expr | str:
    """Return the tree of an expression of a model, or why it does not parse."""
    try:
        return sqlglot.parse_one(text, read=DIALECT)
    except (SqlglotError, RecursionError) as error:
        return first_line(error)


def first_line(error: Exception) -> str:
    """Return an error's first line without the marks that underline a terminal's text."""
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return re.sub(r"\x1b\[\d*m", "", line)[:300]


class _Structure:
    def __init__(self, model: SemanticModel, places: Places) -> None:
        self._model = model
        self._places = places

    def findings(self) -> Iterator[Finding]:
        model = self._model
        yield from self._names("table", model.tables)
        yield from self._names("relationship", model.relationships)
        yield from self._names("verified query", model.verified_queries, identifiers=False)
        for table in model.tables:
            yield from self._table(table)
        for relationship in model.relationships:
            yield from self._relationship(relationship)
        yield from self._names("metric", model.metrics)
        for metric in model.metrics:
            yield from self._expression(metric, aggregate=True)
        yield from self._synonyms()

    def _names(self, what: str, things: Iterable[object], *, identifiers: bool = True) -> Iterator[Finding]:
        seen: set[str] = set()
        for thing in things:
            name = str(getattr(thing, "name", ""))
            if name.casefold() in seen:
                severity = Severity.ERROR if identifiers else Severity.WARNING
                yield self._places.finding(severity, f"{what} {name} is defined twice", thing, "name")
            seen.add(name.casefold())
            if identifiers and not _IDENTIFIER.fullmatch(name):
                message = f"{what} name {name[:80]!r}: letters, digits, _ and $ only, no digit first"
                yield self._places.finding(Severity.ERROR, message, thing, "name")
            elif identifiers and name.casefold() in RESERVED:
                yield self._places.finding(
                    Severity.WARNING, f"{what} name {name} is a reserved word of SQL", thing, "name"
                )

    def _table(self, table: LogicalTable) -> Iterator[Finding]:
        yield from self._names(f"column of {table.name}", (*table.columns, *table.metrics, *table.filters))
        if not table.columns and not table.metrics:
            yield self._places.finding(Severity.WARNING, f"table {table.name} has no columns", table)
        for column in table.columns:
            yield from self._expression(column)
        for metric in table.metrics:
            yield from self._expression(metric, aggregate=True)
        for condition in table.filters:
            yield from self._expression(condition)
        for key in (table.primary_key, *table.unique_keys):
            for part in key:
                if not self._is_column(table, part):
                    message = f"key column {part} is neither a column of {table.name} nor one of its base table's that it uses"
                    yield self._places.finding(Severity.WARNING, message, table, "primary_key")

    def _expression(self, thing: object, *, aggregate: bool = False) -> Iterator[Finding]:
        text = str(getattr(thing, "expr", ""))
        tree = parse_expression(text)
        if isinstance(tree, str):
            yield self._places.finding(Severity.ERROR, f"the expression does not parse: {tree}", thing, "expr")
            return
        if tree.find(exp.Query, exp.DDL, exp.DML, exp.Command):
            yield self._places.finding(Severity.WARNING, "the expression holds a query; it is not used", thing, "expr")
        if aggregate and isinstance(thing, Metric) and not tree.find(exp.AggFunc) and not tree.find(exp.Column):
            yield self._places.finding(Severity.ERROR, "a metric must aggregate", thing, "expr")

    def _is_column(self, table: LogicalTable, name: str) -> bool:
        if table.column(name):
            return True
        used = {
            found.name.casefold()
            for column in table.columns
            if isinstance(tree := parse_expression(column.expr), exp.Expr)
            for found in tree.find_all(exp.Column)
        }
        return name.casefold() in used

    def _relationship(self, relationship: Relationship) -> Iterator[Finding]:
        sides = {"left_table": relationship.left_table, "right_table": relationship.right_table}
        for key, name in sides.items():
            if self._model.table(name) is None:
                yield self._places.finding(Severity.ERROR, f"{key} {name} is no table of the model", relationship, key)
        left, right = self._model.table(relationship.left_table), self._model.table(relationship.right_table)
        if relationship.relationship_type in _ONE_TO:
            message = f"{relationship.relationship_type} is not used: turn the relationship round, many on the left"
            yield self._places.finding(Severity.WARNING, message, relationship, "relationship_type")
        if left is None or right is None:
            return
        if left is right:
            yield self._places.finding(Severity.WARNING, "a table joined to itself is not used", relationship)
        for side, table in ((0, left), (1, right)):
            for pair in relationship.columns:
                if not self._is_column(table, pair[side]):
                    message = f"join column {pair[side]} is no column of {table.name}"
                    yield self._places.finding(Severity.ERROR, message, relationship, "relationship_columns")
        keys = {frozenset(part.casefold() for part in key) for key in (right.primary_key, *right.unique_keys)}
        joined = frozenset(pair[1].casefold() for pair in relationship.columns)
        if not any(key and key <= joined for key in keys):
            message = f"the join columns are no declared key of {right.name}: rows may multiply; declare primary_key or unique_keys"
            yield self._places.finding(Severity.WARNING, message, relationship, "right_table")

    def _synonyms(self) -> Iterator[Finding]:
        owners: dict[str, str] = {}
        for table in self._model.tables:
            things: tuple[LogicalTable | Column | Metric | Filter, ...] = (
                table,
                *table.columns,
                *table.metrics,
                *table.filters,
            )
            for thing in things:
                for word in dict.fromkeys(synonym.strip().casefold() for synonym in thing.synonyms):
                    owner = f"{table.name}.{thing.name}"
                    if word in owners:
                        message = (
                            f"synonym {word!r} belongs to {owners[word]} already; questions with it may be ambiguous"
                        )
                        yield self._places.finding(Severity.WARNING, message, thing, "synonyms")
                    owners.setdefault(word, owner)
