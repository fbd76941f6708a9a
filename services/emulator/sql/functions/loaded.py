"""Loads every family of functions, which fills the catalogue."""

from services.emulator.sql.functions import calls, strings  # noqa: F401
