"""Loads every family of functions, which fills the catalogue."""

from services.emulator.sql.functions import (  # noqa: F401
    aggregates,
    calls,
    conditional,
    context,
    conversions,
    cortex,
    dates,
    numbers,
    regexps,
    semi,
    strings,
    vectors,
)
