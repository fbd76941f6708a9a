"""What the edge refuses, and that each refusal is a google.rpc.Status."""

import logging
from collections.abc import AsyncIterator

import pytest

from services.gateway.edge.documents import Document
from tests.support.gateway import JSON, FakeUpstream, Gateway, Headers, Reply, gateway, parse

SEARCH = "/v1/memories:search"
KIB = 1024


@pytest.fixture
def upstream() -> FakeUpstream:
    return FakeUpstream()


@pytest.fixture
async def edge(upstream: FakeUpstream) -> AsyncIterator[Gateway]:
    async with upstream.serving() as port, gateway(port, {"MEMORYBOX_GATEWAY_MAX_BODY": str(64 * KIB)}) as running:
        yield running


def is_status(reply: Reply, code: int) -> bool:
    return (
        reply.headers["Content-Type"].startswith("application/json")
        and reply.json["code"] == code
        and isinstance(reply.json["message"], str)
        and isinstance(reply.json["details"], list)
    )


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "expected"),
    [
        pytest.param("GET", "/v1/memories", [("Host", "evil.example")], b"", 403, id="dns-rebinding"),
        pytest.param("GET", "/v1/memories", [("Host", "evil.example:{port}")], b"", 403, id="dns-rebinding-own-port"),
        pytest.param("GET", "/v1/memories", [("Host", "127.0.0.1:1")], b"", 403, id="other-port"),
        pytest.param(
            "GET", "/v1/memories", [("Host", "127.0.0.1.evil.example:{port}")], b"", 403, id="look-alike-host"
        ),
        pytest.param("GET", "/v1/memories", [("Origin", "http://evil.example")], b"", 403, id="foreign-origin-read"),
        pytest.param("GET", "/v1/memories", [("Origin", "null")], b"", 403, id="null-origin"),
        pytest.param("GET", "/v1/memories", [("Origin", "http://127.0.0.1:3000")], b"", 403, id="origin-of-other-port"),
        pytest.param("GET", "/v1/memories", [("Sec-Fetch-Site", "cross-site")], b"", 403, id="cross-site-read"),
        pytest.param("POST", SEARCH, [("Sec-Fetch-Site", "same-site"), JSON], b"{}", 403, id="same-site-write"),
        pytest.param("POST", SEARCH, [("Origin", "http://evil.example"), JSON], b"{}", 403, id="foreign-origin-write"),
        pytest.param("POST", SEARCH, [("Content-Type", "text/plain")], b"{}", 415, id="text-plain"),
        pytest.param("POST", SEARCH, [("Content-Type", "text/plain; charset=utf-8")], b"{}", 415, id="text-parameters"),
        pytest.param(
            "POST", SEARCH, [("Content-Type", "application/x-www-form-urlencoded")], b"query=x", 415, id="form"
        ),
        pytest.param(
            "POST", SEARCH, [("Content-Type", "multipart/form-data; boundary=x")], b"--x--", 415, id="multipart"
        ),
        pytest.param("POST", SEARCH, [], b"{}", 415, id="no-type"),
        pytest.param("POST", SEARCH, [("Content-Type", "text/plain")], b"", 415, id="simple-type-without-body"),
        pytest.param("DELETE", "/v1/memories/x", [("Origin", "https://evil.example")], b"", 403, id="delete"),
    ],
)
async def test_dev_refuses_hostile_pages(
    edge: Gateway, upstream: FakeUpstream, method: str, path: str, headers: Headers, body: bytes, expected: int
) -> None:
    headers = [(name, value.format(port=edge.port)) for name, value in headers]

    reply = await edge.ask(method, path, headers, body)

    assert reply.status == expected
    assert reply.json["code"] in {3, 7}
    assert upstream.seen == []


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        pytest.param("GET", "/v1/memories", [], b"", id="program"),
        pytest.param("GET", "/v1/memories", [("Host", "localhost:{port}")], b"", id="localhost"),
        pytest.param("GET", "/v1/memories", [("Host", "127.9.9.9:{port}")], b"", id="loopback-network"),
        pytest.param("GET", "/v1/memories", [("Host", "[::1]:{port}")], b"", id="ipv6"),
        pytest.param(
            "GET",
            "/v1/memories",
            [("Origin", "http://127.0.0.1:{port}"), ("Sec-Fetch-Site", "same-origin")],
            b"",
            id="own-page",
        ),
        pytest.param("GET", "/v1/memories", [("Sec-Fetch-Site", "none")], b"", id="address-bar"),
        pytest.param("POST", SEARCH, [("Content-Type", "Application/JSON;charset=utf-8")], b"{}", id="json-write"),
        pytest.param("POST", SEARCH, [], b"", id="write-without-body"),
        pytest.param("DELETE", "/v1/memories/x", [], b"", id="delete"),
    ],
)
async def test_dev_admits_programs_and_own_pages(
    edge: Gateway, upstream: FakeUpstream, method: str, path: str, headers: Headers, body: bytes
) -> None:
    headers = [(name, value.format(port=edge.port)) for name, value in headers]

    reply = await edge.ask(method, path, headers, body)

    assert reply.status == 200
    assert len(upstream.seen) == 1


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("X-Memorybox-User", "ann"), ("X-Memorybox-User", "bob")], id="two-users"),
        pytest.param([("X-Memorybox-User", "ann"), ("x-memorybox-user", "ann")], id="same-user-twice"),
        pytest.param([("X_Memorybox_User", "bob")], id="underscores"),
        pytest.param([("X-Memorybox-User", "ann"), ("X-Memorybox_User", "bob")], id="look-alike-beside"),
        pytest.param([("X-Memorybox-User", "")], id="empty"),
        pytest.param([("X-Memorybox-User", "a" * 256)], id="too-long"),
        pytest.param([("X-Memorybox-User", "a\x7fb")], id="control-character"),
        pytest.param([("X-Memorybox-User", "a\u0085b")], id="c1-control-character"),
        pytest.param([("X-Memorybox-Roles", "A"), ("X-Memorybox-Roles", "B")], id="roles-twice"),
        pytest.param([("X-Memorybox-Roles", "A,,B")], id="empty-role"),
        pytest.param([("X-Memorybox-Roles", ",".join(f"ROLE{n}" for n in range(300)))], id="too-many-roles"),
    ],
)
async def test_dev_refuses_identity_that_is_ambiguous_or_malformed(
    edge: Gateway, upstream: FakeUpstream, headers: Headers
) -> None:
    reply = await edge.ask("GET", "/v1/memories", headers)

    assert reply.status == 400
    assert is_status(reply, 3)
    assert upstream.seen == []


