"""What commands print: JSON for scripts, tables for people."""

import shutil
import sys
from collections.abc import Sequence

import orjson

DEFAULT_COLUMNS = 120  # where there is no terminal


def print_json(document: object) -> None:
    """Print *document* as indented JSON."""
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print *rows* under *headings*; every column but the last is as wide as its widest cell."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings) - 1)]
    for row in (headings, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join((*cells, row[-1])).rstrip())


def terminal_columns() -> int:
    """Return the width to print for."""
    return shutil.get_terminal_size((DEFAULT_COLUMNS, 24)).columns if sys.stdout.isatty() else DEFAULT_COLUMNS


def printable(text: str) -> str:
    """Return *text* on one line and without control characters, which could drive the reader's terminal."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))
