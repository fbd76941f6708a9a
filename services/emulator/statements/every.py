"""Loads every family of statements."""

# ruff: noqa: F401 - modules are imported for what they register

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
)
