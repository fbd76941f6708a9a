"""What the command line accepts, refuses and prints; every error is one line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest

from services.cli.arguments import UsageError
from services.cli.entry import run
from services.cli.grants import standard_keys
from services.cli.search import _snippet
from services.cli.stranger import read_options, read_upstreams
from services.mesh.config import SERVICE_OFFSETS, MeshSettings, load
from services.mesh.keys import KeyFolder
from tests.support.mesh import free_ports

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    environ = {"MEMORYBOX_DATA_DIR": str(tmp_path), "MEMORYBOX_USER": "ann"}
    KeyFolder(load(MeshSettings, environ).keys_dir).ensure(standard_keys("ann"))
    return environ


def claims(token: str) -> dict[str, Any]:
    decoded: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return decoded


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["serve", "billing"],
        ["status", "--loud"],
        ["search"],
        ["search", "tea", "--mode", "psychic"],
        ["token", "--audience", "memory", "--ttl", "61"],
        ["keys", "issue", "Bot!", "--audience", "memory"],
        ["keys", "issue", "gateway", "--audience", "memory"],
        ["keys", "issue", "bot", "--audience", "billing"],
        ["keys", "issue", "bot", "--audience", "memory", "--user", "*"],
        ["keys", "issue", "bot", "--audience", "memory", "--rpc", "CreateMemory"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_in_one_line(environ: Mapping[str, str], capsys: Captured, words: list[str]) -> None:
    code = run(words, environ)

    output = capsys.readouterr()
    assert (code, output.out) == (2, "")
    assert output.err.startswith("memorybox: ")
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["token", "--audience", "memory", "--key", "ghost"], "no active key is called 'ghost'"),
        (["token", "--audience", "memory", "--key", "cli", "--user", "bob"], "may not vouch for user 'bob'"),
        (["token", "--audience", "memory", "--key", "cli", "--role", "BOSS"], "with roles ['BOSS']"),
        (["token", "--audience", "chat", "--key", "cli"], "at 'chat'"),
        (["keys", "revoke", "ghost"], "no active key is called 'ghost'"),
        (["import", "no-such-folder"], "no such file or folder: no-such-folder"),
        (["search", "tea"], "`memorybox up` starts one"),
        (["import", __file__], "`memorybox up` starts one"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_failure_is_told_in_one_line(environ: Mapping[str, str], capsys: Captured, words: list[str], said: str) -> None:
    code = run(words, {**environ, "MEMORYBOX_HTTP_PORT": str(free_ports((0,)))})

    error = capsys.readouterr().err
    assert code == 1
    assert said in error
    assert error.count("\n") == 1


def test_all_wrong_settings_are_told_in_one_line(capsys: Captured) -> None:
    code = run(["status"], {"MEMORYBOX_HTTP_PORT": "x", "MEMORYBOX_LOG_LEVEL": "LOUD"})

    error = capsys.readouterr().err
    assert code == 1
    assert "MEMORYBOX_HTTP_PORT='x'" in error
    assert "MEMORYBOX_LOG_LEVEL='LOUD'" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", [["up"], ["serve", "gateway"]])
def test_settings_of_the_services_are_told_with_the_others(command: list[str], capsys: Captured) -> None:
    code = run(command, {"MEMORYBOX_HTTP_PORT": "x", "MEMORYBOX_AUTH": "open"})

    error = capsys.readouterr().err
    assert code == 1
    assert "MEMORYBOX_HTTP_PORT='x'" in error
    assert "MEMORYBOX_AUTH='open'" in error


def test_data_folder_that_cannot_be_made_is_named_with_its_setting(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "file").touch()

    code = run(["up"], {"MEMORYBOX_DATA_DIR": str(tmp_path / "file")})

    error = capsys.readouterr().err
    assert code == 1
    assert str(tmp_path / "file") in error
    assert "MEMORYBOX_DATA_DIR" in error


def test_token_is_for_the_user_of_the_settings(environ: Mapping[str, str], capsys: Captured) -> None:
    run(["token", "--audience", "memory", "--role", "BOSS", "--ttl", "5"], environ)

    said = claims(capsys.readouterr().out.strip())
    assert (said["iss"], said["aud"], said["sub"], said["roles"]) == ("gateway", "memory", "ann", ["BOSS"])
    assert said["exp"] - said["iat"] == 5


def test_issued_key_vouches_for_what_it_was_granted_until_it_is_revoked(
    environ: Mapping[str, str], capsys: Captured
) -> None:
    words = ["token", "--audience", "memory", "--key", "bot", "--user", "alice"]

    codes = [
        run(["keys", "issue", "bot", "--user", "alice", "--audience", "memory"], environ),
        run(words, environ),
        run(["keys", "revoke", "bot"], environ),
        run(words, environ),
    ]

    assert codes == [0, 0, 0, 1]


def test_token_of_a_clients_key_is_for_the_client_itself(environ: Mapping[str, str], capsys: Captured) -> None:
    run(["keys", "issue", "bot", "--user", "alice", "--audience", "memory"], environ)
    capsys.readouterr()

    run(["token", "--audience", "memory", "--key", "bot"], environ)

    assert claims(capsys.readouterr().out.strip())["sub"] == "client:bot"


def test_rotated_key_has_the_same_grant(environ: Mapping[str, str], capsys: Captured) -> None:
    run(["keys", "rotate", "gateway", "--json"], environ)
    [renewed] = json.loads(capsys.readouterr().out)["keys"]

    run(["keys", "list", "--json"], environ)

    old, *_ = (key for key in json.loads(capsys.readouterr().out)["keys"] if key["name"] == "gateway")
    assert renewed["grant"] == old["grant"]
    assert renewed["kid"] != old["kid"]


def test_standard_keys_name_every_service_and_only_the_gateway_vouches_for_all() -> None:
    keys = standard_keys("ann")

    assert [name for name, _, grant in keys if "*" in (*grant.users, *grant.roles)] == ["gateway"]
    assert {audience for _, _, grant in keys for audience in grant.audiences} <= set(SERVICE_OFFSETS)


def test_status_says_what_does_not_run(environ: Mapping[str, str], capsys: Captured) -> None:
    base = free_ports((0, 100, 101))
    ports = {"MEMORYBOX_PORT_BASE": str(base), "MEMORYBOX_HTTP_PORT": str(free_ports((0, 100)))}

    code = run(["status", "--json"], {**environ, **ports})

    told = json.loads(capsys.readouterr().out)
    assert (code, told["ready"]) == (1, False)
    assert {service["state"] for service in told["services"]} == {"down"}


def test_version_is_printed_for_scripts_too(environ: Mapping[str, str], capsys: Captured) -> None:
    run(["version", "--json"], environ)

    assert json.loads(capsys.readouterr().out)["version"]


@pytest.mark.parametrize(
    ("content", "highlights", "part", "shown"),
    [
        ("short  and\nsweet", [], 0, "short and sweet"),
        ("a" * 60, [], 0, "a" * 37 + "..."),
        ("b" * 100 + " tea time " + "b" * 60, [(101, 104)], 0, "..." + "b" * 30 + " tea..."),
        ("c" * 100 + " the part", [], 104, "..." + "c" * 28 + " the part"),
    ],
    ids=["whole", "cut", "around the word found", "up to the end"],
)
def test_snippet_shows_the_place_that_matched(
    content: str, highlights: list[tuple[int, int]], part: int, shown: str
) -> None:
    hit = {
        "memory": {"content": content},
        "highlights": [{"start": start, "end": end} for start, end in highlights],
        "matchedPart": {"start": part} if part else None,
    }

    assert _snippet(hit, 40) == shown


def test_stranger_options_come_from_flags_then_environment() -> None:
    words = [
        "--default-timeout=1.5s",
        "--emit-defaults",
        "on",
        "--max-body=2MiB",
        "--header-fields=If-Match=etag",
        "--sse-id-field=",
    ]
    environ = {"MEMORYBOX_GATEWAY_DEFAULT_TIMEOUT": "9", "MEMORYBOX_GATEWAY_MAX_DEPTH": "7"}

    options = read_options(words, environ)

    assert (options.default_timeout, options.emit_defaults, options.max_body) == (1.5, True, 2 << 20)
    assert (options.header_fields, options.sse_id_field, options.max_depth) == ((("If-Match", "etag"),), "", 7)


@pytest.mark.parametrize(
    "word", ["--no-such=1", "--emit-defaults=yes", "--max-body=lots", "stray", "--unknown-json=maybe"]
)
def test_stranger_refuses_options_that_it_does_not_have(word: str) -> None:
    with pytest.raises(UsageError):
        read_options([word], {})


def test_stranger_upstreams_are_services_and_targets() -> None:
    assert read_upstreams(["a.v1.Some=h:1", "b.Other=dns:///x:2"]) == {"a.v1.Some": "h:1", "b.Other": "dns:///x:2"}


@pytest.mark.parametrize("word", ["a.b", "=h:1", "a b=h:1", "a.b="])
def test_stranger_refuses_malformed_upstreams(word: str) -> None:
    with pytest.raises(UsageError):
        read_upstreams([word])


def test_stranger_prints_its_routes_without_serving(environ: Mapping[str, str], capsys: Captured) -> None:
    descriptors = str(Path(__file__).parents[3] / "protos/gen/memorybox/descriptors.binpb")
    upstream = "memorybox.embedding.v1.EmbeddingService=127.0.0.1:1"

    code = run(["gateway", "--descriptor-set", descriptors, "--upstream", upstream, "--print-routes"], environ)

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert ["POST", "/v1/embeddings", "/memorybox.embedding.v1.EmbeddingService/EmbedTexts"] in lines
    assert all("EmbeddingService" in line[2] for line in lines)
