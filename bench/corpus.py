"""Real paragraphs for benches: the prose that installed packages carry in their docstrings."""

import ast
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

MIN_LENGTH, MAX_LENGTH = 60, 600


def paragraphs(count: int) -> list[str]:
    """Return the first *count* distinct paragraphs of the standard library's and the packages' docstrings."""
    found: dict[str, None] = {}
    for text in _docstrings():
        for paragraph in re.split(r"\n\s*\n", text):
            flat = " ".join(paragraph.split())
            if MIN_LENGTH <= len(flat) <= MAX_LENGTH and flat.count(" ") > len(flat) / 12:
                found[flat] = None
        if len(found) >= count:
            return list(found)[:count]
    raise SystemExit(f"only {len(found)} paragraphs in this environment; ask for fewer than {count}")


def _docstrings() -> Iterator[str]:
    folders = (Path(sysconfig.get_paths()["stdlib"]), Path(sysconfig.get_paths()["purelib"]))
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):  # packages carry files that are wrong on purpose
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    yield ast.get_docstring(node) or ""


if __name__ == "__main__":
    print("\n\n".join(paragraphs(int(sys.argv[1]))))
