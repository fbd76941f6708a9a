"""Which tables and columns a semantic model lets a statement read: those that it speaks of itself."""

from collections.abc import Iterator, Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from services.analyst.domain.guard import Columns, TableName
from services.analyst.domain.semantic_model import LogicalTable, SemanticModel

DIALECT = "snowflake"  # of every expression in a model


def allowed_tables(model: SemanticModel) -> Mapping[TableName, Columns]:
    """Return the base tables of *model* with the columns of each that its expressions, keys and joins name."""
    allowed: dict[TableName, Columns] = {}
    for table in model.tables:
        joined = _joined(model, table)
        base = table.base_table
        if base.definition:
            _merge(allowed, _of_definition(base.definition))
        else:
            name = TableName(base.table, base.schema, base.database)
            _merge(allowed, {name: frozenset(_named(table)) | joined})
    return allowed


def _merge(allowed: dict[TableName, Columns], more: Mapping[TableName, Columns]) -> None:
    for name, columns in more.items():
        present = allowed.get(name, frozenset())
        allowed[name] = None if present is None or columns is None else present | columns


def _named(table: LogicalTable) -> Iterator[str]:
    for key in (table.primary_key, *table.unique_keys):
        yield from (name.casefold() for name in key)
    expressions = (
        *(column.expr for column in table.columns),
        *(metric.expr for metric in table.metrics),
        *(condition.expr for condition in table.filters),
    )
    for text in expressions:
        tree = _parsed(text)
        if tree is not None:
            yield from (column.name.casefold() for column in tree.find_all(exp.Column))


def _joined(model: SemanticModel, table: LogicalTable) -> frozenset[str]:
    own = table.name.casefold()
    return frozenset(
        column.casefold()
        for relationship in model.relationships
        for left, right in relationship.columns
        for side, column in ((relationship.left_table, left), (relationship.right_table, right))
        if side.casefold() == own
    )


def _of_definition(text: str) -> Mapping[TableName, Columns]:
    """Return the tables that a query which stands for a base table reads; all of their columns if it has a star."""
    tree = _parsed(text)
    if tree is None:
        return {}
    own = {cte.alias.casefold() for cte in tree.find_all(exp.CTE)}
    columns: Columns = frozenset(column.name.casefold() for column in tree.find_all(exp.Column))
    if tree.find(exp.Star):
        columns = None
    nodes = (node for node in tree.find_all(exp.Table) if isinstance(node.this, exp.Identifier))
    return {
        TableName(node.name, node.db, node.catalog): columns
        for node in nodes
        if node.db or node.name.casefold() not in own
    }


def _parsed(text: str) -> exp.Expr | None:
    try:
        return sqlglot.parse_one(text, read=DIALECT)
    except (SqlglotError, RecursionError, ValueError):
        return None  # the model's findings say so
