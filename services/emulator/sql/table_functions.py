"""Functions that answer with rows."""

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.names import fold
from services.emulator.sql.scope import Scope


def compile_table_function(c: Compiler, call: exp.Expr, node: exp.Expr, scope: Scope) -> str:
    raise errors.unknown_function(fold(call.this))
