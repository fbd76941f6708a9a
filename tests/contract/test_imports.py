"""The import rules of pyproject.toml hold, and they cover every package that they are meant for."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "services"
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]


def contract(word: str) -> dict[str, Any]:
    return next(item for item in CONTRACTS if word in item["name"])


def modules(folder: Path) -> set[str]:
    """Return the dotted names of what lies directly in *folder*."""
    found = {path for path in folder.iterdir() if (path / "__init__.py").exists() or path.suffix == ".py"}
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in found}
    return {name for name in names if not name.endswith("__init__")}


def test_import_rules_hold() -> None:
    linter = Path(sys.executable).parent / "lint-imports"

    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout


def test_services_are_independent_of_each_other() -> None:
    independent = {
        f"services.{name.strip()}"
        for layer in contract("side by side")["layers"]
        for name in layer.split("|")
        if "memory" in layer
    }

    assert independent == {f"services.{path.parent.name}" for path in SERVICES.glob("*/app.py")}


def test_every_domain_is_kept_pure() -> None:
    domains = {
        f"services.{path.parent.name}.domain" for path in SERVICES.glob("*/domain*") if path.suffix in {"", ".py"}
    }

    assert set(contract("domain")["source_modules"]) == domains


def test_domains_know_of_the_mesh_only_errors_and_callers() -> None:
    allowed = {"services.mesh.errors", "services.mesh.caller"}

    assert modules(SERVICES / "mesh") - allowed <= set(contract("domain")["forbidden_modules"])


def test_transcoder_is_kept_from_everything_else() -> None:
    rest = (modules(SERVICES) | modules(SERVICES / "gateway")) - {"services.gateway", "services.gateway.transcoder"}

    assert rest <= set(contract("transcoder")["forbidden_modules"])
