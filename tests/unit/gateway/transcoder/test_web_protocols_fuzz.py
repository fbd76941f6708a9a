"""Nothing that a gRPC-Web or Connect client sends is more than a refusal, and no cut of its bytes changes them."""

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator, Callable, Sequence
from urllib.parse import unquote, unquote_to_bytes

from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.transcoder import HttpError, Options, Transcoder
from services.gateway.transcoder.connect import ConnectGet
from services.gateway.transcoder.envelopes import Coding, from_base64, messages
from services.gateway.transcoder.grpcweb import percent_encoded
from tests.support.transcoder_contract import compile_protos
from tests.support.web_protocols import JUKEBOX, SONGS, envelope

TRANSCODER = Transcoder([compile_protos(songs=SONGS)], Options(default_routes=False))
OPTIONS = Options()
MAX_MESSAGE = 1_000

TYPES = st.sampled_from(
    [
        *("application/grpc-web", "application/grpc-web-text", "application/grpc-web+json", "application/grpc-web+x"),
        *("application/connect+json", "application/connect+", "application/proto", "application/json", "text/plain"),
        *("application/grpc", "application/grpc-web;", "", ";", "\xe9", "application/grpc-web-text+proto; a=b"),
    ]
)
NAMES = [
    *("Connect-Protocol-Version", "Connect-Timeout-Ms", "Connect-Content-Encoding", "Connect-Accept-Encoding"),
    *("grpc-encoding", "grpc-accept-encoding", "Accept", "Content-Encoding"),
]
HEADERS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["1", "gzip", "", "x", "\xe9", "gzip;q=0", "-1"]))
PATHS = st.sampled_from(
    [
        *(f"{JUKEBOX}/{name}" for name in ("Play", "Look", "Repeat", "Gather", "Echo", "Hidden", "Nothing", "")),
        *("/", "//", "/songs/a", "/songs:play", "/songs.v1.Jukebox", f"{JUKEBOX}/Play/", f"{JUKEBOX}/%50lay"),
    ]
)
PARAMETERS = st.sampled_from(["message", "encoding", "base64", "compression", "connect", "x", ""])
VALUES = st.sampled_from(["", "1", "json", "proto", "gzip", "v1", "%", "%zz", "%ff", "a+b", "=", "AAAA", "{}", "e30"])
QUERIES = st.lists(st.builds("{}={}".format, PARAMETERS, VALUES), max_size=6).map("&".join)


async def pieces(data: bytes, cuts: Sequence[int]) -> AsyncIterator[bytes]:
    """Yield *data*, cut at *cuts*."""
    begin = 0
    for cut in sorted(cut % (len(data) + 1) for cut in cuts):
        yield data[begin:cut]
        begin = cut
    yield data[begin:]


def read(data: bytes, cuts: Sequence[int], coding: Coding, *, text: bool = False) -> list[bytes]:
    async def collect() -> list[bytes]:
        chunks = pieces(data, cuts)
        return [one async for one in messages(from_base64(chunks) if text else chunks, coding, MAX_MESSAGE)]

    return asyncio.run(collect())


CUTS = st.lists(st.integers(0, 10_000), max_size=6)


@given(st.lists(st.binary(max_size=60), max_size=5), CUTS)
def test_messages_survive_every_cut(sent: list[bytes], cuts: list[int]) -> None:
    assert read(b"".join(map(envelope, sent)), cuts, Coding()) == sent


@given(st.lists(st.binary(max_size=60), max_size=5), CUTS, CUTS)
def test_text_survives_every_cut_and_padding(sent: list[bytes], padded_at: list[int], cuts: list[int]) -> None:
    async def written() -> bytes:
        return b"".join([base64.b64encode(one) async for one in pieces(b"".join(map(envelope, sent)), padded_at)])

    assert read(asyncio.run(written()), cuts, Coding(), text=True) == sent


@given(st.lists(st.binary(max_size=60), max_size=3), CUTS)
def test_compressed_messages_survive(sent: list[bytes], cuts: list[int]) -> None:
    packed = b"".join(envelope(gzip.compress(one), 1) for one in sent)

    assert read(packed, cuts, Coding("gzip")) == sent


def refusal_by(read_it: Callable[[], object]) -> HttpError | None:
    """Return the refusal that a call raises, None without; anything else is a fault."""
    try:
        read_it()
    except HttpError as error:
        return error
    return None


@given(st.binary(max_size=80), CUTS, st.booleans(), st.sampled_from(["", "gzip"]))
def test_any_bytes_are_read_or_refused(data: bytes, cuts: list[int], text: bool, coding: str) -> None:  # noqa: FBT001
    refused = refusal_by(lambda: read(data, cuts, Coding(coding), text=text))

    assert refused is None or refused.status.code in {3, 8}


@given(st.sampled_from(["GET", "POST", "PUT", "OPTIONS", "HEAD"]), PATHS, QUERIES, TYPES, HEADERS)
def test_any_request_is_matched_or_refused(
    method: str, path: str, query: str, content_type: str, headers: dict[str, str]
) -> None:
    request = make_mocked_request(method, f"{path}?{query}", headers={**headers, "Content-Type": content_type})

    def match() -> None:
        found = TRANSCODER.match_request(request)
        assert not found.route.grpc_method.endswith("Hidden")
        if found.rpc is not None:
            found.rpc.face.asked_s(request.headers)
            found.rpc.face.check(found.route.kind)

    refused = refusal_by(match)

    if refused is not None:
        assert refused.status.code in {0, 3, 5, 12}
        assert TRANSCODER.refused(request, refused).status in {200, 204, 400, 404, 405, 415, 501}


@given(QUERIES)
def test_any_query_of_a_get_is_read_or_refused(query: str) -> None:
    request = make_mocked_request("GET", f"{JUKEBOX}/Look?{query}")
    face = ConnectGet(query, TRANSCODER.codec, OPTIONS, request.headers)

    async def take() -> None:
        face.check("unary")
        assert len([one async for one in face.messages(request, OPTIONS)]) == 1

    refused = refusal_by(lambda: asyncio.run(take()))

    assert refused is None or refused.http_status in {400, 415, 501}


@given(st.text())
def test_grpc_message_can_be_read_back(text: str) -> None:
    encoded = percent_encoded(text)

    assert encoded.isascii()
    assert encoded.isprintable()
    assert unquote_to_bytes(encoded) == text.encode(errors="replace")
    assert unquote(encoded) == text.encode(errors="replace").decode()
