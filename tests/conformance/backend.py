"""A gRPC server that takes any call of the contract, notes what it saw, and answers as a case says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from tests.conformance.contract import Contract

_DETAILS = "grpc-status-details-bin"
_HOLD_S = 5.0  # longest wait for what a case says should happen first


@dataclass(slots=True)
class Seen:
    """One call as it reached the backend."""

    method: str
    metadata: list[tuple[str, str | bytes]]
    time_left_s: float | None
    messages: list[bytes] = field(default_factory=list)
    answered: bool = False
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)


class Backend(grpc.GenericRpcHandler):
    """Serves one table of cases, one case at a time."""

    def __init__(self, contract: Contract) -> None:
        """Make a backend that answers emptily."""
        self._contract = contract
        self._server: grpc.aio.Server | None = None
        self.port = 0
        self.begin({})

    def begin(self, script: Mapping[str, Any], request_id: str = "") -> None:
        """Forget what was seen; answer the calls to come as *script* says.

        Calls that carry another x-request-id than *request_id* are late ones of earlier cases and do not count.
        """
        self._script = script
        self._request_id = request_id
        self.seen: list[Seen] = []
        self.called = asyncio.Event()
        self.go_on = asyncio.Event()

    async def start(self, port: int = 0) -> None:
        """Listen on loopback."""
        options = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()

    async def stop(self) -> None:
        """Close."""
        if self._server is not None:
            await self._server.stop(None)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Return the handler of a method of the contract."""
        path = str(handler_call_details.method)
        method = self._contract.methods.get(path)
        if method is None:
            return None
        metadata = list(handler_call_details.invocation_metadata or ())

        async def many(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            async for reply in self._serve(path, metadata, requests, context):
                yield reply

        async def one(request: bytes, context: Any) -> AsyncIterator[bytes]:
            async for reply in self._serve(path, metadata, _only(request), context):
                yield reply

        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(many)
        return grpc.unary_stream_rpc_method_handler(one)

    async def _serve(
        self, path: str, metadata: Sequence[tuple[str, str | bytes]], requests: AsyncIterator[bytes], context: Any
    ) -> AsyncIterator[bytes]:
        seen = Seen(path, list(metadata), context.time_remaining())
        if dict(seen.metadata).get("x-request-id", self._request_id) == self._request_id:
            self.seen.append(seen)
        context.add_done_callback(lambda _: None if seen.answered else seen.cancelled.set())
        script = self._script
        try:
            if not script.get("early"):
                async for message in requests:
                    seen.messages.append(message)
                    self.called.set()
            self.called.set()
            async for reply in self._replies(path, script, context):
                yield reply
            await self._end(script, context)
            seen.answered = True
        except asyncio.CancelledError:
            seen.cancelled.set()
            raise

    async def _replies(self, path: str, script: Mapping[str, Any], context: Any) -> AsyncIterator[bytes]:
        if "delay" in script:
            await asyncio.sleep(script["delay"])
        if "initial" in script:
            await context.send_initial_metadata(_metadata(script["initial"]))
        if script.get("hang"):
            await asyncio.Event().wait()
        method = self._contract.methods[path]
        for reply in _scripted(script, streams=method.server_streaming):
            if reply == "$wait":
                async with asyncio.timeout(_HOLD_S):
                    await self.go_on.wait()
            elif isinstance(reply, dict) and "$sleep" in reply:
                await asyncio.sleep(reply["$sleep"])
            else:
                yield self._contract.wire(method.output_type, reply)
        if script.get("hang_after"):
            await asyncio.Event().wait()

    async def _end(self, script: Mapping[str, Any], context: Any) -> None:
        trailing = _metadata(script.get("trailing", {}))
        status = script.get("status")
        if status is None:
            context.set_trailing_metadata(trailing)
            return
        code, message = int(status["code"]), str(status.get("message", ""))
        rich = self._details(status)
        if rich is not None:
            trailing.append((_DETAILS, rich))
        context.set_trailing_metadata(trailing)
        known = {item.value[0]: item for item in grpc.StatusCode}
        context.set_code(known.get(code, code))
        context.set_details(message)

    def _details(self, status: Mapping[str, Any]) -> bytes | None:
        """Return the google.rpc.Status of the trailers; ``details_hex`` are its bytes."""
        if "details_hex" in status:
            return bytes.fromhex(status["details_hex"])
        if "details" not in status:
            return None
        rich = status_pb2.Status(
            code=status.get("rich_code", status["code"]), message=status.get("rich_message", status.get("message", ""))
        )
        for detail in status["details"]:
            rich.details.add().CopyFrom(self._any(detail))
        data: bytes = rich.SerializeToString()
        return data

    def _any(self, detail: Mapping[str, Any]) -> any_pb2.Any:
        url = str(detail["@type"])
        if "$hex" in detail:
            return any_pb2.Any(type_url=url, value=bytes.fromhex(detail["$hex"]))
        name = url.rpartition("/")[2]
        pool = self._contract.pool
        try:
            descriptor = pool.FindMessageTypeByName(name)  # type: ignore[no-untyped-call]
        except KeyError:
            descriptor = error_details_pb2.DESCRIPTOR.pool.FindMessageTypeByName(name)  # the standard types of details
        content = {key: value for key, value in detail.items() if key != "@type"}
        return any_pb2.Any(type_url=url, value=self._contract.wire(descriptor, content.get("value", content)))

    async def settled(self, seen: Seen, within_s: float) -> bool:
        """Return whether *seen* was cancelled in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await seen.cancelled.wait()
        return seen.cancelled.is_set()


def _scripted(script: Mapping[str, Any], *, streams: bool) -> Sequence[Any]:
    """Return the replies of *script*; one empty message where it says nothing of a method with one answer."""
    if "replies" in script:
        replies: list[Any] = []
        for reply in script["replies"]:
            many = isinstance(reply, dict) and "$repeat" in reply
            replies += [reply["message"]] * reply["$repeat"] if many else [reply]
        return replies
    if "reply" in script:
        return [script["reply"]]
    return [] if streams or "status" in script else [{}]


async def _only(message: bytes) -> AsyncIterator[bytes]:
    yield message


def _metadata(pairs: Mapping[str, Any]) -> list[tuple[str, str | bytes]]:
    """Return metadata; lists repeat a name, ``-bin`` values are hex."""
    return [
        (name, bytes.fromhex(value) if name.endswith("-bin") else str(value))
        for name, values in pairs.items()
        for value in (values if isinstance(values, list) else [values])
    ]
