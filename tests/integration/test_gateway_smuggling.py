"""Requests that two servers could read differently: this one reads them in one way or not at all, over raw sockets."""

import re
from collections.abc import AsyncIterator

import pytest

from tests.support.gateway import FakeUpstream, Gateway, gateway

SECOND = b"GET /v1/memories/smuggled HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nConnection: close\r\n\r\n"
START = b"POST /v1/memories:search HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Type: application/json\r\n"


@pytest.fixture
def upstream() -> FakeUpstream:
    return FakeUpstream()


@pytest.fixture
async def edge(upstream: FakeUpstream) -> AsyncIterator[Gateway]:
    async with upstream.serving() as target, gateway(target) as edge:
        yield edge


async def statuses(edge: Gateway, data: bytes) -> list[int]:
    """Return the status of every answer to *data*, until the gateway closes."""
    answers = await edge.raw(data.replace(b"PORT", str(edge.port).encode()))
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", answers)]


AMBIGUOUS = {
    "length-and-chunks": START + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks-and-length": START + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two-lengths": START + b"Content-Length: 0\r\nContent-Length: 75\r\n\r\n",
    "same-length-twice": START + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "length-list": START + b"Content-Length: 2, 2\r\n\r\n{}",
    "signed-length": START + b"Content-Length: +2\r\n\r\n{}",
    "hex-length": START + b"Content-Length: 0x2\r\n\r\n{}",
    "negative-length": START + b"Content-Length: -1\r\n\r\n",
    "huge-length": START + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "bare-line-feeds": START.replace(b"\r\n", b"\n") + b"Content-Length: 0\n\n",
    "one-bare-line-feed": START + b"X-A: 1\nContent-Length: 0\r\n\r\n",
    "carriage-return-in-value": START + b"X-A: 1\rContent-Length: 9\r\n\r\n",
    "folded-header": START + b"X-A: 1\r\n Content-Length: 9\r\n\r\n",
    "space-before-colon": START + b"Content-Length : 2\r\n\r\n{}",
    "header-without-name": START + b": 2\r\n\r\n",
    "nul-in-value": START + b"X-A: a\x00b\r\n\r\n",
    "odd-coding": START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding-hidden-by-tab": START + b"Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n",
    "coding-twice": START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunk-size-of-words": START + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "chunk-size-signed": START + b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n",
    "chunk-size-hex-prefix": START + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "chunk-size-huge": START + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "chunk-line-feed": START + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
    "chunk-extension-line-feed": START + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\n{}\r\n0\r\n\r\n",
    "chunk-too-long": START + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "two-hosts": START + b"Host: evil.test\r\nContent-Length: 0\r\n\r\n",
    "no-host": b"GET /livez HTTP/1.1\r\n\r\n",
    "no-version": b"GET /livez\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_ambiguous_request_is_refused_and_nothing_behind_it_is_served(
    edge: Gateway, upstream: FakeUpstream, name: str
) -> None:
    found = await statuses(edge, AMBIGUOUS[name] + SECOND)

    assert len(found) == 1
    assert 400 <= found[0] < 500 or found[0] == 501
    assert not upstream.seen


@pytest.mark.parametrize("extension", [b";a=b", b';a="x;y\\""', b";" + b"e" * 2000], ids=["plain", "quoted", "long"])
async def test_chunk_extensions_are_no_part_of_the_body(
    edge: Gateway, upstream: FakeUpstream, extension: bytes
) -> None:
    chunked = START + b"Transfer-Encoding: chunked\r\n\r\n2" + extension + b"\r\n{}\r\n0\r\n\r\n"

    found = await statuses(edge, chunked + SECOND)

    assert found in ([200, 200], [400])
    assert [seen.request for seen in upstream.seen[:1]] in ([b""], [])


async def test_request_of_http_before_1_0_is_refused(edge: Gateway) -> None:
    assert b" 400 " in (await edge.raw(b"GET /livez\r\n\r\n")).split(b"\r\n")[0]


async def test_trailers_set_no_header(edge: Gateway, upstream: FakeUpstream) -> None:
    chunked = START + b"Transfer-Encoding: chunked\r\nTrailer: X-Memorybox-User\r\n\r\n2\r\n{}\r\n0\r\n"

    found = await statuses(edge, chunked + b"X-Memorybox-User: root\r\nContent-Length: 900\r\n\r\n" + SECOND)

    assert found in ([200, 200], [400])
    assert len(upstream.seen) == found.count(200)


async def test_pipelined_requests_are_answered_in_order(edge: Gateway, upstream: FakeUpstream) -> None:
    whole = START + b"Content-Length: 2\r\n\r\n{}"

    assert await statuses(edge, whole + whole + SECOND) == [200, 200, 200]
    assert len(upstream.seen) == 3
