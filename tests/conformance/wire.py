"""HTTP/1.1 by hand: requests as written in a case, answers as they came, framing errors included."""

import asyncio
import base64
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from multidict import CIMultiDict

WITHIN_S = 4.0
_HEAD = 4096  # bytes in which a head has its length


@dataclass(slots=True)
class Answer:
    """One HTTP answer. ``complete`` is False when the connection ended before the framing said so."""

    status: int
    headers: CIMultiDict[str]
    body: bytes
    complete: bool
    interim: list[int] = field(default_factory=list)
    rest: bytes = b""

    @property
    def media_type(self) -> str:
        """The Content-Type without parameters, in lower case."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """Return the body as JSON, or raise ``ValueError``."""
        return json.loads(self.body)


class NoAnswer(Exception):
    """The gateway closed the connection, or kept silent, without an answer."""


def request_bytes(
    data: Mapping[str, Any], host: str, request_id: str, framed: Callable[[Mapping[str, Any]], bytes]
) -> tuple[bytes, list[Any]]:
    """Return the head of a case's request, and its body in pieces (bytes, or conditions to wait for)."""
    if "raw" in data:
        return str(data["raw"]).replace("\n", "\r\n").replace("$HOST", host).encode("latin-1", "surrogateescape"), []
    method, _, target = _expanded(data["send"]).decode(errors="surrogateescape").partition(" ")
    headers = _pairs(data.get("headers", {}))
    names = {name.lower() for name, _ in headers}
    pieces, kind = _body(data, framed)
    if kind and "content-type" not in names:
        headers.append(("Content-Type", kind))
    if "host" not in names:
        headers.append(("Host", host))
    if "x-request-id" not in names:
        headers.append(("X-Request-Id", request_id))
    if "connection" not in names:
        headers.append(("Connection", "close"))
    chunked = "pieces" in data
    if chunked and "transfer-encoding" not in names:
        headers.append(("Transfer-Encoding", "chunked"))
        pieces = [_chunk(piece) if isinstance(piece, bytes) else piece for piece in pieces] + [b"0\r\n\r\n"]
    elif pieces and not names & {"content-length", "transfer-encoding"}:
        headers.append(("Content-Length", str(sum(len(piece) for piece in pieces))))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers if value is not None)
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode(errors="surrogateescape"), pieces


def _pairs(headers: Any) -> list[tuple[str, Any]]:
    items = headers.items() if isinstance(headers, dict) else [tuple(pair) for pair in headers]
    return [(name, value) for name, values in items for value in (values if isinstance(values, list) else [values])]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _body(data: Mapping[str, Any], framed: Callable[[Mapping[str, Any]], bytes]) -> tuple[list[Any], str]:
    """Return the pieces of a body and the Content-Type that goes with how it is written."""
    if "json" in data:
        return [json.dumps(data["json"], ensure_ascii=False).encode()], "application/json"
    if "body" in data:
        return [_expanded(data["body"])], "application/json"
    if "hex" in data:
        return [bytes.fromhex(str(data["hex"]).replace(" ", ""))], ""
    if "frames" in data:
        body = b"".join(framed(frame) for frame in data["frames"])
        return [base64.b64encode(body) if data.get("base64") else body], ""
    if "pieces" in data:
        return [piece if isinstance(piece, dict) else _expanded(piece) for piece in data["pieces"]], "application/json"
    return [], ""


def _expanded(text: Any) -> bytes:
    """Return text as UTF-8; a list joins its parts, and ``[part, times]`` repeats one."""
    if isinstance(text, list):
        return b"".join(_expanded(item[0]) * item[1] if isinstance(item, list) else _expanded(item) for item in text)
    return str(text).encode("utf-8", "surrogateescape")


def frame(flag: int, payload: bytes) -> bytes:
    """Return an envelope of gRPC-Web and Connect."""
    return struct.pack(">BI", flag, len(payload)) + payload


