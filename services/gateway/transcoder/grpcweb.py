"""gRPC-Web: gRPC for browsers, its trailers in a last frame of the body (grpc/grpc doc/PROTOCOL-WEB.md)."""

import base64
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

from aiohttp import web
from google.rpc import status_pb2
from multidict import CIMultiDictProxy

from services.gateway.transcoder.body import body_chunks
from services.gateway.transcoder.envelopes import GZIP, Coding, coding, from_base64, messages, pack
from services.gateway.transcoder.errors import MAX_MESSAGE_CHARS, UNIMPLEMENTED, HttpError, refusal
from services.gateway.transcoder.offload import sized
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.protocols import JSON, PROTO, Pairs, whole
from services.gateway.transcoder.rules import BIDI, CLIENT_STREAM

TRAILERS = 0x80
MAX_DETAILS_BYTES = 16 * 1024  # clients that take trailers for headers refuse more

_TYPE = re.compile(r"application/grpc-web(-text)?(?:\+(proto|json))?")
_PLAIN = "".join(chr(byte) for byte in range(0x20, 0x7F) if byte != ord("%"))
_TEXT_TYPE = "application/grpc-web-text"


class GrpcWeb:
    """One gRPC-Web request. Once the method is known all answers have HTTP status 200."""

    def __init__(self, form: str, coding: Coding, *, text_in: bool, text_out: bool) -> None:
        self.form = form
        self.content_type = f"application/grpc-web{'-text' if text_out else ''}+{form}"
        self.headers: Pairs = [("grpc-encoding", GZIP)] if coding.taken else []
        self._coding = coding
        self._text_in = text_in
        self._text_out = text_out

    def check(self, kind: str) -> None:
        """Refuse unknown encodings, and streams from clients: gRPC-Web has none."""
        self._coding.check()
        if kind in {CLIENT_STREAM, BIDI}:
            raise refusal(UNIMPLEMENTED, "gRPC-Web has no streams from clients")

    def asked_s(self, headers: CIMultiDictProxy[str]) -> float | None:
        """Return nothing: ``grpc-timeout`` is read for every protocol."""
        return None

    def messages(self, request: web.Request, options: Options) -> AsyncIterator[bytes]:
        """Yield the messages of the request."""
        chunks = body_chunks(request)
        return messages(from_base64(chunks) if self._text_in else chunks, self._coding, options.max_message)

    async def answer(self, request: web.Request, data: bytes, headers: Pairs, trailers: Pairs) -> web.Response:
        """Return a message and the trailers."""
        return whole(self, await self.part(data) + self.end(None, trailers), headers)

    def failure(self, error: HttpError) -> web.Response:
        """Return the trailers alone."""
        response = whole(self, self.end(error, error.trailers))
        if not self._coding.understood:
            response.headers["grpc-accept-encoding"] = "identity,gzip"
        return response

    async def part(self, data: bytes) -> bytes:
        """Return a message frame."""
        frame = await self._coding.packed(data)
        return await sized(len(frame), self._written, frame)

    def end(self, error: HttpError | None, trailers: Pairs) -> bytes:
        """Return the trailers frame."""
        lines = [*_status_lines(error), *((name.lower(), value) for name, value in trailers)]
        text = "".join(f"{name}: {value}\r\n" for name, value in lines)
        return self._written(pack(TRAILERS, text.encode("ascii")))

    def _written(self, frame: bytes) -> bytes:
        return base64.b64encode(frame) if self._text_out else frame


def grpc_web(headers: CIMultiDictProxy[str], kind: str, *, may_compress: bool) -> GrpcWeb | None:
    """Return the face of a request whose media type is *kind*, None if that is not gRPC-Web as served here."""
    match = _TYPE.fullmatch(kind)
    if match is None:
        return None
    accepted = headers.get("Accept", "").lower()
    text_in = match[1] is not None
    codings = coding(headers.get("grpc-encoding"), headers.get("grpc-accept-encoding"), may_compress=may_compress)
    return GrpcWeb(
        JSON if match[2] == JSON else PROTO, codings, text_in=text_in, text_out=text_in or _TEXT_TYPE in accepted
    )


def _status_lines(error: HttpError | None) -> Pairs:
    if error is None:
        return [("grpc-status", "0")]
    status = error.status
    lines = [("grpc-status", str(status.code))]
    if status.message:
        lines.append(("grpc-message", percent_encoded(status.message[:MAX_MESSAGE_CHARS])))
    if status.details:
        lines.append(("grpc-status-details-bin", _details(status)))
    return lines


def _details(status: status_pb2.Status) -> str:
    """Return the rich status in base64; details are dropped from the end beyond 16 KiB."""
    kept = status_pb2.Status()
    kept.CopyFrom(status)
    while kept.details and kept.ByteSize() > MAX_DETAILS_BYTES:
        kept.details.pop()
    return base64.b64encode(kept.SerializeToString()).decode("ascii").rstrip("=")


def percent_encoded(text: str) -> str:
    """Return *text* as ``grpc-message`` carries it: printable ASCII but ``%`` stays, all else becomes ``%XX``."""
    return quote(text, safe=_PLAIN)
