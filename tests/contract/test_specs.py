"""The service specifications and the Containerfile say what the code does: commands, ports, probes, variables, images."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from services.cli.arguments import parser
from services.mesh.config import BUILT_SERVICES, MeshSettings, load
from services.mesh.ops import Readiness, start_ops
from services.mesh.telemetry import Telemetry

ROOT = Path(__file__).parents[2]
SPECS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "spcs" / "specs").glob("*.yaml")}
CONTAINERFILE = (ROOT / "spcs" / "Containerfile").read_text()
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
services = pytest.mark.parametrize("name", BUILT_SERVICES)


def container(name: str) -> dict[str, Any]:
    """Return the one container of a service."""
    (only,) = SPECS[name]["spec"]["containers"]
    return cast("dict[str, Any]", only)


def endpoints(name: str) -> dict[str, dict[str, Any]]:
    return {endpoint["name"]: endpoint for endpoint in SPECS[name]["spec"]["endpoints"]}


def stages() -> Mapping[str, str]:
    """Return what each stage of the Containerfile says, by its name."""
    found = re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", CONTAINERFILE, re.MULTILINE | re.DOTALL)
    return dict(found)


def settings_classes(name: str) -> list[type]:
    """Return the settings that service *name* reads from its environment."""
    module = import_module(f"services.{name}.settings")
    own = [item for item in vars(module).values() if isinstance(item, type) and item.__module__ == module.__name__]
    return [MeshSettings, *(item for item in own if is_dataclass(item) and fields(item))]


def test_there_is_a_specification_for_each_service_and_for_nothing_else() -> None:
    assert set(SPECS) == set(BUILT_SERVICES)


@services
def test_specification_runs_the_command_that_the_command_line_has(name: str) -> None:
    program, *arguments = container(name)["command"]

    assert program == "memorybox"
    assert parser().parse_args(arguments).name == name


@services
def test_image_is_the_services_own_at_the_projects_version(name: str) -> None:
    assert container(name)["image"].rpartition("/")[2] == f"{name}:{VERSION}"
    assert container(name)["image"] == container(name)["image"].lower()


@services
def test_containerfile_has_a_target_that_serves_it(name: str) -> None:
    assert f'CMD ["{container(name)["command"][0]}", "serve", "{name}"]' in stages()[name]


def test_containerfile_installs_by_hash_runs_without_root_and_takes_its_base_as_an_argument() -> None:
    installs = re.findall(r"pip install (.*)", CONTAINERFILE)

    assert all("--no-deps" in line and ("--require-hashes" in line or "--no-index" in line) for line in installs)
    assert "requirements.lock" in stages()["build"]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", stages()["base"], re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", CONTAINERFILE, re.MULTILINE)) == {"${PYTHON_IMAGE}", "base"}


def test_containerfile_copies_only_what_its_context_holds() -> None:
    allowed = (ROOT / "spcs" / "Containerfile.dockerignore").read_text().split()
    copied = [
        name for line in re.findall(r"^COPY (?!--)(.*) \S+$", CONTAINERFILE, re.MULTILINE) for name in line.split()
    ]

    assert allowed[0] == "*"
    for name in copied:
        assert (ROOT / name).exists()
        assert any(Path(name).match(pattern.removeprefix("!")) for pattern in allowed if pattern.startswith("!")), name


@services
def test_ports_are_those_that_the_code_opens_under_this_environment(name: str) -> None:
    settings = load(MeshSettings, container(name)["env"])
    face = "http" if name == "gateway" else "grpc"

    ports = {key: endpoint["port"] for key, endpoint in endpoints(name).items()}

    assert ports == {face: settings.port(name), "ops": settings.ops_port(name)}
    assert settings.bind == "0.0.0.0"  # noqa: S104  other containers must reach it


@services
def test_only_the_gateway_is_public(name: str) -> None:
    public = {key: item["protocol"] for key, item in endpoints(name).items() if item["public"]}
    internal = {item["protocol"] for item in endpoints(name).values() if not item["public"]}

    assert public == ({"http": "HTTP"} if name == "gateway" else {})
    assert internal == {"TCP"}


@services
async def test_probes_ask_paths_that_the_ops_port_serves(name: str) -> None:
    settings = load(MeshSettings, container(name)["env"])
    telemetry = Telemetry(name, settings)
    runner = await start_ops("127.0.0.1", 0, Readiness(), telemetry)
    served = {resource.canonical for resource in runner.app.router.resources()}
    await runner.cleanup()
    telemetry.shutdown()

    probes = {kind: container(name)[kind] for kind in ("readinessProbe", "livenessProbe")}

    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "readinessProbe": "/readyz",
        "livenessProbe": "/livez",
    }
    assert {probe["path"] for probe in probes.values()} <= served
    assert {probe["port"] for probe in probes.values()} == {settings.ops_port(name)}


@services
def test_environment_names_only_settings_that_this_service_reads(name: str) -> None:
    known = {item.metadata["variable"] for cls in settings_classes(name) for item in fields(cls)}

    assert set(container(name)["env"]) <= known
    assert all(isinstance(value, str) for value in container(name)["env"].values())


@services
def test_settings_accept_the_environment(name: str) -> None:
    for cls in settings_classes(name):
        load(cls, container(name)["env"])


@services
def test_targets_name_every_instance_of_a_service_at_its_port(name: str) -> None:
    targets = {key: value for key, value in container(name)["env"].items() if key.endswith("_TARGET")}

    for variable, target in targets.items():
        called = variable.removeprefix("MEMORYBOX_").removesuffix("_TARGET").lower()
        assert target == f"dns:///instances.{called}:{endpoints(called)['grpc']['port']}"


@services
def test_keys_come_from_a_secret_of_the_services_own(name: str) -> None:
    (secret,) = container(name)["secrets"]

    assert secret["directoryPath"] == container(name)["env"]["MEMORYBOX_KEYS_DIR"]
    assert secret["snowflakeSecret"]["objectName"].endswith(f".{name}_keys")


@services
def test_mounted_volumes_are_declared_and_hold_what_the_service_keeps(name: str) -> None:
    declared = {volume["name"] for volume in SPECS[name]["spec"].get("volumes", ())}
    mounts = container(name).get("volumeMounts", ())

    assert {mount["name"] for mount in mounts} == declared
    if name == "memory":
        assert [mount["mountPath"] for mount in mounts] == [container(name)["env"]["MEMORYBOX_DATA_DIR"]]


@services
def test_service_roles_open_endpoints_that_exist(name: str) -> None:
    opened = {endpoint for role in SPECS[name].get("serviceRoles", ()) for endpoint in role["endpoints"]}

    assert opened <= set(endpoints(name))


def test_gateway_trusts_the_ingress_only() -> None:
    assert container("gateway")["env"]["MEMORYBOX_AUTH"] == "spcs"
