"""Values on their way into columns: which types a column takes by itself, and the checks on the way."""

from services.emulator import errors
from services.emulator.engine.objects import Column
from services.emulator.sql.casts import cast
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.dialect import parse
from services.emulator.sql.scope import Expr, Scope
from services.emulator.sql.types import SqlType

# docs: data-type-conversion, the column "coercible"
_NEVER = {
    "VARIANT": {"ARRAY", "OBJECT", "VARIANT", "NULL"},
    "ARRAY": {"ARRAY", "VARIANT", "NULL"},
    "OBJECT": {"OBJECT", "VARIANT", "NULL"},
    "VECTOR": {"VECTOR", "NULL"},
    "BINARY": {"BINARY", "VARCHAR", "NULL", "VARIANT"},
}


def takes(column: SqlType, given: SqlType) -> bool:
    """Whether a column takes a value of type *given* without an explicit cast."""
    if column.name in _NEVER:
        return given.name in _NEVER[column.name] and (
            column.name != "VECTOR" or given.name == "NULL" or given == column
        )
    if given.name in {"ARRAY", "OBJECT", "VECTOR", "BINARY"}:
        return False
    if column.name == "BOOLEAN" or given.name in {"VARCHAR", "NULL", "VARIANT"}:
        return True
    if column.name == "DATE" and given.is_number:
        return False
    return (
        not (given.name == "BOOLEAN" and column.is_number)
        and not (column.name == "TIME" and given.name == "DATE")
        and not (column.is_time and given.name in {"FLOAT", "BOOLEAN"})
        and not (column.is_number and given.is_time)
    )


def assigned(c: Compiler, column: Column, value: Expr) -> str:
    """Return *value* as *column* keeps it."""
    if not takes(column.type, value.type):
        text = f"Expression type does not match column data type, expecting {column.type} but got {value.type} for column {column.name}"
        raise errors.compilation(2023, "22000", text)
    return f"CAST({cast(c, value, column.type).sql} AS {column.type.physical})"


def default(c: Compiler, column: Column) -> str:
    """Return what *column* holds when nothing is given."""
    if column.identity or not column.default:
        return f"CAST(NULL AS {column.type.physical})" if not column.identity else identity(c, column)

    node = parse(f"SELECT {column.default}").expressions[0]
    return f"CAST({cast(c, c.bind(node, Scope()), column.type).sql} AS {column.type.physical})"


def identity(c: Compiler, column: Column) -> str:
    """Return the next number of an AUTOINCREMENT column, one for each row."""
    return f"CAST(sf_next('{column.identity}', random()) AS {column.type.physical})"
