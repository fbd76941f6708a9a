"""How a function is declared: name, kinds of argument, result, the engine's SQL, and its page in Snowflake's reference."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql import types as t
from services.emulator.sql.casts import cast
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.dialect import position
from services.emulator.sql.operators import as_number
from services.emulator.sql.scope import Expr, Scope
from services.emulator.sql.types import SqlType


@dataclass(slots=True)
class Call:
    """One call: arguments as compiled, and as written for what needs their text."""

    c: Compiler
    name: str
    node: exp.Expr
    scope: Scope
    written: list[exp.Expr]
    args: list[Expr] = field(default_factory=list)
    distinct: bool = False
    order: exp.Order | None = None
    window: bool = False

    def refused(self) -> errors.SqlError:
        listed = ", ".join(str(arg.type) for arg in self.args)
        return errors.invalid_types(self.name, listed, *position(self.node))

    def given(self, at: int, fallback: str) -> str:
        """Return the SQL of an optional argument, *fallback* where it was left out."""
        return self.args[at].sql if len(self.args) > at else fallback

    def result(self, sql: str, kind: SqlType, *, nullable: bool | None = None) -> Expr:
        given = any(arg.nullable for arg in self.args) if nullable is None else nullable
        return Expr(sql, kind, given, None, any(arg.aggregate for arg in self.args))


Build = Callable[[Call], Expr]
Result = SqlType | Callable[[list[Expr]], SqlType]


@dataclass(frozen=True, slots=True)
class Function:
    """An entry of the catalogue. ``kinds`` has one letter an argument, see ``coerced``."""

    name: str
    page: str
    kinds: str
    least: int
    most: int
    build: Build
    aggregate: bool = False
    window_only: bool = False
    raw: bool = False  # compiles its own arguments


CATALOGUE: dict[str, Function] = {}
UNLIMITED = 1 << 20


def define(
    names: str, kinds: str, result: Result, sql: str | Build, *, page: str = "", aggregate: bool = False
) -> None:
    """Declare functions. *kinds*: letters, ``?`` makes one and those after it optional, a last ``*`` repeats.

    *sql* has ``{0}``, ``{1}`` for arguments and ``{all}`` for the list of them.
    """
    letters, least, most = _counted(kinds)
    build = _template(sql, result) if isinstance(sql, str) else sql
    for name in names.split():
        CATALOGUE[name] = Function(name, page or name.lower(), letters, least, most, build, aggregate)


def special(
    names: str, least: int, most: int = UNLIMITED, *, page: str = "", aggregate: bool = False, window_only: bool = False
) -> Callable[[Build], Build]:
    """Register a function that compiles its own arguments."""

    def register(build: Build) -> Build:
        for name in names.split():
            CATALOGUE[name] = Function(
                name, page or name.lower(), "", least, most, build, aggregate, window_only, raw=True
            )
        return build

    return register


def built(names: str, kinds: str, *, page: str = "", aggregate: bool = False) -> Callable[[Build], Build]:
    """Register a function whose arguments are brought to *kinds* first."""
    letters, least, most = _counted(kinds)

    def register(build: Build) -> Build:
        for name in names.split():
            CATALOGUE[name] = Function(name, page or name.lower(), letters, least, most, build, aggregate)
        return build

    return register


def _counted(kinds: str) -> tuple[str, int, int]:
    required, _, optional = kinds.partition("?")
    letters = required + optional
    if letters.endswith("*"):
        return letters, len(required.rstrip("*")), UNLIMITED
    return letters, len(required), len(letters)


def _template(sql: str, result: Result) -> Build:
    def build(call: Call) -> Expr:
        texts = [arg.sql for arg in call.args]
        kind = result if isinstance(result, SqlType) else result(call.args)
        return call.result(sql.format(*texts, all=", ".join(texts)), kind)

    return build


def check_count(function: Function, call: Call) -> None:
    """Refuse too few or too many arguments as Snowflake words it."""
    shown = f"{function.name}({', '.join(node.sql(dialect='snowflake').upper() for node in call.written)})"
    if len(call.written) < function.least:
        raise errors.too_few_arguments(shown, function.least, len(call.written), *position(call.node))
    if len(call.written) > function.most:
        raise errors.too_many_arguments(shown, function.most, len(call.written), *position(call.node))


def coerce_all(function: Function, call: Call) -> list[Expr]:
    """Return the arguments in the kinds that *function* takes."""
    letters = function.kinds
    spread = (
        letters[:-2] + letters[-2] * max(0, len(call.args) - len(letters) + 2) if letters.endswith("*") else letters
    )
    return [coerced(call, arg, kind) for arg, kind in zip(call.args, spread, strict=False)]


_REFUSED_AS_TEXT = {"ARRAY", "OBJECT", "VECTOR"}


def coerced(call: Call, arg: Expr, kind: str) -> Expr:  # noqa: C901, PLR0911, PLR0912 - one line a kind
    """Return *arg* as the *kind* that a letter names, or refuse the call."""
    c, name = call.c, arg.type.name
    match kind:
        case "a":
            return arg
        case "s" if name == "BINARY" or name in _REFUSED_AS_TEXT:
            raise call.refused()
        case "s":
            return cast(c, arg, t.VARCHAR) if name != "VARCHAR" else arg
        case "x":
            return arg if name in {"VARCHAR", "BINARY"} else coerced(call, arg, "s")
        case "n" | "i" | "f":
            value = as_number(c, arg)
            if not value.type.is_number:
                raise call.refused()
            if kind == "f":
                return cast(c, value, t.FLOAT)
            if kind == "n":
                return value
            whole = cast(c, value, t.INTEGER) if value.type.name == "FLOAT" or value.type.scale else value
            return replace(whole, sql=f"CAST({whole.sql} AS BIGINT)")  # so that templates do not overflow 32 bits
        case "b":
            if name in {"BOOLEAN", "NULL", "NUMBER", "FLOAT", "VARCHAR", "VARIANT"}:
                return cast(c, arg, t.BOOLEAN)
            raise call.refused()
        case "d" | "m":
            return _moment(call, arg, kind)
        case "v":
            return cast(c, arg, t.VARIANT) if name != "VECTOR" else _refuse(call)
        case "j":
            return cast(c, arg, t.ARRAY) if name in {"ARRAY", "VARIANT", "NULL"} else _refuse(call)
        case "o":
            return cast(c, arg, t.OBJECT) if name in {"OBJECT", "VARIANT", "NULL"} else _refuse(call)
        case "y":
            return arg if name == "VECTOR" else _refuse(call)
    raise AssertionError(kind)


def _moment(call: Call, arg: Expr, kind: str) -> Expr:
    """Return a date or time of any kind; text becomes TIMESTAMP_NTZ. ``m`` takes no TIME."""
    if arg.type.is_timestamp or arg.type.name == "DATE" or (kind == "d" and arg.type.name == "TIME"):
        return arg
    if arg.type.name in {"VARCHAR", "NULL", "VARIANT"}:
        return cast(call.c, arg, t.TIMESTAMP_NTZ)
    raise call.refused()


def _refuse(call: Call) -> Expr:
    raise call.refused()


def same(args: list[Expr]) -> SqlType:
    """Return the type of the first argument as that of the result."""
    return args[0].type
