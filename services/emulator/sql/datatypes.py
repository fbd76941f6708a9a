"""From a written type to what it means, refusing what Snowflake has no type for."""

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql import types as t
from services.emulator.sql.dialect import position
from services.emulator.sql.types import SqlType

_D = exp.DataType.Type
_INTEGERS = {_D.INT, _D.BIGINT, _D.SMALLINT, _D.TINYINT}
_FLOATS = {_D.FLOAT, _D.DOUBLE}
_TEXTS = {_D.TEXT, _D.VARCHAR, _D.NVARCHAR}
_SIMPLE = {
    _D.BOOLEAN: t.BOOLEAN,
    _D.DATE: t.DATE,
    _D.VARIANT: t.VARIANT,
    _D.OBJECT: t.OBJECT,
    _D.ARRAY: t.ARRAY,
    _D.STRUCT: t.OBJECT,
    _D.MAP: t.OBJECT,
}
_TIMES = {
    _D.TIME: t.TIME,
    _D.TIMESTAMP: t.TIMESTAMP_NTZ,
    _D.DATETIME: t.TIMESTAMP_NTZ,
    _D.TIMESTAMPNTZ: t.TIMESTAMP_NTZ,
    _D.TIMESTAMPLTZ: t.TIMESTAMP_LTZ,
    _D.TIMESTAMPTZ: t.TIMESTAMP_TZ,
}


def read(node: exp.DataType) -> SqlType:  # noqa: C901, PLR0911 - one line a family of types
    """Return the type that *node* names."""
    kind = node.this
    sizes = [int(part.this.name) for part in node.expressions if isinstance(part, exp.DataTypeParam)]
    if kind == _D.VECTOR:
        return _vector(node)
    if kind == _D.DECIMAL:
        return _number(sizes)
    if kind in _INTEGERS:
        return t.INTEGER
    if kind in _FLOATS:
        return t.FLOAT
    if kind in _TEXTS:
        return SqlType("VARCHAR", length=_bounded(sizes[0], 134_217_728, "VARCHAR") if sizes else t.MAX_TEXT)
    if kind in {_D.CHAR, _D.NCHAR}:
        return t.text(sizes[0] if sizes else 1)
    if kind in {_D.BINARY, _D.VARBINARY}:
        return SqlType("BINARY", length=sizes[0] if sizes else t.MAX_BINARY)
    if kind in _TIMES:
        return SqlType(_TIMES[kind].name, scale=sizes[0] if sizes else 9)
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    name = node.sql(dialect="snowflake").upper()
    if kind == _D.USERDEFINED and (named := _NAMED.get(str(node.args.get("kind", "")).upper())):
        return named
    raise errors.compilation(2040, "42601", f"Unsupported data type '{name}'.")


_NAMED = {"DECFLOAT": t.FLOAT, "GEOGRAPHY": t.OBJECT, "GEOMETRY": t.OBJECT}


def _number(sizes: list[int]) -> SqlType:
    precision = sizes[0] if sizes else t.MAX_DIGITS
    scale = sizes[1] if len(sizes) > 1 else 0
    if not 1 <= precision <= t.MAX_DIGITS:
        raise errors.compilation(3045, "42601", f"Invalid precision '{precision}'. Must be between 1 and 38.")
    if not 0 <= scale <= min(precision, t.MAX_DIGITS - 1):
        raise errors.compilation(3046, "42601", f"Invalid scale '{scale}'. Must be between 0 and {min(precision, 37)}.")
    return SqlType("NUMBER", precision, scale)


def _bounded(size: int, most: int, name: str) -> int:
    if not 1 <= size <= most:
        raise errors.compilation(
            1090, "42601", f"Invalid length '{size}' for type {name}. Must be between 1 and {most}."
        )
    return size


def _vector(node: exp.DataType) -> SqlType:
    line, column = position(node)
    parts = node.expressions
    if len(parts) != 2:  # noqa: PLR2004 - element and dimension
        raise errors.syntax(line, column, "VECTOR")
    element = parts[0].this if isinstance(parts[0], exp.DataType) else None
    named = "FLOAT" if element in _FLOATS else "INT" if element in _INTEGERS else ""
    if not named:
        raise errors.compilation(
            2040,
            "42601",
            f"Unsupported vector element type '{parts[0].sql(dialect='snowflake')}'. Must be FLOAT or INT.",
        )
    dimension = int(parts[1].this.name)
    if not 1 <= dimension <= t.MAX_DIMENSION:
        raise errors.compilation(
            3047, "42601", f"Invalid vector dimension '{dimension}'. Must be between 1 and {t.MAX_DIMENSION}."
        )
    return t.vector(named, dimension)