async def test_dev_refuses_user_names_that_are_no_utf8(edge: Gateway) -> None:
    raw = edge.request("GET", "/v1/memories", [("X-Memorybox-User", "@")]).replace(b"@", b"\xfc")

    assert parse(await edge.raw(raw)).status == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        pytest.param("GET", "/nowhere", 404, 5, id="unknown-path"),
        pytest.param("POST", "/memorybox.memory.v1.MemoryService/GetMemory", 404, 5, id="no-default-route"),
        pytest.param("POST", "/memorybox.governance.v1.SubjectDataService/EraseSubject", 404, 5, id="internal-service"),
        pytest.param("POST", "/memorybox.governance.v1.AuditService/AppendAuditEvents", 404, 5, id="internal-method"),
        pytest.param("GET", "/v1/memories/%ZZ", 400, 3, id="broken-escape"),
        pytest.param("GET", "/v1/memories#x", 400, 3, id="fragment"),
        pytest.param("DELETE", "/v1/memories", 405, 12, id="other-method"),
        pytest.param("DELETE", "/livez", 405, 12, id="page"),
    ],
)
async def test_routing_misses_are_statuses(edge: Gateway, method: str, path: str, status: int, code: int) -> None:
    reply = await edge.ask(method, path)

    assert reply.status == status
    assert is_status(reply, code)


