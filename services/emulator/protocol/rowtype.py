"""How results declare their columns."""

from typing import Any

from services.emulator.sql.scope import Output
from services.emulator.sql.types import MAX_TEXT, SqlType

_WIRE = {"NUMBER": "fixed", "FLOAT": "real", "VARCHAR": "text", "NULL": "text"}
_NULL_LENGTH = 0
_BYTES_A_LETTER = 4  # the most that UTF-8 needs


def wire_name(of: SqlType) -> str:
    return _WIRE.get(of.name, of.name.lower())


def described(output: Output) -> dict[str, Any]:
    """Return the entry of ``rowtype`` for one column."""
    of = output.type
    entry: dict[str, Any] = {
        "name": output.name,
        "database": "",
        "schema": "",
        "table": "",
        "nullable": output.nullable,
        "type": wire_name(of),
        "byteLength": None,
        "length": None,
        "scale": None,
        "precision": None,
        "collation": None,
    }
    match of.name:
        case "NUMBER":
            entry |= {"precision": of.precision, "scale": of.scale}
        case "VARCHAR":
            entry |= {
                "length": of.length,
                "byteLength": max(of.length, min(of.length * _BYTES_A_LETTER, MAX_TEXT)),
            }
        case "NULL":
            entry |= {"length": _NULL_LENGTH, "byteLength": _NULL_LENGTH}
        case "BINARY":
            entry |= {"length": of.length, "byteLength": of.length}
        case "TIME" | "TIMESTAMP_NTZ" | "TIMESTAMP_LTZ" | "TIMESTAMP_TZ":
            entry |= {"precision": 0, "scale": of.scale}
        case "VECTOR":
            element = {
                "type": "real" if of.element == "FLOAT" else "fixed",
                "nullable": True,
                "name": "",
                "precision": None if of.element == "FLOAT" else 38,
                "scale": None if of.element == "FLOAT" else 0,
                "length": None,
                "byteLength": None,
            }
            entry |= {"vectorDimension": of.dimension, "fields": [element]}
    return entry
