"""Joins the parts of the compiler: larger constructs call back into these."""

# ruff: noqa: F401 - modules are imported for what they register

from sqlglot import exp

from services.emulator.engine import scans
from services.emulator.sql import (
    casts,
    literals,
    operators,
    pivots,
    select,
    semi_paths,
    table_functions,
    user_functions,
)
from services.emulator.sql.compiler import Bind, Compiler
from services.emulator.sql.functions import loaded
from services.emulator.sql.scope import Expr, Query, Scope


class Rules:
    """The larger constructs, as ``Compiler`` asks for them."""

    def query(self, c: Compiler, node: exp.Expr, parent: Scope | None) -> Query:
        return select.compile_query(c, node, parent)

    def scan(self, c: Compiler, node: exp.Table) -> tuple[Query, tuple[str, ...]]:
        return scans.scan(c, node)

    def table_function(self, c: Compiler, call: exp.Expr, node: exp.Expr, scope: Scope) -> str:
        return table_functions.compile_table_function(c, call, node, scope)

    def pivoted(self, c: Compiler, node: exp.Expr, scope: Scope) -> str:
        return pivots.pivoted(c, node, scope)

    def user_function(self, c: Compiler, path: list[str], node: exp.Anonymous, scope: Scope) -> Expr:
        return user_functions.call(c, path, node, scope)


RULES = Rules()


def compiler(session: object, view: object, binds: list[Bind] | None = None) -> Compiler:
    """Return a compiler for one statement of *session*."""
    return Compiler(session, RULES, view, binds or [])
