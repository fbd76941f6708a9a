"""One compilation: what it may look up, the binds it was given, and what it found out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql.dialect import position
from services.emulator.sql.scope import Expr, Query, Scope
from services.emulator.sql.types import SqlType


@dataclass(frozen=True, slots=True)
class Bind:
    """A value that came beside the statement."""

    type: SqlType
    value: str | None


class Rules(Protocol):
    """Larger constructs, compiled by modules that build on this one."""

    def query(self, c: "Compiler", node: exp.Expr, parent: Scope | None) -> Query: ...

    def scan(self, c: "Compiler", node: exp.Table) -> tuple[Query, tuple[str, ...]]: ...

    def table_function(self, c: "Compiler", call: exp.Expr, node: exp.Expr, scope: Scope) -> str: ...

    def pivoted(self, c: "Compiler", node: exp.Expr, scope: Scope) -> str: ...

    def user_function(self, c: "Compiler", path: list[str], node: exp.Anonymous, scope: Scope) -> Expr: ...


@dataclass(slots=True)
class Compiler:
    """State of compiling one statement. ``session`` is the engine's session; reads go to its catalogue."""

    session: Any
    rules: Rules
    view: Any = None  # what the statement may see of rows
    binds: list[Bind] = field(default_factory=list)
    ctes: list[dict[str, Query]] = field(default_factory=list)
    counter: int = 0
    next_bind: int = 0
    objects: list[Any] = field(default_factory=list)  # tables read, for rights and access history
    in_values: bool = False
    describing: bool = False  # binds may be missing
    in_policy: bool = False
    depth: int = 0

    def alias(self, prefix: str = "s") -> str:
        self.counter += 1
        return f"{prefix}{self.counter}"

    def bind(self, node: exp.Expr, scope: Scope) -> Expr:
        """Return *node* compiled; what has no rule here is not Snowflake's."""
        handler = HANDLERS.get(type(node))
        if handler is None:
            line, column = position(node)
            raise errors.syntax(line, column, node.sql(dialect="snowflake")[:40])
        return handler(self, node, scope)

    def query(self, node: exp.Expr, parent: Scope | None = None) -> Query:
        """Return a query inside of another."""
        return self.rules.query(self, node, parent)


Handler = Callable[[Compiler, Any, Scope], Expr]
HANDLERS: dict[type[exp.Expr], Handler] = {}


def handles(*kinds: type[exp.Expr]) -> Callable[[Handler], Handler]:
    """Register the rule for nodes of exactly these *kinds*."""

    def register(handler: Handler) -> Handler:
        for kind in kinds:
            HANDLERS[kind] = handler
        return handler

    return register
