"""Loads every family of statements."""

