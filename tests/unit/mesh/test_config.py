"""Settings: what each parser takes and refuses, and that one start names every fault."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from services.mesh.config import (
    OPS_OFFSET,
    SERVICE_OFFSETS,
    BadSettings,
    MeshSettings,
    Secret,
    integer,
    is_loopback,
    load,
    one_of,
    path,
    seconds,
    setting,
    switch,
)


@dataclass(frozen=True, slots=True)
class Sample:
    """Settings of a service that does not exist."""

    size: int = setting("SAMPLE_SIZE", parse=integer(1, 8), doc="How many.")
    name: str = setting("SAMPLE_NAME", doc="What it is called.")
    wait_s: float = setting("SAMPLE_WAIT", default=1.5, parse=seconds(0, 10), doc="How long.")
    token: Secret = setting("SAMPLE_TOKEN", default=Secret("none"), parse=Secret, doc="What nobody may see.")


def test_load_reports_every_fault_at_once() -> None:
    with pytest.raises(BadSettings) as refused:
        load(Sample, {"SAMPLE_SIZE": "9", "SAMPLE_WAIT": "soon"})

    assert str(refused.value).splitlines() == [
        "SAMPLE_SIZE='9': must be a whole number from 1 to 8",
        "SAMPLE_NAME is not set: What it is called.",
        "SAMPLE_WAIT='soon': must be a number of seconds from 0 to 10",
    ]


def test_load_takes_defaults_for_what_is_unset_or_empty() -> None:
    sample = load(Sample, {"SAMPLE_SIZE": "8", "SAMPLE_NAME": "x", "SAMPLE_WAIT": ""})

    assert sample == Sample(size=8, name="x", wait_s=1.5, token=Secret("none"))


def test_load_counts_an_empty_required_variable_as_missing() -> None:
    with pytest.raises(BadSettings, match="SAMPLE_NAME is not set"):
        load(Sample, {"SAMPLE_SIZE": "1", "SAMPLE_NAME": ""})


def test_secret_shows_in_no_printed_form() -> None:
    sample = load(Sample, {"SAMPLE_SIZE": "1", "SAMPLE_NAME": "x", "SAMPLE_TOKEN": "hunter2"})

    assert sample.token.value == "hunter2"
    assert "hunter2" not in f"{sample!r} {sample.token} {sample.token!r}"


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (integer(-1, 8), "-1", -1),
        (integer(1, 8), "08", 8),
        (seconds(0, 60), "30", 30.0),
        (seconds(0, 60), "1.5", 1.5),
        (seconds(0, 60), "1.5s", 1.5),
        (seconds(0, 60), "0", 0.0),
        (one_of("local", "snowflake"), "local", "local"),
        (switch, "on", True),
        (switch, "off", False),
        (path, "/a/b", Path("/a/b")),
    ],
)
def test_parser_accepts(parse: Callable[[str], Any], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        pytest.param(integer(1, 8), "0", id="below"),
        pytest.param(integer(1, 8), "9", id="above"),
        pytest.param(integer(1, 8), "+5", id="plus-sign"),
        pytest.param(integer(1, 8), " 5", id="space"),
        pytest.param(integer(1, 8), "5\n", id="newline"),
        pytest.param(integer(1, 8), "5.0", id="fraction"),
        pytest.param(integer(1, 8), "0x5", id="hexadecimal"),
        pytest.param(integer(1, 8), "1_0", id="underscore"),
        pytest.param(integer(1, 8), "\N{ARABIC-INDIC DIGIT FIVE}", id="other-digits"),
        pytest.param(integer(1, 8), "9" * 5000, id="huge"),
        pytest.param(seconds(0, 60), "-1", id="negative-span"),
        pytest.param(seconds(0, 60), "61", id="long-span"),
        pytest.param(seconds(0, 60), "nan", id="not-a-number"),
        pytest.param(seconds(0, 60), "inf", id="infinite"),
        pytest.param(seconds(0, 60), "1e1", id="exponent"),
        pytest.param(seconds(0, 60), "5ms", id="other-unit"),
        pytest.param(seconds(0, 60), "s", id="unit-alone"),
        pytest.param(one_of("local", "snowflake"), "Local", id="other-case"),
        pytest.param(one_of("local", "snowflake"), "", id="empty"),
        pytest.param(switch, "true", id="true"),
        pytest.param(switch, "ON", id="upper-case"),
        pytest.param(path, "~nobody-of-this-name/x", id="home-of-nobody"),
    ],
)
def test_parser_refuses(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(text)


def test_path_is_made_absolute_and_knows_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert path("data") == tmp_path / "data"
    assert path("~/data") == tmp_path / "home" / "data"


def test_every_mesh_setting_has_a_variable_of_its_own_and_a_sentence() -> None:
    items = fields(MeshSettings)

    assert len({item.metadata["variable"] for item in items}) == len(items)
    assert all(item.metadata["doc"].endswith(".") for item in items)


def test_ports_follow_the_base_and_never_meet() -> None:
    settings = load(MeshSettings, {"MEMORYBOX_PORT_BASE": "20000", "MEMORYBOX_HTTP_PORT": "9000"})

    ports = [settings.port(name) for name in (*SERVICE_OFFSETS, "gateway")]
    ops_ports = [settings.ops_port(name) for name in (*SERVICE_OFFSETS, "gateway")]

    assert ports == [20000, 20001, 20002, 20003, 9000]
    assert ops_ports == [port + OPS_OFFSET for port in ports]


@pytest.mark.parametrize(("variable", "most"), [("MEMORYBOX_PORT_BASE", 65000), ("MEMORYBOX_HTTP_PORT", 65435)])
def test_highest_port_leaves_room_for_the_ops_ports(variable: str, most: int) -> None:
    settings = load(MeshSettings, {variable: str(most)})

    assert max(settings.ops_port(name) for name in (*SERVICE_OFFSETS, "gateway")) <= 65535
    with pytest.raises(BadSettings, match=variable):
        load(MeshSettings, {variable: str(most + 1)})


def test_target_is_the_setting_or_the_services_own_port() -> None:
    settings = load(MeshSettings, {"MEMORYBOX_EMBEDDING_TARGET": "dns:///instances.embedding:15052"})

    assert settings.target("memory") == "dns:///127.0.0.1:15051"
    assert settings.target("embedding") == "dns:///instances.embedding:15052"


def test_keys_lie_in_the_data_folder_unless_said_otherwise(tmp_path: Path) -> None:
    data = {"MEMORYBOX_DATA_DIR": str(tmp_path)}

    assert load(MeshSettings, data).keys_dir == tmp_path / "keys"
    assert load(MeshSettings, {**data, "MEMORYBOX_KEYS_DIR": "/k"}).keys_dir == Path("/k")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_addresses_are_known(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "", "localhost.example", "127.0.0.1.example.com"],  # noqa: S104
)
def test_what_others_reach_is_not_loopback(address: str) -> None:
    assert not is_loopback(address)
