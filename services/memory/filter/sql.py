"""Compiles a filter to a condition over the embedded store's table ``memories m``.

Every value is a bound parameter, keys of metadata too: the text of the statement depends only on the filter's form. The condition is
1 or 0, never NULL, so that NOT means what it says. It needs SQLite 3.46 or newer, whose JSON paths take escapes in keys, and
the functions in ``FUNCTIONS``. Of a stored key that holds U+0000 its paths see only what stands before.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, assert_never

from services.memory.filter.folding import fold
from services.memory.filter.schema import FIELDS, MEMORIES, METADATA, FieldKind, Schema
from services.memory.filter.tree import (
    And,
    Boolean,
    Compare,
    Expression,
    Filter,
    Has,
    Integer,
    Match,
    Not,
    Null,
    Number,
    Or,
    Path,
    Pattern,
    Present,
    Text,
    Time,
)

Bindings = dict[str, str | bytes | int | float]

# By name, what the conditions call; all take one argument and are deterministic.
FUNCTIONS: dict[str, Callable[[str], str]] = {"mb_fold": fold}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Table:
    """Where SQL finds the fields of a schema: an expression each, and which of them are NULL where unset."""

    schema: Schema
    columns: Mapping[str, str]
    nullable: frozenset[str] = frozenset()


_COLUMNS = {
    **{name: f"m.{name}" for name in FIELDS if "." not in name},
    "source.uri": "coalesce(m.source ->> '$.uri', '')",
    "source.kind": "coalesce(m.source ->> '$.kind', '')",
    "source.parent_memory_ids": "coalesce(m.source -> '$.parent_memory_ids', '[]')",
}
_MEMORIES = Table(MEMORIES, _COLUMNS, frozenset(("event_time", "valid_from", "valid_until", "expires_at")))


class _Connection(Protocol):
    """What ``register`` needs of an apsw connection."""

    def create_scalar_function(
        self, name: str, function: Callable[..., str] | None, arguments: int, /, *, deterministic: bool
    ) -> None: ...


def register(connection: _Connection) -> None:
    """Give *connection* the functions that conditions call."""
    for name, function in FUNCTIONS.items():
        connection.create_scalar_function(name, function, 1, deterministic=True)


def to_sql(meaning: Filter, prefix: str = "filter_", table: Table = _MEMORIES) -> tuple[str, Bindings]:
    """Return a condition over *table*, in parentheses or as one call, and its bindings, whose names start with *prefix*."""
    compiler = _Compiler(prefix, table)
    if meaning.expression is None:
        return "1", {}
    return f"({compiler.condition(meaning.expression)})", compiler.bindings


@dataclass(frozen=True, slots=True)
class Values:
    """Where SQL finds the values at a path: a row of *tables* (joined to ``memories m``) for each that meets *condition*.

    *kind* is ``text``, ``number``, ``boolean`` or ``null``; *value* NULL for the last, 1 or 0 for a boolean.
    """

    tables: tuple[str, ...]
    condition: str
    kind: str
    value: str
    bindings: Bindings


def values_of(path: Path, prefix: str = "value_") -> Values:
    """Return the values at *path*, which is of texts or in metadata: lists have their elements, objects and what is unset none."""
    compiler = _Compiler(prefix, _MEMORIES)
    column = _COLUMNS[path.field]
    if path.field == METADATA:
        return compiler.metadata_values(path.keys)
    if FIELDS[path.field] is FieldKind.TEXTS:
        return Values((f"json_each({column}) e",), "1", "'text'", "e.value", {})
    return Values((), f"{column} <> ''", "'text'", column, {})


class _Compiler:
    def __init__(self, prefix: str, table: Table) -> None:
        self._prefix = prefix
        self._table = table
        self.bindings: Bindings = {}

    def condition(self, expression: Expression) -> str:  # noqa: PLR0911  # one for each node
        match expression:
            case And(parts):
                return " AND ".join(f"({self.condition(part)})" for part in parts)
            case Or(parts):
                return " OR ".join(f"({self.condition(part)})" for part in parts)
            case Not(part):
                return f"NOT ({self.condition(part)})"
            case Compare(Path(field="metadata")):
                return self._compare_metadata(expression)
            case Compare():
                return self._compare_column(expression)
            case Match():
                return self._match(expression)
            case Has():
                return self._has(expression)
            case Present(path):
                return self._present(path)
            case _:
                assert_never(expression)

    def _bind(self, value: str | bytes | float) -> str:
        name = f"{self._prefix}{len(self.bindings)}"
        self.bindings[name] = value
        return f":{name}"

    def _bind_path(self, *keys: str) -> str:
        """Bind the JSON path of *keys*; in quotes and with JSON's escapes any key may stand in one."""
        return self._bind("$" + "".join(f".{json.dumps(key)}" for key in keys))

    def _compare_column(self, compare: Compare) -> str:
        comparison = (
            f"{self._table.columns[compare.path.field]} {compare.comparator} {self._bind(_scalar(compare.literal))}"
        )
        return f"coalesce({comparison}, 0)" if compare.path.field in self._table.nullable else comparison

    def _compare_metadata(self, compare: Compare) -> str:
        path = self._bind_path(*compare.path.keys)
        kind = f"json_type(m.metadata, {path})"
        match compare.literal:
            case Null():
                return f"coalesce({kind}, 'null') = 'null'"
            case Boolean(value):
                return f"coalesce({kind} = '{'true' if value else 'false'}', 0)"
            case Number(value):
                types = "('integer', 'real')"
            case Text(value):
                types = "('text')"
            case literal:
                raise AssertionError(f"metadata has no {literal}")
        comparison = f"m.metadata ->> {path} {compare.comparator} {self._bind(value)}"
        return f"coalesce({kind} IN {types} AND {comparison}, 0)"

    def _match(self, match: Match) -> str:
        if match.path.field != METADATA:
            return self._fits(self._table.columns[match.path.field], match.pattern, ignore_case=match.ignore_case)
        path = self._bind_path(*match.path.keys)
        fits = self._fits(f"m.metadata ->> {path}", match.pattern, ignore_case=match.ignore_case)
        return f"coalesce(json_type(m.metadata, {path}) = 'text' AND {fits}, 0)"

    def _fits(self, text: str, pattern: Pattern, *, ignore_case: bool = False) -> str:
        """Return whether the SQL expression *text* fits; by bytes, because SQL counts characters only up to a NUL."""
        wanted = fold(pattern.text) if ignore_case else pattern.text
        text = f"mb_fold({text})" if ignore_case else f"({text})"
        if pattern.open_start and pattern.open_end:
            return f"instr({text}, {self._bind(wanted)}) > 0"
        end = wanted.encode()
        start = self._bind(-len(end)) if pattern.open_start else "1"
        # IS, because SQLite's substr of an empty BLOB is NULL.
        return f"substr(CAST({text} AS BLOB), {start}, {self._bind(len(end))}) IS {self._bind(end)}"

    def _has(self, has: Has) -> str:
        if has.path.field != METADATA:
            return _exists([f"json_each({self._table.columns[has.path.field]}) e"], self._is("e.value", has.value))
        tables, holder, last = self._walk(has.path.keys)
        kind = f"json_type({holder}, {last})"
        key = self._is("e.key", has.value) if isinstance(has.value, Text | Pattern) else "0"
        element = self._is_element(has.value)
        condition = f"CASE {kind} WHEN 'object' THEN {key} ELSE {element} END"
        return _exists([*tables, f"json_each({holder}, {last}) e"], condition)

    def _is_element(self, value: Text | Number | Boolean | Null | Pattern) -> str:
        match value:
            case Null():
                return "e.type = 'null'"
            case Boolean(boolean):
                return f"e.type = '{'true' if boolean else 'false'}'"
            case Number():
                return f"e.type IN ('integer', 'real') AND {self._is('e.value', value)}"
            case Text() | Pattern():
                return f"e.type = 'text' AND {self._is('e.value', value)}"
            case _:
                assert_never(value)

    def _is(self, column: str, value: Text | Number | Boolean | Null | Pattern) -> str:
        if isinstance(value, Pattern):
            return self._fits(column, value)
        return f"{column} = {self._bind(_scalar(value))}"

    def _present(self, path: Path) -> str:
        column = self._table.columns[path.field]
        match self._table.schema.fields[path.field]:
            case FieldKind.TEXT | FieldKind.ACCESS_LEVEL:
                return f"{column} <> ''"
            case FieldKind.INTEGER:
                return f"{column} <> 0"
            case FieldKind.TIME | FieldKind.MESSAGE:
                return f"{column} IS NOT NULL"
            case FieldKind.TEXTS:
                return f"{column} <> '[]'"
            case FieldKind.METADATA:
                return self._holds_key(path.keys)
            case kind:
                assert_never(kind)

    def _holds_key(self, keys: tuple[str, ...]) -> str:
        if not keys:
            return "m.metadata <> '{}'"
        tables, holder, last = self._walk(keys)
        there = f"json_type({holder}, {last}) IS NOT NULL"
        return _exists(tables, there) if tables else there

    def metadata_values(self, keys: tuple[str, ...]) -> Values:
        tables, holder, last = self._walk(keys)
        kind = (
            "CASE e.type WHEN 'integer' THEN 'number' WHEN 'real' THEN 'number' WHEN 'true' THEN 'boolean'"
            " WHEN 'false' THEN 'boolean' ELSE e.type END"
        )
        condition = f"json_type({holder}, {last}) <> 'object' AND e.type NOT IN ('array', 'object')"
        return Values((*tables, f"json_each({holder}, {last}) e"), condition, kind, "e.value", self.bindings)

    def _walk(self, keys: tuple[str, ...]) -> tuple[list[str], str, str]:
        """Return tables that lead to what may hold the last of *keys*, one such holder, and the path of that key in it.

        Each table has a row for the object that a key leads to, or for every element of a list; what is no object counts as an
        empty one.
        """
        tables: list[str] = []
        holder = "m.metadata"
        for number, key in enumerate(keys[:-1]):
            path = self._bind_path(key)
            inner = f"{holder} -> {path}"
            tables.append(
                f"json_each(CASE json_type({holder}, {path})"
                f" WHEN 'array' THEN {inner} WHEN 'object' THEN json_array({inner}) ELSE '[]' END) s{number}"
            )
            holder = f"CASE s{number}.type WHEN 'object' THEN s{number}.value ELSE '{{}}' END"
        return tables, holder, self._bind_path(*keys[-1:])


def _exists(tables: list[str], condition: str) -> str:
    return f"EXISTS (SELECT 1 FROM {', '.join(tables)} WHERE {condition})"  # noqa: S608  # built of constants and parameters


def _scalar(literal: Text | Integer | Number | Boolean | Null | Time) -> str | int | float:
    match literal:
        case Text(value) | Integer(value) | Number(value):
            return value
        case Time(value):
            return (value - _EPOCH) // _MICROSECOND
        case _:
            raise AssertionError(f"{literal} is not compared as a value")
