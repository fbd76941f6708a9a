import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from services.gateway.edge.forwarded import Origin, Proxies
from services.gateway.settings import networks

TRUSTED = Proxies(networks("10.0.0.0/8, 2001:db8::/32"))


def origin(*headers: tuple[str, str], peer: str = "10.0.0.1", proxies: Proxies = TRUSTED) -> Origin:
    request = make_mocked_request("GET", "/", CIMultiDict([("Host", "api.test"), *headers]))
    transport = request.transport
    assert transport is not None
    transport.get_extra_info.side_effect = {"peername": (peer, 1234)}.get  # type: ignore[attr-defined]
    return proxies.origin(request)


@pytest.mark.parametrize("peer", ["203.0.113.9", "192.168.0.1", "::1"])
def test_word_of_others_than_trusted_proxies_is_nothing(peer: str) -> None:
    found = origin(("X-Forwarded-For", "1.2.3.4"), ("Forwarded", "for=1.2.3.4;host=evil.test"), peer=peer)

    assert (found.client, found.addresses, found.host) == (peer, (peer,), "api.test")


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert origin(("X-Forwarded-For", "1.2.3.4"), proxies=Proxies(())).client == "10.0.0.1"


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ([("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
        ([("X-Forwarded-For", "6.6.6.6, 1.2.3.4, 10.0.0.7")], "1.2.3.4"),
        ([("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
        ([("Forwarded", 'for="[2001:db9::17]:4711";proto=https')], "2001:db9::17"),
        ([("Forwarded", 'for=6.6.6.6, for="1.2.3.4:80"'), ("X-Forwarded-For", "7.7.7.7")], "1.2.3.4"),
        ([("Forwarded", "for=_hidden")], "_hidden"),
        ([("Forwarded", "for=unknown;proto=http")], "unknown"),
        ([("Forwarded", "for=nonsense;;=")], "10.0.0.1"),
        ([("Forwarded", 'for="1.2.3.4')], "10.0.0.1"),
        ([("X-Forwarded-For", "1.2.3.4, <script>")], "10.0.0.1"),
        ([("X-Forwarded-For", ", ".join(["1.2.3.4"] * 40))], "10.0.0.1"),
        ([("X-Forwarded-For", "10.0.0.8, 10.0.0.9")], "10.0.0.8"),
    ],
    ids=[
        "one", "chain", "two-lines", "ipv6", "forwarded-wins", "obfuscated", "unknown", "malformed", "open-quote", "script",
        "too-many", "all-trusted",
    ],
)  # fmt: skip
def test_client_is_the_last_address_that_no_trusted_proxy_has(headers: list[tuple[str, str]], client: str) -> None:
    assert origin(*headers).client == client


def test_scheme_and_host_come_from_the_first_proxy() -> None:
    found = origin(("Forwarded", "for=1.2.3.4;proto=https;host=shop.test, for=10.0.0.2;proto=http"))

    assert (found.scheme, found.host, found.addresses) == ("https", "shop.test", ("1.2.3.4", "10.0.0.2", "10.0.0.1"))
    assert dict(found.metadata())["x-forwarded-for"] == "1.2.3.4, 10.0.0.2, 10.0.0.1"


def test_hostile_header_is_read_at_once() -> None:
    hostile = 'for="' + '\\"' * 4000

    assert origin(("Forwarded", hostile)).client == "10.0.0.1"
