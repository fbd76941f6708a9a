"""WebSocket cases: what the client says, and what it heard until the close."""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.conformance.checks import holds

REFUSED = 0
"""Stands for the close code of a handshake that was answered otherwise than by 101."""


@dataclass(slots=True)
class Heard:
    """What came from the gateway. Text messages are as they came, binary ones in hex."""

    messages: list[str] = field(default_factory=list)
    close: int | None = REFUSED
    reason: str = ""
    subprotocol: str | None = None
    status: int = 101


async def converse(data: Mapping[str, Any], url: str, name: str, until_seen: Callable[[int], Awaitable[None]]) -> Heard:
    """Open the WebSocket of a case at *url*, say what the case says, and listen until it is closed."""
    heard = Heard()
    headers = {"X-Request-Id": name, **data.get("headers", {})}
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        try:
            async with session.ws_connect(url, headers=headers, max_msg_size=0) as socket:
                heard.subprotocol = socket._response.headers.get("Sec-WebSocket-Protocol")
                for item in data["socket"]:
                    await _say(socket, item, until_seen)
                await _listen(socket, heard)
        except aiohttp.WSServerHandshakeError as error:
            heard.status = error.status
    return heard


async def _say(
    socket: aiohttp.ClientWebSocketResponse, item: Any, until_seen: Callable[[int], Awaitable[None]]
) -> None:
    if isinstance(item, str):
        await socket.send_str(item)
    elif "after" in item:
        await until_seen(item["after"])
    elif "hex" in item:
        await socket.send_bytes(bytes.fromhex(item["hex"]))
    elif "parts" in item:
        await _fragments(socket, item["parts"])
    else:
        await socket.send_str(json.dumps(item["json"]))


async def _fragments(socket: aiohttp.ClientWebSocketResponse, parts: list[str]) -> None:
    """Send one text message in several frames (RFC 6455, 5.4), which aiohttp's own client never does."""
    transport = socket._conn.transport if socket._conn is not None else None
    if transport is None:
        raise ConnectionResetError("the gateway closed early")
    for index, part in enumerate(parts):
        payload = part.encode()
        head = (0x80 if index == len(parts) - 1 else 0) | (0 if index else 1)
        transport.write(bytes([head, 0x80 | len(payload), 0, 0, 0, 0]) + payload)  # masked by zeros


async def _listen(socket: aiohttp.ClientWebSocketResponse, heard: Heard) -> None:
    async for message in socket:
        heard.messages.append(message.data if isinstance(message.data, str) else message.data.hex())
    heard.close = socket.close_code


def differences(wanted: Mapping[str, Any], heard: Heard) -> Iterator[str]:
    """Yield what was heard otherwise than *wanted*: ``messages``, ``close``, ``subprotocol`` and ``status`` of the handshake."""
    if heard.status != wanted.get("status", 101):
        yield f"the handshake was answered {heard.status}, not {wanted.get('status', 101)}"
        return
    if "close" in wanted and heard.close != wanted["close"]:
        yield f"closed by {heard.close}, not {wanted['close']}; heard {heard.messages}"
    if "subprotocol" in wanted and heard.subprotocol != wanted["subprotocol"]:
        yield f"subprotocol {heard.subprotocol!r}, not {wanted['subprotocol']!r}"
    if "messages" in wanted:
        got = [json.loads(text) if text[:1] in '{["' else text for text in heard.messages]
        if not holds(list(wanted["messages"]), got):
            yield f"heard {got}, not {wanted['messages']}"
