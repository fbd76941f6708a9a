"""Types of Snowflake, how the engine stores each, and how results declare each."""

from dataclasses import dataclass, replace

MAX_TEXT = 16_777_216  # docs: data-types-text, default length of VARCHAR
MAX_BINARY = 8_388_608
MAX_DIGITS = 38
MAX_DIMENSION = 4096  # docs: data-types-vector


@dataclass(frozen=True, slots=True)
class SqlType:
    """A type; ``scale`` is also the fractional digits of times, ``dimension`` and ``element`` belong to VECTOR."""

    name: str
    precision: int = 0
    scale: int = 0
    length: int = 0
    element: str = ""
    dimension: int = 0

    @property
    def is_number(self) -> bool:
        return self.name in {"NUMBER", "FLOAT"}

    @property
    def is_semi(self) -> bool:
        return self.name in {"VARIANT", "OBJECT", "ARRAY"}

    @property
    def is_timestamp(self) -> bool:
        return self.name.startswith("TIMESTAMP")

    @property
    def is_time(self) -> bool:
        return self.is_timestamp or self.name in {"DATE", "TIME"}

    def __str__(self) -> str:
        return _text(self)

    @property
    def physical(self) -> str:
        """The engine's type that holds it."""
        match self.name:
            case "NUMBER":
                return f"DECIMAL({self.precision},{self.scale})"
            case "VECTOR":
                return f"{'FLOAT' if self.element == 'FLOAT' else 'INTEGER'}[{self.dimension}]"
        return _PHYSICAL[self.name]


_PHYSICAL = {
    "FLOAT": "DOUBLE",
    "VARCHAR": "VARCHAR",
    "BOOLEAN": "BOOLEAN",
    "BINARY": "BLOB",
    "DATE": "DATE",
    "TIME": "TIME",
    "TIMESTAMP_NTZ": "TIMESTAMP",
    "TIMESTAMP_LTZ": "TIMESTAMP",  # in UTC
    "TIMESTAMP_TZ": "STRUCT(t TIMESTAMP, o INTEGER)",  # UTC, and the offset in minutes
    "VARIANT": "VARCHAR",  # JSON, compact
    "OBJECT": "VARCHAR",
    "ARRAY": "VARCHAR",
    "NULL": "VARCHAR",
}

VARCHAR = SqlType("VARCHAR", length=MAX_TEXT)
BOOLEAN = SqlType("BOOLEAN")
FLOAT = SqlType("FLOAT")
INTEGER = SqlType("NUMBER", MAX_DIGITS, 0)
BINARY = SqlType("BINARY", length=MAX_BINARY)
DATE = SqlType("DATE")
TIME = SqlType("TIME", scale=9)
TIMESTAMP_NTZ = SqlType("TIMESTAMP_NTZ", scale=9)
TIMESTAMP_LTZ = SqlType("TIMESTAMP_LTZ", scale=9)
TIMESTAMP_TZ = SqlType("TIMESTAMP_TZ", scale=9)
VARIANT = SqlType("VARIANT")
OBJECT = SqlType("OBJECT")
ARRAY = SqlType("ARRAY")
NULL = SqlType("NULL")


def number(precision: int, scale: int = 0) -> SqlType:
    """Return NUMBER with at most 38 digits, of which at most 37 after the point."""
    scale = min(scale, MAX_DIGITS - 1)
    return SqlType("NUMBER", max(1, min(max(precision, scale), MAX_DIGITS)), scale)


def text(length: int) -> SqlType:
    return SqlType("VARCHAR", length=max(1, min(length, MAX_TEXT)))


def vector(element: str, dimension: int) -> SqlType:
    return SqlType("VECTOR", element=element, dimension=dimension)


def _text(of: SqlType) -> str:
    match of.name:
        case "NUMBER":
            return f"NUMBER({of.precision},{of.scale})"
        case "VARCHAR" | "BINARY":
            return f"{of.name}({of.length})"
        case "VECTOR":
            return f"VECTOR({of.element}, {of.dimension})"
        case "TIME" | "TIMESTAMP_NTZ" | "TIMESTAMP_LTZ" | "TIMESTAMP_TZ":
            return f"{of.name}({of.scale})"
    return of.name


def common(left: SqlType, right: SqlType) -> SqlType | None:
    """Return the type to which both sides of CASE, UNION or COALESCE are brought, or None where there is none."""
    if left == right or right.name == "NULL":
        return left
    if left.name == "NULL":
        return right
    if left.name == right.name:
        return _wider(left, right)
    names = {left.name, right.name}
    for rule, wanted in _COMMON:
        if names <= rule:
            return wanted if wanted.name not in names else (left if left.name == wanted.name else right)
    if "VARCHAR" in names:  # text is read as what the other side is
        other = left if right.name == "VARCHAR" else right
        return None if other.name in {"VECTOR", "ARRAY", "OBJECT"} else other
    return None


def _wider(left: SqlType, right: SqlType) -> SqlType | None:
    if left.name == "NUMBER":
        scale = max(left.scale, right.scale)
        lead = max(left.precision - left.scale, right.precision - right.scale)
        return number(lead + scale, scale)
    if left.name == "VECTOR":
        return None
    return replace(left, length=max(left.length, right.length), scale=max(left.scale, right.scale))


_COMMON: tuple[tuple[set[str], SqlType], ...] = (
    ({"NUMBER", "FLOAT"}, FLOAT),
    ({"VARIANT", "OBJECT"}, VARIANT),
    ({"VARIANT", "ARRAY"}, VARIANT),
    ({"DATE", "TIMESTAMP_NTZ"}, TIMESTAMP_NTZ),
    ({"DATE", "TIMESTAMP_LTZ"}, TIMESTAMP_LTZ),
    ({"DATE", "TIMESTAMP_TZ"}, TIMESTAMP_TZ),
    ({"TIMESTAMP_NTZ", "TIMESTAMP_LTZ"}, TIMESTAMP_LTZ),
    ({"TIMESTAMP_NTZ", "TIMESTAMP_TZ"}, TIMESTAMP_TZ),
    ({"TIMESTAMP_LTZ", "TIMESTAMP_TZ"}, TIMESTAMP_TZ),
    ({"VARIANT", "NUMBER"}, VARIANT),
    ({"VARIANT", "FLOAT"}, VARIANT),
    ({"VARIANT", "VARCHAR"}, VARIANT),
    ({"VARIANT", "BOOLEAN"}, VARIANT),
    ({"VARIANT", "DATE"}, VARIANT),
    ({"VARIANT", "TIMESTAMP_NTZ"}, VARIANT),
    ({"NUMBER", "BOOLEAN"}, BOOLEAN),
)
