"""Loads every family of statements."""

from services.emulator.statements import databases, dml, queries, settings, tables, transactions  # noqa: F401
