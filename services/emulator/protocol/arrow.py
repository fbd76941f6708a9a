"""Rows as the Arrow that connectors read: logical types in the metadata of fields, moments as seconds and nanoseconds."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from services.emulator.protocol.pretty import pretty
from services.emulator.protocol.rowtype import wire_name
from services.emulator.sql.scope import Output
from services.emulator.sql.types import SqlType

_LONGEST_INT = 18  # digits that int64 surely holds
_MICROSECONDS = 1_000_000


def encoded(table: pa.Table, outputs: tuple[Output, ...]) -> pa.Table:
    """Return *table*, whose columns have the engine's types, as clients expect it."""
    fields, columns = [], []
    for index, output in enumerate(outputs):
        column = _column(table.column(index), output.type)
        columns.append(column)
        fields.append(pa.field(output.name, column.type, output.nullable, _metadata(output.type)))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _metadata(of: SqlType) -> dict[str, str]:
    facts = {
        "logicalType": wire_name(of).upper(),
        "precision": str(of.precision or 38),
        "scale": str(of.scale),
        "charLength": str(of.length),
        "byteLength": str(min(of.length * 4, 16_777_216)),
        "finalType": "T",
    }
    if of.name == "TIMESTAMP_TZ":
        facts["byteLength"] = "16"  # tells readers that seconds, nanoseconds and offset come as three fields
    if of.name == "VECTOR":
        facts["vectorDimension"] = str(of.dimension)
    return facts


def _column(column: pa.ChunkedArray, of: SqlType) -> pa.ChunkedArray | pa.Array:  # noqa: C901, PLR0911 - one line a type
    match of.name:
        case "NUMBER" if of.scale == 0 and of.precision <= _LONGEST_INT:
            return column.cast(pa.int64())
        case "NUMBER":
            return column.cast(pa.decimal128(38, of.scale))
        case "FLOAT":
            return column.cast(pa.float64())
        case "VARIANT" | "OBJECT" | "ARRAY":
            return pa.array([None if text is None else pretty(text) for text in column.to_pylist()], pa.string())
        case "TIME":
            return pc.multiply(column.cast(pa.time64("us")).cast(pa.int64()), 1000)
        case "TIMESTAMP_NTZ" | "TIMESTAMP_LTZ":
            return _moment(column)
        case "TIMESTAMP_TZ":
            return _zoned(column)
        case "VECTOR":
            inner = pa.float32() if of.element == "FLOAT" else pa.int32()
            return column.cast(pa.list_(inner, of.dimension))
        case "NULL" | "VARCHAR":
            return column.cast(pa.string())
        case "BINARY":
            return column.cast(pa.binary())
    return column


def _split(micros: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return seconds, rounded down, and the nanoseconds above them."""
    rest = pc.subtract(micros, pc.multiply(pc.divide(micros, _MICROSECONDS), _MICROSECONDS))
    below = pc.less(rest, 0)
    rest = pc.if_else(below, pc.add(rest, _MICROSECONDS), rest)
    seconds = pc.divide(pc.subtract(micros, rest), _MICROSECONDS)
    return seconds, pc.multiply(rest, 1000).cast(pa.int32())


def _moment(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks().cast(pa.timestamp("us")).cast(pa.int64())
    whole = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
    seconds, nanos = _split(whole)
    return pa.StructArray.from_arrays([seconds, nanos], ["epoch", "fraction"], mask=pc.is_null(whole))


def _zoned(column: pa.ChunkedArray) -> pa.Array:
    structs = column.combine_chunks()
    structs = structs.combine_chunks() if isinstance(structs, pa.ChunkedArray) else structs
    micros = pc.struct_field(structs, "t").cast(pa.timestamp("us")).cast(pa.int64())
    seconds, nanos = _split(micros)
    away = pc.add(pc.struct_field(structs, "o"), 1440).cast(pa.int32())
    return pa.StructArray.from_arrays(
        [seconds, nanos, away], ["epoch", "fraction", "timezone"], mask=pc.is_null(structs)
    )


def stream(table: pa.Table) -> bytes:
    """Return *table* as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_rows(rows: list[tuple[Any, ...]], outputs: tuple[Output, ...]) -> pa.Table:
    """Return plain Python rows as an Arrow table of the engine's types."""
    columns = [
        pa.array([row[index] for row in rows], _engine_type(output.type)) for index, output in enumerate(outputs)
    ]
    return pa.Table.from_arrays(columns, names=[f"c{index}" for index in range(len(outputs))])


_ENGINE_TYPES = {
    "FLOAT": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "TIMESTAMP_NTZ": pa.timestamp("us"),
    "TIMESTAMP_LTZ": pa.timestamp("us"),
    "BINARY": pa.binary(),
}


def _engine_type(of: SqlType) -> pa.DataType:
    if of.name == "NUMBER":
        return pa.decimal128(38, of.scale) if of.scale else pa.int64()
    return _ENGINE_TYPES.get(of.name, pa.string())
