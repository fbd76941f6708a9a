"""``*`` with ILIKE, EXCLUDE, REPLACE and RENAME."""

import re

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.dialect import position
from services.emulator.sql.names import fold
from services.emulator.sql.scope import Expr, Scope


def is_star(item: exp.Expr) -> bool:
    return isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star))


def expand(c: Compiler, item: exp.Expr, scope: Scope) -> list[tuple[str, Expr]]:
    """Return the outputs that a star stands for."""
    star = item if isinstance(item, exp.Star) else item.this
    qualifiers = tuple(fold(item.args.get(part)) for part in ("table", "db", "catalog") if item.args.get(part))
    columns = scope.visible(qualifiers)
    if not columns:
        if qualifiers:
            raise errors.invalid_identifier(".".join(reversed(qualifiers)) + ".*", *position(item))
        raise errors.compilation(2083, "42601", "SELECT with no columns")
    found = [(column.name, Expr(column.sql, column.type, column.nullable)) for column in columns]
    if (pattern := star.args.get("ilike")) is not None:
        wanted = re.compile(_like(pattern.name), re.IGNORECASE | re.DOTALL)
        found = [pair for pair in found if wanted.fullmatch(pair[0])]
    excluded = {fold(part.this if isinstance(part, exp.Column) else part) for part in star.args.get("except_") or ()}
    _known(excluded, found, item)
    found = [pair for pair in found if pair[0] not in excluded]
    replaced = {fold(part.args["alias"]): c.bind(part.this, scope) for part in star.args.get("replace") or ()}
    _known(set(replaced), found, item)
    renamed = {
        fold(part.this.this if isinstance(part.this, exp.Column) else part.this): fold(part.args["alias"])
        for part in star.args.get("rename") or ()
    }
    _known(set(renamed), found, item)
    return [(renamed.get(name, name), replaced.get(name, value)) for name, value in found]


def _known(names: set[str], found: list[tuple[str, Expr]], item: exp.Expr) -> None:
    for name in sorted(names - {pair[0] for pair in found}):
        raise errors.invalid_identifier(name, *position(item))


def _like(pattern: str) -> str:
    return "".join(".*" if mark == "%" else "." if mark == "_" else re.escape(mark) for mark in pattern)
