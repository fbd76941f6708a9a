import pytest
from multidict import CIMultiDict

from services.gateway.edge.arrival import Arrival
from services.gateway.edge.browsers import CrossSiteRule, HostList, check_content_type, is_harmless
from services.gateway.transcoder import HttpError

PORT = 8080


def arriving(*headers: tuple[str, str], method: str = "GET", body: bool = False, any_type: bool = False) -> Arrival:
    return Arrival(method, CIMultiDict(headers), PORT, body, any_type)


@pytest.mark.parametrize(
    "host",
    [
        "localhost:8080",
        "LOCALHOST:8080",
        "127.0.0.1:8080",
        "127.1.2.3:8080",
        "[::1]:8080",
        "box.test:8080",
        "box.test:9",
    ],
)
def test_host_list_admits_names_of_this_machine_and_listed_ones(host: str) -> None:
    HostList(("box.test", "box.test:9")).check(arriving(("Host", host)))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "localhost:80",
        "localhost:8080:8080",
        "localhost.:8080",
        "localhost@evil:8080",
        "evil.test:8080",
        "127.0.0.1.evil.test:8080",
        "127.1:8080",
        "0.0.0.0:8080",
        "[::]:8080",
        "[::ffff:127.0.0.1]:8080",
        "box.test:10",
        "bo\udcffx:8080",
    ],
)
def test_host_list_refuses_everything_else(host: str) -> None:
    with pytest.raises(HttpError) as refused:
        HostList(("box.test:9",)).check(arriving(("Host", host)))

    assert refused.value.http_status == 403
    assert refused.value.response().body


def test_host_without_port_is_the_default_port() -> None:
    HostList().check(Arrival("GET", CIMultiDict([("Host", "localhost")]), 80))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Sec-Fetch-Site", "same-origin")],
        [("Sec-Fetch-Site", "none")],
        [("Origin", "http://localhost:8080"), ("Sec-Fetch-Site", "same-origin")],
        [("Origin", "https://localhost:8080")],
        [("Origin", "https://app.test"), ("Sec-Fetch-Site", "cross-site")],
    ],
)
def test_cross_site_rule_admits_programs_own_pages_and_listed_origins(headers: list[tuple[str, str]]) -> None:
    CrossSiteRule(frozenset({"https://app.test"})).check(arriving(("Host", "localhost:8080"), *headers))


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", "null")],
        [("Origin", "")],
        [("Origin", "http://localhost")],
        [("Origin", "http://localhost:8081")],
        [("Origin", "http://127.0.0.1:8080")],
        [("Origin", "https://app.test.evil")],
        [("Origin", "http://localhost:8080"), ("Origin", "https://evil.test")],
        [("Origin", "http://localhost:8080"), ("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],
        [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "anything")],
    ],
)
def test_cross_site_rule_refuses_other_pages(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(HttpError) as refused:
        CrossSiteRule(frozenset({"https://app.test"})).check(arriving(("Host", "localhost:8080"), *headers))

    assert refused.value.http_status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "QUERY"])
@pytest.mark.parametrize(
    "sent",
    [
        "text/plain",
        "TEXT/PLAIN;x=y",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "",
        "nonsense",
    ],
)
def test_writes_of_simple_types_are_refused(method: str, sent: str) -> None:
    for body in (True, False):
        with pytest.raises(HttpError) as refused:
            check_content_type(arriving(("Content-Type", sent), method=method, body=body))
        assert refused.value.http_status == 415


def test_two_content_types_are_refused() -> None:
    headers = [("Content-Type", "application/json"), ("Content-Type", "text/plain")]

    with pytest.raises(HttpError):
        check_content_type(arriving(*headers, method="POST", body=True))


@pytest.mark.parametrize(
    ("headers", "method", "body", "any_type"),
    [
        pytest.param([("Content-Type", "application/json")], "POST", True, False, id="json"),
        pytest.param([("Content-Type", "application/x-ndjson")], "POST", True, False, id="ndjson"),
        pytest.param([("Content-Type", "text/plain")], "GET", False, False, id="read"),
        pytest.param([("Content-Type", "text/plain")], "POST", True, True, id="route-of-any-type"),
        pytest.param([], "DELETE", False, False, id="no-body"),
    ],
)
def test_other_requests_pass_the_content_type_check(
    headers: list[tuple[str, str]], method: str, *, body: bool, any_type: bool
) -> None:
    check_content_type(arriving(*headers, method=method, body=body, any_type=any_type))


def test_lenient_check_looks_at_bodies_only() -> None:
    check_content_type(arriving(("Content-Type", "text/plain"), method="POST"), lenient=True)
    check_content_type(arriving(method="POST", body=True), lenient=True)

    with pytest.raises(HttpError):
        check_content_type(arriving(("Content-Type", "text/plain"), method="POST", body=True), lenient=True)


def test_missing_type_of_a_body_is_refused() -> None:
    with pytest.raises(HttpError):
        check_content_type(arriving(method="POST", body=True))


def test_no_browser_keeps_foreign_pages_from_opening_a_socket() -> None:
    assert is_harmless(Arrival("GET", CIMultiDict(), 80))
    assert not is_harmless(Arrival("GET", CIMultiDict(), 80, opens_socket=True))
