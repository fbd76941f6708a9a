"""The locks pin everything by hash, name no index, and carry nothing that is not meant to be there."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CONNECTOR4 = "requirements-connector4.lock"
LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock", CONNECTOR4)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# The packages that carry model and vocabulary declare these; the lock drops them.
UNWANTED = re.compile(r"(torch|nvidia|triton|cuda|transformers|sentence-transformers|huggingface|hf-|safetensors)")


@dataclass(frozen=True)
class Pin:
    """One line of a lock."""

    name: str
    version: str
    hashes: tuple[str, ...]


def pins(lock: str) -> list[Pin]:
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pinned = re.match(r"(\S+)==(\S+)", line)
            assert pinned, f"{lock}: not a pin: {line[:80]}"
            found.append(Pin(pinned[1], pinned[2], tuple(re.findall(r"--hash=(\S+)", line))))
    return found


def declared(*groups: str) -> list[Requirement]:
    """Return the project's requirements, its extras included, and those of dependency *groups*."""
    texts = list(PROJECT["project"]["dependencies"])
    for extra in PROJECT["project"]["optional-dependencies"].values():
        texts += extra
    for group in groups:
        texts += [item for item in PROJECT["dependency-groups"][group] if isinstance(item, str)]
    return [requirement for requirement in map(Requirement, texts) if requirement.name != "memorybox"]


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_a_sha256_for_every_package(lock: str) -> None:
    for pin in pins(lock):
        assert pin.hashes, pin.name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", item) for item in pin.hashes), pin.name


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_address_and_no_option(lock: str) -> None:
    text = (ROOT / lock).read_text()

    assert "://" not in text
    assert " @ " not in text
    assert set(re.findall(r"(?<!\S)--[a-z-]+", text)) == {"--hash"}


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_carries_no_training_stack_and_no_hub_client(lock: str) -> None:
    assert [pin.name for pin in pins(lock) if UNWANTED.match(canonicalize_name(pin.name))] == []


@pytest.mark.parametrize(
    ("lock", "groups"),
    [("requirements.lock", ()), ("requirements-dev.lock", ("build", "dev"))],
    ids=["run", "development"],
)
def test_lock_satisfies_what_the_project_declares(lock: str, groups: tuple[str, ...]) -> None:
    versions = {canonicalize_name(pin.name): pin.version for pin in pins(lock)}

    for requirement in declared(*groups):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in {lock}: run `make lock`"
        assert requirement.specifier.contains(version), f"{requirement} against {version}: run `make lock`"


def test_tests_run_on_the_versions_that_users_run_on() -> None:
    development = set(pins("requirements-dev.lock"))

    for lock in ("requirements.lock", "requirements-build.lock"):
        assert [pin.name for pin in pins(lock) if pin not in development] == []


def test_lock_of_the_oldest_connector_differs_in_the_connector_alone() -> None:
    development = {(pin.name, pin.version) for pin in pins("requirements-dev.lock")}
    known = {name for name, _ in development}

    other = {pin.name: pin.version for pin in pins(CONNECTOR4) if (pin.name, pin.version) not in development}

    assert set(other) & known == {"snowflake-connector-python"}
    assert other["snowflake-connector-python"].startswith("4.8.")


def test_build_tool_is_locked_and_stays_out_of_what_runs() -> None:
    assert "hatchling" in {pin.name for pin in pins("requirements-build.lock")}
    assert "hatchling" not in {pin.name for pin in pins("requirements.lock")}
