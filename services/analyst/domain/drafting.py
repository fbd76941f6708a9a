"""A first semantic model, written from what tables hold: types, keys, joins, samples, enums."""

import asyncio
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from ruamel.yaml import YAML
from sqlglot import exp

from services.analyst.domain.guard import TableName
from services.analyst.domain.statements import Statements
from services.analyst.domain.tables import Tables
from services.analyst.domain.warehouse import ColumnType, Rows, Table
from services.mesh.errors import InvalidInput, Violation

MAX_TABLES = 20
SAMPLES = 5
MAX_ENUM = 12  # distinct values up to which all are listed
_ENUM_ROWS = 50  # rows below which a small number of values says nothing
_LONGEST_SAMPLE = 60
_TIMES = ("DATE", "TIME")
_NUMBERS = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "REAL", "HUGE")
_CODE = re.compile(
    r"(^|_)(id|key|code|no|nr|num|number|year|month|day|hour|minute|zip|lat|lon|tz|flight)$", re.IGNORECASE
)


@dataclass(slots=True)
class _Profile:
    """What was seen of a table."""

    table: Table
    values: dict[str, Rows] = field(default_factory=dict)
    unique: set[str] = field(default_factory=set)


class Drafting:
    """Writes drafts; a person goes on from there."""

    def __init__(self, tables: Tables, statements: Statements) -> None:
        self._tables = tables
        self._statements = statements

    async def draft(self, name: str, tables: Sequence[str]) -> str:
        """Return the YAML of a model over *tables*. Raises ``TableNotFound``, ``InvalidInput``."""
        if not 1 <= len(tables) <= MAX_TABLES:
            description = f"must be 1 to {MAX_TABLES}, got {len(tables)}"
            raise InvalidInput(f"tables {description}", violations=[Violation("tables", description)])
        chosen = {table.name: table for table in map(self._tables.find, tables)}
        profiles = [await asyncio.to_thread(self._profile, table) for table in chosen.values()]
        return _write(name or _logical(profiles[0].table.name), profiles)

    def _profile(self, table: Table) -> _Profile:
        profile = _Profile(table)
        for column in table.columns:
            profile.values[column.name] = self._distinct(table, column)
            if self._is_unique(table, column):
                profile.unique.add(column.name)
        return profile

    def _distinct(self, table: Table, column: ColumnType) -> Rows:
        name = _column(column)
        query = exp.select(name).distinct().from_(_from(table)).where(_given(name)).order_by("1")
        return self._statements.run_blocking(query, {TableName(table.name): None}, MAX_ENUM)

    def _is_unique(self, table: Table, column: ColumnType) -> bool:
        name = _column(column)
        counts = [exp.Count(this=exp.Star()), exp.Count(this=exp.Distinct(expressions=[name]))]
        query = exp.select(*(exp.alias_(count, f"c{at}") for at, count in enumerate(counts))).from_(_from(table))
        ((rows, values),) = self._statements.run_blocking(query, {TableName(table.name): None}, 1).rows
        return bool(rows == values and rows)


def _write(name: str, profiles: Sequence[_Profile]) -> str:
    keys = {profile.table.name: _key(profile) for profile in profiles}
    document: dict[str, Any] = {
        "name": name,
        "tables": [_table(profile, keys[profile.table.name]) for profile in profiles],
    }
    relationships = [found for profile in profiles for found in _relationships(profile, profiles, keys)]
    if relationships:
        document["relationships"] = relationships
    yaml, out = YAML(), io.StringIO()
    yaml.default_flow_style, yaml.width = False, 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(document, out)
    return out.getvalue()


