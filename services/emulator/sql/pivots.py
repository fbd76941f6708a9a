"""PIVOT and UNPIVOT, written out as groups and unions."""

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.dialect import position
from services.emulator.sql.scope import Scope


def pivoted(c: Compiler, node: exp.Expr, scope: Scope) -> str:
    raise errors.syntax(*position(node), "PIVOT")
