"""The parser: sqlglot's Snowflake grammar with every function left under the name that was written.

The catalogue of functions decides what exists; a parser that knows functions would let those of other engines through.
"""

import re
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.snowflake import Snowflake
from sqlglot.errors import ParseError, TokenError

from services.emulator import errors

TEXT = "text"  # meta key: the expression as written
_SPECIAL_FORMS = ("CAST", "TRY_CAST", "EXTRACT")


class _Parser(Snowflake.Parser):  # type: ignore[valid-type, misc]  # the dialect makes its parser at run time
    FUNCTIONS: ClassVar[dict[str, Any]] = {}
    FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
        name: parse for name, parse in Snowflake.Parser.FUNCTION_PARSERS.items() if name in _SPECIAL_FORMS
    }
    NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}

    def _parse_expression(self) -> exp.Expr | None:
        start = self._curr
        node: exp.Expr | None = super()._parse_expression()
        if node is not None and self._prev:
            node.meta[TEXT] = self._find_sql(start, self._prev)
        return node


class Dialect(Snowflake):
    """Snowflake without functions that the parser would rename."""

    Parser = _Parser


_DIALECT = Dialect()


def parse(statement: str) -> exp.Expr:
    """Return the tree of one statement, or refuse it as Snowflake refuses wrong syntax."""
    try:
        trees = [tree for tree in _DIALECT.parse(statement) if tree is not None]
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        raise errors.syntax(
            first.get("line") or 1, max(0, (first.get("col") or 1) - 1), str(first.get("highlight") or "<EOF>")
        ) from None
    except TokenError:
        raise errors.syntax(1, 0, "<EOF>") from None
    except RecursionError:
        raise errors.compilation(1003, "42000", "statement nested too deep") from None
    if len(trees) != 1:
        raise errors.SqlError(
            8, "0A000", f"Actual statement count {len(trees)} did not match the desired statement count 1."
        )
    return trees[0]


def split(script: str) -> list[str]:
    """Return the statements of *script*, without what separates them."""
    try:
        tokens = _DIALECT.tokenize(script)
    except TokenError:
        raise errors.syntax(1, 0, "<EOF>") from None
    statements, start = [], 0
    for token in tokens:
        if token.token_type.name == "SEMICOLON":
            statements.append(script[start : token.start])
            start = token.end + 1
    statements.append(script[start:])
    return [part.strip() for part in statements if _says_something(part)]


def _says_something(part: str) -> bool:
    return bool(_DIALECT.tokenize(part)) if part.strip() else False


def shown(text: str) -> str:
    """Return the column name that Snowflake gives to an expression without an alias: its text in upper case."""
    return re.sub(r"\s*\n\s*", " ", text.strip()).upper()


def position(node: exp.Expr) -> tuple[int, int]:
    """Return line and position of *node* as error messages count them: from 1 and from 0."""
    for part in node.walk():
        if "line" in part.meta:
            length = part.meta.get("end", 0) - part.meta.get("start", 0) + 1
            return part.meta["line"], max(0, part.meta["col"] - length)
    return 1, 0