def frames(body: bytes) -> list[tuple[int, bytes]]:
    """Return the envelopes of *body*; raises ``ValueError`` for what is cut."""
    found = []
    while body:
        if len(body) < 5:
            raise ValueError("a frame is cut in its head")
        flag, size = struct.unpack(">BI", body[:5])
        if len(body) < 5 + size:
            raise ValueError("a frame is cut in its payload")
        found.append((flag, body[5 : 5 + size]))
        body = body[5 + size :]
    return found


class Conversation:
    """One connection: what was sent and what has come back so far."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin on an open connection."""
        self._reader = reader
        self.writer = writer
        self.got = bytearray()
        self.ended = False

    async def until(self, text: bytes) -> bool:
        """Read until *text* has come; False if the connection ended before."""
        while text not in self.got and not self.ended:
            await self._read()
        return text in self.got

    async def rest(self) -> bytes:
        """Read to the end of the answer, or else of the connection."""
        while not self.ended and not self._is_whole():
            await self._read()
        return bytes(self.got)

    def _is_whole(self) -> bool:
        """Return whether the framing says that nothing more comes; some gateways wait for the rest of a refused body."""
        if b"\r\n\r\n" not in self.got:
            return False
        if b"\r\ncontent-length:" not in self.got[:_HEAD].lower():
            return False
        try:
            return parse(bytes(self.got), head_only=False).complete
        except NoAnswer:
            return False

    async def _read(self) -> None:
        try:
            data = await self._reader.read(65536)
        except ConnectionError:
            data = b""
        self.got += data
        self.ended = not data

    def close(self) -> None:
        """Go away."""
        self.writer.close()


def parse(data: bytes, *, head_only: bool) -> Answer:
    """Return the final answer in *data*, after interim ones."""
    interim: list[int] = []
    while True:
        head, blank, rest = data.partition(b"\r\n\r\n")
        if not blank:
            raise NoAnswer(f"no answer, only {data[:80]!r}")
        first, *lines = head.decode("utf-8", "replace").split("\r\n")
        status = int(first.split(" ")[1])
        if status >= 200 or status == 101:
            break
        interim.append(status)
        data = rest
    headers = CIMultiDict[str]()
    for line in lines:
        name, _, value = line.partition(":")
        headers.add(name, value.strip())
    body, complete, over = _read_body(headers, rest, empty=head_only or status in {204, 304, 101})
    return Answer(status, headers, body, complete, interim, over)


def _read_body(headers: CIMultiDict[str], rest: bytes, *, empty: bool) -> tuple[bytes, bool, bytes]:
    if empty:
        return b"", True, rest
    if headers.get("Transfer-Encoding", "").lower() == "chunked":
        return _unchunked(rest)
    if "Content-Length" in headers:
        size = int(headers["Content-Length"])
        return rest[:size], len(rest) >= size, rest[size:]
    return rest, True, b""


def _unchunked(rest: bytes) -> tuple[bytes, bool, bytes]:
    body = b""
    while True:
        line, newline, rest = rest.partition(b"\r\n")
        if not newline:
            return body, False, b""
        size = int(line.partition(b";")[0], 16)
        if not size:
            return body, rest.startswith(b"\r\n") or b"\r\n\r\n" in rest, b""
        body += rest[:size]
        if len(rest) < size + 2:
            return body, False, b""
        rest = rest[size + 2 :]


def grpc_web_trailers(payload: bytes) -> dict[str, str]:
    """Return the trailers that a gRPC-Web frame holds."""
    lines = [line for line in payload.decode().split("\r\n") if line]
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def events(body: bytes) -> Sequence[dict[str, str]]:
    """Return the server-sent events of *body*, as a browser reads them; comments are left out."""
    found = []
    for block in body.decode().split("\n\n"):
        event: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            if name:
                event[name] = event[name] + "\n" + value.removeprefix(" ") if name in event else value.removeprefix(" ")
        if event:
            found.append(event)
    return found
