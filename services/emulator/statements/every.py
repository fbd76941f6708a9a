"""Loads every family of statements."""

from services.emulator.statements import (
    altering,
    databases,
    dml,
    merge,
    queries,
    security,
    settings,
    show,
    tables,
    transactions,
    views,
)  # noqa: F401