def _table(profile: _Profile, key: str | None) -> dict[str, Any]:
    parts = profile.table.name.split(".")
    entry: dict[str, Any] = {
        "name": _logical(profile.table.name),
        "description": f"{profile.table.row_count} rows of {profile.table.name}",
        "base_table": dict(zip(("database", "schema", "table")[-len(parts) :], parts, strict=True)),
    }
    if key:
        entry["primary_key"] = {"columns": [key]}
    kinds: dict[str, list[dict[str, Any]]] = {"dimensions": [], "time_dimensions": [], "facts": []}
    for column in profile.table.columns:
        kinds[_kind(column, profile)].append(_entry(column, profile))
    return entry | {kind: entries for kind, entries in kinds.items() if entries}


def _entry(column: ColumnType, profile: _Profile) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": _logical(column.name),
        "expr": _expression(column.name),
        "data_type": _snowflake_type(column.type),
    }
    kind = _kind(column, profile)
    spoken = column.name.replace("_", " ").strip().lower()
    if spoken != column.name.lower():
        entry["synonyms"] = [spoken]
    if kind == "facts":
        entry["default_aggregation"] = "sum"
        return entry
    seen = profile.values[column.name]
    samples = [text for row in seen.rows if (text := _text(row[0])) and len(text) <= _LONGEST_SAMPLE]
    is_enum = (
        kind == "dimensions"
        and not seen.truncated
        and profile.table.row_count >= _ENUM_ROWS
        and len(samples) == len(seen.rows)
    )
    if column.name in profile.unique:
        entry["unique"] = True
    if samples:
        entry["sample_values"] = samples if is_enum else samples[:SAMPLES]
    if is_enum:
        entry["is_enum"] = True
    return entry


def _kind(column: ColumnType, profile: _Profile) -> str:
    if column.type.startswith(_TIMES):
        return "time_dimensions"
    numeric = column.type.startswith(_NUMBERS) or "INT" in column.type
    counts = numeric and not _CODE.search(column.name) and column.name != _key(profile)
    return "facts" if counts else "dimensions"


def _key(profile: _Profile) -> str | None:
    """Return the first unique column that looks like a key: a text or whole number."""
    names = [
        column.name
        for column in profile.table.columns
        if column.name in profile.unique and (column.type == "VARCHAR" or "INT" in column.type)
    ]
    return next((name for name in names if _CODE.search(name)), next(iter(names), None))


def _relationships(
    profile: _Profile, profiles: Sequence[_Profile], keys: dict[str, str | None]
) -> list[dict[str, Any]]:
    """Return joins from *profile* to tables whose key has the name of one of its columns."""
    found = []
    columns = {column.name.casefold(): column for column in profile.table.columns}
    for other in profiles:
        key = keys[other.table.name]
        match = columns.get((key or "").casefold())
        if other is profile or key is None or match is None or match.name == keys[profile.table.name]:
            continue
        left, right = _logical(profile.table.name), _logical(other.table.name)
        found.append(
            {
                "name": f"{left}_to_{right}",
                "left_table": left,
                "right_table": right,
                "relationship_columns": [{"left_column": match.name, "right_column": key}],
                "join_type": "left_outer",
                "relationship_type": "many_to_one",
            }
        )
    return found


def _logical(name: str) -> str:
    words = re.sub(r"[^A-Za-z0-9_$]+", "_", name.rpartition(".")[2]).strip("_").lower()
    return words if words and not words[0].isdigit() else f"c_{words}"


def _expression(name: str) -> str:
    """Return *name* as SQL; quoted where it would not stand bare."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$]*", name)
    return exp.to_identifier(name, quoted=not plain).sql(dialect="snowflake", identify="safe" if plain else False)


def _snowflake_type(name: str) -> str:
    try:
        return exp.DataType.build(name, dialect="duckdb").sql(dialect="snowflake")
    except ValueError:
        return "VARIANT"


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value).strip()


def _from(table: Table) -> exp.Table:
    return exp.Table(this=exp.to_identifier(table.name, quoted=True))


def _column(column: ColumnType) -> exp.Column:
    return exp.column(exp.to_identifier(column.name, quoted=True))


def _given(name: exp.Column) -> exp.Not:
    return exp.Not(this=exp.Is(this=name.copy(), expression=exp.null()))