async def test_other_method_names_the_methods_served(edge: Gateway) -> None:
    reply = await edge.ask("DELETE", "/v1/memories")

    assert set(reply.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
async def test_oversized_body_is_refused(edge: Gateway, upstream: FakeUpstream, framing: str) -> None:
    body = b" " * (64 * KIB + 1)
    if framing == "chunked":
        raw = edge.request("POST", SEARCH, [JSON, ("Transfer-Encoding", "chunked")])
        raw += f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    else:
        raw = edge.request("POST", SEARCH, [JSON], body)

    reply = parse(await edge.raw(raw))

    assert reply.status == 413
    assert is_status(reply, 8)
    assert reply.headers["Connection"] == "close"
    assert upstream.seen == []


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"SECRET nonsense\r\n\r\n", id="no-http"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: SECRET\r\n\r\n", id="two-hosts"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nSECRET : x\r\n\r\n", id="space-before-colon"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: SECRET" + b"x" * 9000 + b"\r\n\r\n", id="long-header"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nSECRET",
            id="two-lengths",
        ),
    ],
)
async def test_malformed_requests_are_answered_without_an_echo(edge: Gateway, raw: bytes) -> None:
    answer = await edge.raw(raw)

    reply = parse(answer)
    assert reply.status == 400
    assert is_status(reply, 3)
    assert b"SECRET" not in answer
    assert reply.headers["Server"] == "gateway"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


async def test_transfer_codings_other_than_chunked_are_refused(edge: Gateway) -> None:
    reply = await edge.ask("POST", SEARCH, [JSON, ("Transfer-Encoding", "gzip, chunked")], b"0\r\n\r\n")

    assert reply.status == 501


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        pytest.param("GET", "/v1/memories", [], id="success"),
        pytest.param("GET", "/nowhere", [], id="miss"),
        pytest.param("GET", "/v1/memories", [("Host", "evil.example")], id="refusal"),
        pytest.param("GET", "/livez", [], id="page"),
    ],
)
async def test_every_answer_carries_security_headers(edge: Gateway, method: str, path: str, headers: Headers) -> None:
    reply = await edge.ask(method, path, headers)

    assert reply.headers["Server"] == "gateway"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in reply.headers


async def test_access_log_names_the_route_and_nobody(edge: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "services.gateway.access"):
        await edge.ask("GET", "/v1/memories/secret-id?view=secret-query", [("X-Memorybox-User", "secret-user")])

    (record,) = [vars(record) for record in caplog.records if record.name == "services.gateway.access"]
    assert record["route"] == "/v1/memories/{memory_id}"
    assert record["method"] == "GET"
    assert record["user"]
    assert not any("secret" in str(value) for value in record.values())


async def test_body_is_not_invited_before_the_caller_may_come_in(edge: Gateway, upstream: FakeUpstream) -> None:
    headers = [JSON, ("Expect", "100-continue"), ("Content-Length", "2")]

    refused = await edge.raw(edge.request("POST", SEARCH, [*headers, ("Origin", "http://evil.example")]))
    invited = await edge.raw(edge.request("POST", SEARCH, headers, b"{}"))

    assert parse(refused).status == 403
    first, _, second = invited.partition(b"\r\n\r\n")
    assert first == b"HTTP/1.1 100 Continue"
    assert parse(second).status == 200
    assert len(upstream.seen) == 1


async def test_access_log_tells_that_a_page_was_known(edge: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    page = Document(b"{}", "application/json")
    edge.server._front._behind.pages["/page"] = page  # type: ignore[index]

    with caplog.at_level(logging.INFO, "services.gateway.access"):
        reply = await edge.ask("GET", "/page", [("If-None-Match", f'"{page.etag}"')])

    assert (reply.status, reply.body) == (304, b"")
    assert [vars(record)["status"] for record in caplog.records if "status" in vars(record)] == [304]
