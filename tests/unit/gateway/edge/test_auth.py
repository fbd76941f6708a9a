import dataclasses
from pathlib import Path

import pytest
from multidict import CIMultiDict

from services.gateway.edge.arrival import Arrival
from services.gateway.edge.auth import DevAuthenticator, SpcsAuthenticator, open_authenticator, os_user
from services.gateway.settings import GatewaySettings
from services.gateway.transcoder import HttpError
from services.mesh.caller import Caller
from services.mesh.config import BadSettings, load

PORT = 8080
SETTINGS = load(GatewaySettings, {})
SPCS_USER = "Sf-Context-Current-User"


def arriving(*headers: tuple[str, str], method: str = "GET", body: bool = False) -> Arrival:
    return Arrival(method, CIMultiDict([("Host", "localhost:8080"), *headers]), PORT, body)


def inside_spcs(tmp_path: Path) -> GatewaySettings:
    token = tmp_path / "token"
    token.write_text("t")
    return dataclasses.replace(
        SETTINGS,
        auth="spcs",
        snowflake_host="h",
        snowflake_account="a",
        snowflake_service="s",
        spcs_token_file=token,
    )


async def test_dev_believes_the_headers() -> None:
    dev = DevAuthenticator.open("127.0.0.1", SETTINGS)

    caller = await dev.authenticate(arriving(("X-Memorybox-User", "Åsa \U0001f9e0"), ("X-Memorybox-Roles", " A, B ,A")))

    assert caller == Caller("Åsa \U0001f9e0", frozenset({"A", "B"}), "gateway")


async def test_dev_takes_the_os_user_without_headers() -> None:
    dev = DevAuthenticator.open("127.0.0.1", SETTINGS)

    assert await dev.authenticate(arriving()) == Caller(os_user(), frozenset(), "gateway")


async def test_dev_admits_the_longest_name() -> None:
    dev = DevAuthenticator.open("127.0.0.1", SETTINGS)
    longest = "\U0001f9e0" * 255

    assert (await dev.authenticate(arriving(("X-Memorybox-User", longest)))).user == longest


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "10.0.0.1", "box.test"])  # noqa: S104
def test_dev_serves_loopback_addresses_only(bind: str) -> None:
    with pytest.raises(BadSettings, match="loopback"):
        open_authenticator(bind, SETTINGS)


@pytest.mark.parametrize(
    "missing",
    [
        {"snowflake_host": ""},
        {"snowflake_account": ""},
        {"snowflake_service": ""},
        {"spcs_token_file": Path("/nowhere/token")},
    ],
)
def test_spcs_starts_inside_a_container_service_only(tmp_path: Path, missing: dict[str, str]) -> None:
    settings = dataclasses.replace(inside_spcs(tmp_path), **missing)  # type: ignore[arg-type]

    with pytest.raises(BadSettings, match="Snowpark"):
        open_authenticator("0.0.0.0", settings)  # noqa: S104


async def test_spcs_believes_the_ingress_and_no_other_header(tmp_path: Path) -> None:
    spcs = SpcsAuthenticator.open(inside_spcs(tmp_path))
    headers = [(SPCS_USER, "ANN"), ("X-Memorybox-User", "root"), ("X-Memorybox-Roles", "MEMORYBOX_GOVERNOR")]

    assert await spcs.authenticate(arriving(*headers)) == Caller("ANN", frozenset(), "gateway")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param([], 401, id="nobody"),
        pytest.param([(SPCS_USER, "")], 400, id="empty"),
        pytest.param([(SPCS_USER, "ANN"), (SPCS_USER, "BOB")], 400, id="twice"),
        pytest.param([("Sf_Context_Current_User", "BOB")], 400, id="underscores"),
        pytest.param([(SPCS_USER, "ANN"), ("sf_context-current_user", "BOB")], 400, id="look-alike-beside"),
        pytest.param([(SPCS_USER, "service:memory")], 403, id="name-of-a-key"),
    ],
)
async def test_spcs_refuses_identity_that_is_not_the_ingress_own(
    tmp_path: Path, headers: list[tuple[str, str]], status: int
) -> None:
    spcs = SpcsAuthenticator.open(inside_spcs(tmp_path))

    with pytest.raises(HttpError) as refused:
        await spcs.authenticate(arriving(*headers))

    assert refused.value.http_status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param([("Sec-Fetch-Site", "cross-site")], 403, id="cross-site"),
        pytest.param([("Origin", "https://evil.test")], 403, id="foreign-origin"),
        pytest.param([("Content-Type", "text/plain")], 415, id="simple-type"),
    ],
)
async def test_spcs_refuses_writes_that_other_sites_send(
    tmp_path: Path, headers: list[tuple[str, str]], status: int
) -> None:
    spcs = SpcsAuthenticator.open(inside_spcs(tmp_path))

    with pytest.raises(HttpError) as refused:
        await spcs.authenticate(arriving((SPCS_USER, "ANN"), *headers, method="POST", body=True))

    assert refused.value.http_status == status


async def test_spcs_admits_writes_of_its_own_page_under_another_host(tmp_path: Path) -> None:
    spcs = SpcsAuthenticator.open(inside_spcs(tmp_path))
    headers = [(SPCS_USER, "ANN"), ("Sec-Fetch-Site", "same-origin"), ("Origin", "https://x.snowflakecomputing.app")]

    caller = await spcs.authenticate(arriving(*headers, ("Content-Type", "application/json"), method="POST", body=True))

    assert caller.user == "ANN"
