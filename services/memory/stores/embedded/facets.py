"""Counts by value over the rows; who may see a row is part of the statement."""

from typing import Any

import apsw

from services.memory.domain.facets import Facet, FacetCounts, FacetPlan, Scalar, TimeUnit
from services.memory.filter.sql import Values, to_sql, values_of
from services.memory.stores.embedded.rows import LIVE, VALID, VISIBLE_PARTITIONS, access_bindings, to_us
from services.mesh.caller import Caller

_CHOSEN = f"""
  m.partition_id IN ({VISIBLE_PARTITIONS}) AND {LIVE} AND (:bucket IS NULL OR m.bucket = :bucket) AND {VALID} AND {{filter}}
"""
_COUNTS = f"""
  WITH had AS MATERIALIZED (
    SELECT DISTINCT m.doc, {{kind}} AS kind, {{value}} AS value FROM {{tables}} WHERE {_CHOSEN} AND {{condition}}
  ),
  counted AS MATERIALIZED (SELECT kind, value, count(*) AS number FROM had GROUP BY kind, value)
  SELECT kind, value, number, (SELECT sum(number) FROM counted), (SELECT count(DISTINCT doc) FROM had)
  FROM counted ORDER BY number DESC, kind, value LIMIT :limit
"""  # noqa: S608  # built of constants and of what the filter compiler makes
_TOTAL = f"SELECT count(*) FROM memories m WHERE {_CHOSEN}"  # noqa: S608  # built of constants
_DAY_US = 86_400_000_000

Row = tuple[Any, ...]


def count_values(connection: apsw.Connection, caller: Caller, plan: FacetPlan) -> FacetCounts:
    """Return the most frequent values, as ``FacetReader`` says; on a connection inside a transaction."""
    field, selection = plan.field, plan.selection
    condition, filter_bindings = to_sql(selection.filter)
    values = values_of(field.path) if field.unit is None else _stretches(field.path.field, field.unit)
    bindings = access_bindings(caller, plan.now) | filter_bindings
    bindings |= {"bucket": selection.bucket, "valid_at": to_us(selection.valid_at)}
    total = int(connection.execute(_TOTAL.format(filter=condition), bindings).get)
    statement = _COUNTS.format(
        kind=values.kind,
        value=values.value,
        tables=", ".join(("memories m", *values.tables)),
        filter=condition,
        condition=values.condition,
    )
    rows = list(connection.execute(statement, bindings | values.bindings | {"limit": plan.limit}))
    facets = tuple(Facet(_scalar(kind, value), number) for kind, value, number, *_ in rows)
    counted, holders = rows[0][3:] if rows else (0, 0)
    return FacetCounts(facets, counted - sum(facet.count for facet in facets), total - holders, total)


def _stretches(column: str, unit: TimeUnit) -> Values:
    """Return the first days of stretches of time. SQL's division cuts towards zero, its remainder takes the dividend's sign."""
    time = f"m.{column}"
    day = f"(({time} - ({time} % {_DAY_US} + {_DAY_US}) % {_DAY_US}) / {_DAY_US})"
    match unit:
        case TimeUnit.DAY:
            value = f"date({day} * 86400, 'unixepoch')"
        case TimeUnit.WEEK:  # day 0 was a Thursday
            value = f"date(({day} - (({day} + 3) % 7 + 7) % 7) * 86400, 'unixepoch')"
        case TimeUnit.MONTH:
            value = f"date({day} * 86400, 'unixepoch', 'start of month')"
    return Values((), f"{time} IS NOT NULL", "'text'", value, {})


def _scalar(kind: str, value: Any) -> Scalar:
    match kind:
        case "number":
            return float(value)
        case "boolean":
            return bool(value)
        case "null":
            return None
        case _:
            return str(value)
