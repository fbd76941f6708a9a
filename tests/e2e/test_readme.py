"""The README's tour does what it shows, word for word, against a real mesh."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesh import ROOT, Mesh

PYTHON_BLOCK_NAME = "client.py"  # the README asks to save it so
MARK = "=== next ==="


@dataclass(frozen=True)
class Block:
    """One fenced block of the tour."""

    language: str
    text: str


def tour() -> list[Block]:
    """Return the blocks of the README's tour, in order."""
    text = (ROOT / "README.md").read_text().partition("## Five minutes")[2].partition("\n## ")[0]
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path_factory.mktemp("data"))
    with mesh.up():
        yield mesh


def here(text: str, mesh: Mesh) -> str:
    """Return *text* with the addresses and programs of this test in place of the README's."""
    places = {
        "localhost:8080": mesh.url.removeprefix("http://"),
        "127.0.0.1:15051": mesh.target("memory"),
        ".venv/bin/memorybox": f"{sys.executable} -P -m services.cli",
        ".venv/bin/python": sys.executable,
        "python3": sys.executable,
    }
    return re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], text)


def run_all(blocks: list[Block], mesh: Mesh, folder: Path) -> list[str]:
    """Run the shell blocks in one shell, as a person would, and return what each printed."""
    shutil.copytree(ROOT / "docs", folder / "docs")  # the tour imports what lies beside it
    for block in blocks:
        if block.language == "python":
            (folder / PYTHON_BLOCK_NAME).write_text(here(block.text, mesh))
    commands = [here(block.text, mesh) for block in blocks if block.language == "sh"]
    script = f"\necho '{MARK}'\n".join(["set -euo pipefail", *commands])
    result = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=mesh.environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.split(f"{MARK}\n")[1:]


def expectations(blocks: list[Block]) -> list[Block | None]:
    """Return, for each shell block, the output that the README shows right after it, if any."""
    shells = [i for i, block in enumerate(blocks) if block.language == "sh"]
    after = [blocks[i + 1] if i + 1 < len(blocks) else None for i in shells]
    return [block if block and block.language in {"json", "text"} else None for block in after]


def last_json(output: str) -> Any:
    """Return the last of the JSON documents that *output* consists of."""
    decoder, document, rest = json.JSONDecoder(), None, output.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        rest = rest[end:].lstrip()
    return document


def assert_shows(expected: Any, actual: Any, where: str) -> None:
    """Assert that *actual* has all that *expected* shows; ``"..."`` stands for anything, members may be left out."""
    if isinstance(expected, dict):
        assert isinstance(actual, dict), where
        for name, value in expected.items():
            assert name in actual, f"{where}.{name} is missing in {actual}"
            assert_shows(value, actual[name], f"{where}.{name}")
    elif isinstance(expected, list):
        assert len(actual) >= len(expected) if expected else actual == [], f"{where}: {actual}"
        for i, (shown, real) in enumerate(zip(expected, actual, strict=False)):
            assert_shows(shown, real, f"{where}[{i}]")
    elif expected != "...":
        assert actual == expected, where


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tour uses curl")
def test_tour_shows_what_really_happens(mesh: Mesh, tmp_path: Path) -> None:
    blocks = tour()

    outputs = run_all(blocks, mesh, tmp_path)

    for number, (expected, output) in enumerate(zip(expectations(blocks), outputs, strict=True), 1):
        if expected is None:
            continue
        if expected.language == "json":
            assert_shows(json.loads(expected.text), last_json(output), f"block {number}")
        else:
            assert output.splitlines() == expected.text.splitlines()
