"""The committed code under protos/gen is what the generator makes of the contracts today."""

import subprocess
import sys
from pathlib import Path

PROTOS = Path(__file__).parents[2] / "protos"


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_generated_code_is_current(tmp_path: Path) -> None:
    subprocess.run([sys.executable, PROTOS / "generate.py", tmp_path / "gen"], check=True)

    fresh, committed = contents(tmp_path / "gen"), contents(PROTOS / "gen")

    assert sorted(fresh) == sorted(committed), "run `make gen`"
    assert [name for name in fresh if fresh[name] != committed[name]] == [], "run `make gen`"


def test_generated_code_is_in_the_wheel_and_not_ignored() -> None:
    paths = [str(path) for path in (PROTOS / "gen").rglob("*.py*") if "__pycache__" not in path.parts]

    ignored = subprocess.run(["git", "check-ignore", *paths], cwd=PROTOS, capture_output=True, text=True, check=False)

    assert ignored.stdout == ""
