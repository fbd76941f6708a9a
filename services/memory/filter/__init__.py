"""The filter language: AIP-160 read once into a typed tree, which each store compiles to its own kind of query.

Everything here is pure: it knows no store, no transport and no clock. docs/filter.md says what a filter means.
"""

from services.memory.filter.fault import InvalidFilter
from services.memory.filter.parser import parse, parse_path
from services.memory.filter.schema import FieldKind, Schema
from services.memory.filter.tree import EVERYTHING, Filter, Path
from services.memory.filter.writer import unparse

__all__ = [
    "EVERYTHING",
    "FieldKind",
    "Filter",
    "InvalidFilter",
    "Path",
    "Schema",
    "parse",
    "parse_path",
    "unparse",
]
