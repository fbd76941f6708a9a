"""From logical to physical: each logical table as a common table expression over its base table."""

from collections.abc import Iterable

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from services.analyst.domain.semantic_model.model import BaseTable, LogicalTable, SemanticModel
from services.analyst.domain.semantic_model.structure import DIALECT, RESERVED, first_line
from services.mesh.errors import InvalidInput

PREFIX = "__"  # of the name under which a query sees a logical table; Cortex Analyst's own way of naming them


class NotExpandable(InvalidInput):
    """The SQL of a verified query cannot be read over this model's logical tables."""

    reason = "VERIFIED_QUERY_UNREADABLE"


def expand(model: SemanticModel, sql: str) -> exp.Query:
    """Return SQL over logical tables as a query over base tables. Raises ``NotExpandable`` when it does not parse."""
    try:
        query = sqlglot.parse_one(sql.strip().rstrip(";"), read=DIALECT)
    except (SqlglotError, RecursionError) as error:
        raise NotExpandable(f"the SQL does not parse: {first_line(error)}") from error
    if not isinstance(query, exp.Query):
        raise NotExpandable("only a query can be verified")
    used: dict[str, LogicalTable] = {}
    own = {cte.alias.casefold() for cte in query.find_all(exp.CTE)}
    for node in list(query.find_all(exp.Table)):
        name = node.name.casefold()
        shadowed = name in own and not (name.startswith(PREFIX) and model.table(name.removeprefix(PREFIX)))
        table = model.table(name) or model.table(name.removeprefix(PREFIX))
        if shadowed or _is_base(model, node):
            continue
        if table is None or node.db:
            raise NotExpandable(f"{node.name or node.sql()} is no logical table of the model")
        used[table.name] = table
        if not node.alias:
            node.set("alias", exp.TableAlias(this=exp.to_identifier(node.name)))
        node.set("this", cte_name(table))
    for table in reversed(used.values()):
        cte = exp.CTE(this=rows(table), alias=exp.TableAlias(this=cte_name(table)))
        with_ = query.args.get("with_") or exp.With(expressions=[])
        with_.set("expressions", [cte, *with_.expressions])
        query.set("with_", with_)
    return query


def _is_base(model: SemanticModel, node: exp.Table) -> bool:
    """Tell whether the SQL names a base table of the model itself, as some public models do."""
    if model.table(node.name) and not node.db:
        return False
    named = [part.name.casefold() for part in (node.this, node.args.get("db"), node.args.get("catalog")) if part]
    for table in model.tables:
        parts = [
            part.casefold() for part in (table.base_table.table, table.base_table.schema, table.base_table.database)
        ]
        if parts[: len(named)] == named:
            return True
    return False


def cte_name(table: LogicalTable) -> exp.Identifier:
    """Return the name under which a query sees a logical table."""
    return exp.to_identifier(PREFIX + table.name)


def rows(table: LogicalTable, columns: Iterable[str] | None = None) -> exp.Select:
    """Return the query for a logical table's rows: the named logical columns, or all that are not aggregates."""
    wanted = None if columns is None else {name.casefold() for name in columns}
    select = exp.Select().from_(base(table.base_table))
    for column in table.columns:
        if wanted is not None and column.name.casefold() not in wanted:
            continue
        tree = sqlglot.parse_one(column.expr, read=DIALECT)
        if wanted is None and tree.find(exp.AggFunc):
            continue
        select = select.select(exp.alias_(tree, identifier(column.name)), copy=False)
    if wanted:
        physical = wanted - {column.name.casefold() for column in table.columns}
        select = select.select(*(identifier(name) for name in sorted(physical)), copy=False)
    return select if select.expressions else select.select(exp.Star(), copy=False)


def base(table: BaseTable) -> exp.Expression:
    """Return what stands in FROM for a base table."""
    if table.definition:
        return exp.Subquery(
            this=sqlglot.parse_one(table.definition, read=DIALECT), alias=exp.TableAlias(this=exp.to_identifier("base"))
        )
    return exp.Table(
        this=identifier(table.table),
        db=identifier(table.schema) if table.schema else None,
        catalog=identifier(table.database) if table.database else None,
    )


def identifier(name: str) -> exp.Identifier:
    """Return a name as an identifier that stands bare where it can; a reserved word is quoted in the case that Snowflake means."""
    if name.casefold() in RESERVED:
        return exp.to_identifier(name.upper(), quoted=True)
    return exp.to_identifier(name)
