"""The README says what is there: every setting, every RPC that is not built, no dead link, no address of anybody's machine."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from services.cli.arguments import parser
from tests.support.modules import load_all

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
IMAGE = ROOT / "protos" / "gen" / "memorybox" / "descriptors.binpb"
PAGES = sorted(path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "spcs").rglob("*.md")))


def section(title: str) -> str:
    """Return what stands under the heading *title* of the README, subheadings included."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"the README has no section {title!r}"
    return found[1]


def rows(text: str) -> list[tuple[str, ...]]:
    """Return the cells of all tables in *text*, without headings."""
    lines = re.findall(r"^\| *(.*?) *\|$", text, re.MULTILINE)
    cells = [tuple(re.split(r" *(?<!\\)\| *", line)) for line in lines]
    return [row for row in cells if row[0].startswith("`")]


def settings() -> dict[str, Field[Any]]:
    """Return every declared setting by its variable."""
    load_all()
    modules = [module for name, module in sys.modules.items() if name.startswith("services.")]
    classes = {
        item for module in modules for item in vars(module).values() if isinstance(item, type) and is_dataclass(item)
    }
    declared = [item for cls in classes for item in fields(cls) if "variable" in item.metadata]
    found = {item.metadata["variable"]: item for item in declared}
    differing = [
        item
        for item in declared
        if row(item.metadata["variable"], item) != row(item.metadata["variable"], found[item.metadata["variable"]])
    ]
    assert differing == [], "one variable, two meanings"
    return found


def shown(default: object) -> str:
    """Return *default* as one would write it in the environment."""
    match default:
        case None | "" | ():
            return "—"
        case bool():
            return "`on`" if default else "`off`"
        case float():
            return f"`{default:g}`"
        case _:
            return f"`{default}`"


def row(variable: str, item: Field[Any]) -> tuple[str, ...]:
    """Return the row of the README's table for one setting; a default that is computed stands in its meaning."""
    default = "computed" if item.default_factory is not MISSING else shown(item.default)
    return (
        f"`{variable}`",
        "required" if item.default is MISSING and default != "computed" else default,
        item.metadata["doc"],
    )


def test_configuration_table_is_what_the_code_reads() -> None:
    expected = {row(variable, item) for variable, item in settings().items()}

    written = set(rows(section("Configuration")))

    missing = "\n".join(f"| {' | '.join(cells)} |" for cells in sorted(expected - written))
    assert written - expected == set(), f"no such setting, or it reads otherwise; expected are:\n{missing}"
    assert missing == "", f"rows to add:\n{missing}"


def servicers(base: type) -> list[type]:
    """Return *base* and everything that derives from it."""
    children: list[type] = base.__subclasses__()
    return [base, *(deeper for child in children for deeper in servicers(child))]


def unbuilt() -> set[tuple[str, str]]:
    """Return (service, RPC) of all that the contracts declare and no servicer overrides."""
    load_all()
    found = set()
    for file in FileDescriptorSet.FromString(IMAGE.read_bytes()).file:
        for service in file.service if file.package.startswith("memorybox.") else ():
            stubs = sys.modules[file.name.removesuffix(".proto").replace("/", ".") + "_pb2_grpc"]
            generated = getattr(stubs, f"{service.name}Servicer")
            for method in service.method:
                inherited: Callable[..., Any] = getattr(generated, method.name)
                if all(getattr(cls, method.name) is inherited for cls in servicers(generated)):
                    found.add((service.name, method.name))
    return found


def test_list_of_rpcs_that_are_not_built_is_what_the_code_refuses() -> None:
    listed = {
        (cells[0].strip("`"), name)
        for cells in rows(section("Declared, not built yet"))
        for name in re.findall(r"`(\w+)`", cells[1])
    }

    assert listed == unbuilt()


def test_http_paths_of_the_readme_are_routes() -> None:
    rules = [
        method.options.Extensions[annotations_pb2.http]
        for file in FileDescriptorSet.FromString(IMAGE.read_bytes()).file
        for service in file.service
        for method in service.method
    ]
    routes = {(str(verb), getattr(rule, verb)) for rule in rules if (verb := rule.WhichOneof("pattern"))}
    known = {f"{verb.upper()} {re.sub(r'{.*?}', '{}', path)}" for verb, path in routes}

    named = set()
    for verbs, paths in re.findall(r"([A-Z]+(?:, [A-Z]+)*) (`/v1[^`]*`(?:, `/v1[^`]*`)*)", section("HTTP API")):
        for path in re.findall(r"`(.*?)`", paths):
            named |= {f"{verb} {re.sub(r'{.*?}', '{}', path)}" for verb in verbs.split(", ")}

    assert named
    assert named <= known


def test_commands_of_the_readme_are_what_the_command_line_has() -> None:
    commands = next(iter(parser()._subparsers._group_actions)).choices  # type: ignore[union-attr]

    named = set(re.findall(r"`memorybox ([a-z]+)", section("Command line")))

    assert named == set(commands or ())


def test_words_for_make_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    said = {word for page in PAGES for word in re.findall(r"(?:`|^)make ([a-z0-9-]+)", page.read_text(), re.MULTILINE)}

    assert said
    assert said <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())

    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


def test_no_committed_text_names_a_folder_of_somebodys_machine() -> None:
    pattern = r"/(root|work|home/[a-z]+)/"

    found = subprocess.run(
        ["git", "grep", "-nIE", pattern, "--", ":!tests/contract/test_docs.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.stdout == ""


def test_changelog_keeps_the_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    kinds = {"Security", "Removed", "Deprecated", "Added", "Changed", "Fixed"}

    assert "## [Unreleased]" in text
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds
