"""Functions that the engine lacks, given to it as macros and as Python."""

import functools
from typing import Any

import duckdb
from duckdb.func import FunctionNullHandling

from services.emulator.cortex.completion import completed
from services.emulator.cortex.embedding import embedded
from services.emulator.sql.runtime import arrays, conversions, regexps, semi, texts, times

_MACROS = (
    "sf_raise(code, state, message) AS error('SF[' || code || '|' || state || '|' || message || ']')",
    # rounds half away from zero; both sides are whole numbers
    "sf_divide(n, d) AS CASE WHEN d = 0 THEN error('SF[100051|22012|Division by zero]') WHEN (n < 0) <> (d < 0) THEN -((2 * abs(n) + abs(d)) // (2 * abs(d))) ELSE (2 * abs(n) + abs(d)) // (2 * abs(d)) END",
    "sf_divide_float(n, d) AS CASE WHEN d = 0 THEN error('SF[100051|22012|Division by zero]') ELSE n / d END",
    "sf_mod(n, d) AS CASE WHEN d = 0 THEN error('SF[100051|22012|Division by zero]') ELSE n % d END",
    "sf_mod_float(n, d) AS CASE WHEN d = 0 THEN error('SF[100051|22012|Division by zero]') ELSE fmod(n, d) END",
    "sf_fit(s, n) AS CASE WHEN length(s) > n THEN error('SF[100078|22000|String ''' || s || ''' is too long and would be truncated]') ELSE s END",
    "sf_wall(z) AS struct_extract(z, 't') + to_minutes(struct_extract(z, 'o'))",
    "sf_zoned(wall, utc) AS {'t': CAST(utc AS TIMESTAMP), 'o': CAST(date_diff('minute', utc, wall) AS INTEGER)}",
    # strict_division is off in the engine's float division by zero; cosine of a zero vector is NaN as in Snowflake
    "sf_cosine(a, b) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE array_cosine_similarity(a, b) END",
)


def install(connection: duckdb.DuckDBPyConnection) -> None:
    """Give *connection*'s database all functions; cursors of it share them."""
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute("SET GLOBAL python_enable_replacements = false")  # names of tables are never Python's variables
    connection.execute("SET GLOBAL error_on_division_by_zero = false")  # our macros refuse it in Snowflake's words
    for family in (arrays, conversions, regexps, semi, texts, times):
        for name, (function, arguments, result) in family.FUNCTIONS.items():
            _add(connection, name, function, arguments, result)
    _add(connection, "sf_embed", lambda text, size: list(embedded(text, size)), ["VARCHAR", "INTEGER"], "FLOAT[]")
    _add(connection, "sf_complete", completed, ["VARCHAR", "VARCHAR"], "VARCHAR")
    for macro in _MACROS:
        connection.execute(f"CREATE OR REPLACE MACRO {macro}")


def _add(
    connection: duckdb.DuckDBPyConnection, name: str, function: Any, arguments: list[str] | None, result: str
) -> None:
    parameters: list[Any] | None = (
        None if arguments is None else ["BIGINT" if kind == "INTEGER" else kind for kind in arguments]
    )
    connection.create_function(name, _strict(function), parameters, result, null_handling=FunctionNullHandling.SPECIAL)


def _strict(function: Any) -> Any:
    """Return *function* answering NULL where an argument is NULL; without it a NULL answer would be a fault."""

    @functools.wraps(function)  # the engine counts the parameters that a signature shows
    def guarded(*given: Any) -> Any:
        return None if any(item is None for item in given) else function(*given)

    return guarded
