"""Runs cases: tables beside each other, the cases of one table one after the other."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.message import DecodeError

from tests.conformance.backend import Backend
from tests.conformance.cases import Case
from tests.conformance.checks import Checker
from tests.conformance.contract import Contract, descriptor_set
from tests.conformance.gateways import Gateway, NotOffered, free_port
from tests.conformance.sockets import converse, differences
from tests.conformance.wire import WITHIN_S, Conversation, NoAnswer, frame, parse, request_bytes

PASSED = "passed"
FAILED = "failed"
NOT_OFFERED = "not offered"
_TABLES_AT_ONCE = 3
_CANCEL_S = 3.0


@dataclass(frozen=True, slots=True)
class Result:
    """How one case ended."""

    case: Case
    outcome: str
    text: str = ""


async def run(gateway: Gateway, cases: Sequence[Case], *, backend_port: int = 0) -> list[Result]:
    """Return the result of every case, in the order of *cases*."""
    tables: dict[tuple[tuple[str, str], ...], list[Case]] = {}
    for case in cases:
        if not case.is_startup:
            tables.setdefault(case.table, []).append(case)
    together = asyncio.Semaphore(1 if backend_port else _TABLES_AT_ONCE)

    async def table(members: Sequence[Case]) -> list[Result]:
        async with together:
            return await _run_table(gateway, members, backend_port)

    done = await asyncio.gather(*(table(members) for members in tables.values()), return_exceptions=True)
    results: dict[str, Result] = {}
    for group in done:
        if isinstance(group, BaseException):
            raise group  # only now: a backend that is cut off in the middle never ends
        results.update((result.case.name, result) for result in group)
    for case in cases:
        if case.is_startup:
            results[case.name] = await _run_startup(gateway, case)
    return [results[case.name] for case in cases]


async def _run_table(gateway: Gateway, cases: Sequence[Case], backend_port: int) -> list[Result]:
    descriptors = descriptor_set()
    contract = Contract(descriptors)
    backend = Backend(contract)
    await backend.start(backend_port)
    try:
        async with gateway.running(descriptors, contract.services, backend.port, cases[0].options) as address:
            table = Table(contract, backend, *address)
            return [await table.run(case) for case in cases]
    except NotOffered as reason:
        return [Result(case, NOT_OFFERED, str(reason)) for case in cases]
    finally:
        await backend.stop()


class Table:
    """One gateway with one set of options, before one backend."""

    def __init__(self, contract: Contract, backend: Backend, host: str, port: int) -> None:
        """Ask the gateway at *host* and *port*."""
        self._contract = contract
        self._backend = backend
        self._checker = Checker(contract)
        self._address = (host, port)

    async def run(self, case: Case) -> Result:
        """Run one case."""
        data = case.data
        self._backend.begin(data.get("backend", {}), case.name)
        try:
            async with asyncio.timeout(WITHIN_S):
                failures = await self._try(case)
        except NoAnswer as error:
            failures = [str(error)]
        except TimeoutError:
            failures = ["no end within the time of a case"]
        except (json_format.Error, DecodeError, LookupError, TypeError, ValueError, aiohttp.ClientError) as error:
            failures = [f"cannot be compared: {error!r}"]
        return Result(case, FAILED if failures else PASSED, "; ".join(failures))

    async def _try(self, case: Case) -> list[str]:
        data = case.data
        host, port = self._address
        if "socket" in data:
            return await self._socket(case, f"ws://{host}:{port}{data['send'].partition(' ')[2]}")
        head, pieces = request_bytes(data, f"{host}:{port}", case.name, lambda item: self._framed(data, item))
        async with self._connection() as talk:
            await self._send(talk, head, pieces)
            if data.get("hang_up"):
                return await self._hang_up(talk, data)
            first = data.get("answer", {}).get("first") if isinstance(data.get("answer"), dict) else None
            if first is not None:
                if not await talk.until(str(first).encode()):
                    return [f"{first!r} did not come before the stream went on"]
                self._backend.go_on.set()
            raw = await talk.rest()
        answer = parse(raw, head_only=str(data.get("send", "")).startswith("HEAD "))
        failures = self._checker.failures(data, answer, self._backend.seen)
        if data.get("cancelled"):
            failures += await self._cancelled()
        return failures

    async def _socket(self, case: Case, url: str) -> list[str]:
        heard = await converse(case.data, url, case.name, self._until_seen)
        return [
            *differences(case.data.get("answer", {}), heard),
            *self._checker.of_calls(case.data, self._backend.seen),
        ]

    async def _send(self, talk: Conversation, head: bytes, pieces: Sequence[Any]) -> None:
        try:
            body = b""
            talk.writer.write(head)
            for piece in pieces:
                if isinstance(piece, bytes):
                    body += piece
                    continue
                talk.writer.write(body)
                body = b""
                await talk.writer.drain()
                await self._until_seen(piece["after"])
            talk.writer.write(body)
            await talk.writer.drain()
        except ConnectionError:
            return  # an early answer closes the way in; the answer itself can still be read

    async def _until_seen(self, count: int) -> None:
        """Wait until the backend has got *count* messages of the stream."""
        while sum(len(call.messages) for call in self._backend.seen) < count:
            await asyncio.sleep(0.005)

    async def _hang_up(self, talk: Conversation, data: Mapping[str, Any]) -> list[str]:
        await self._backend.called.wait()
        if "first" in data:
            await talk.until(str(data["first"]).encode())
        talk.close()
        return await self._cancelled()

    async def _cancelled(self) -> list[str]:
        if not self._backend.seen:
            return ["the backend was not called"]
        if not await self._backend.settled(self._backend.seen[0], _CANCEL_S):
            return ["the backend's call was not cancelled"]
        return []

    def _framed(self, data: Mapping[str, Any], item: Mapping[str, Any]) -> bytes:
        """Return one frame of a request."""
        if "bytes" in item:
            return bytes.fromhex(str(item["bytes"]).replace(" ", ""))
        if "hex" in item:
            payload = bytes.fromhex(str(item["hex"]).replace(" ", ""))
        elif "json" in item:
            payload = json.dumps(item["json"]).encode()
        else:
            payload = self._contract.wire(self._contract.method(data["method"]).input_type, item["message"])
        return frame(item.get("flag", 0), payload)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Conversation]:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            yield Conversation(reader, writer)
        finally:
            writer.close()


async def _run_startup(gateway: Gateway, case: Case) -> Result:
    data = case.data["startup"]
    try:
        descriptors = probe_set(data["rules"], data.get("kind", "unary"))
        started, text = await gateway.check(
            descriptors, ["conformance.probe.Probe"], case.options, case.data.get("config")
        )
    except NotOffered as reason:
        return Result(case, NOT_OFFERED, str(reason))
    failures = []
    if started == bool(data.get("refuses")):
        failures.append(f"it starts: {text}" if started else f"it does not start: {text[-300:]}")
    wanted = data.get("refuses") or data.get("warns")
    if wanted and wanted is not True and not re.search(wanted, text):
        failures.append(f"{text[-300:]!r} does not say {wanted!r}")
    return Result(case, FAILED if failures else PASSED, "; ".join(failures))


def probe_set(rules: Sequence[Mapping[str, Any]], kind: str) -> bytes:
    """Return a descriptor set whose service ``conformance.probe.Probe`` has one method per rule, named A, B and so on."""
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set())
    probe = files.file.add(name="conformance/probe.proto", package="conformance.probe", syntax="proto3")
    probe.dependency.extend(["conformance/v1/kinds.proto", "google/api/annotations.proto"])
    service = probe.service.add(name="Probe")
    for name, rule in zip("ABCDEFGH", rules, strict=False):
        method = service.method.add(name=name, input_type=".conformance.v1.Kinds", output_type=".conformance.v1.Kinds")
        method.client_streaming = kind in {"client_stream", "bidi"}
        method.server_streaming = kind in {"server_stream", "bidi"}
        json_format.ParseDict(rule, method.options.Extensions[annotations_pb2.http])
    return files.SerializeToString()


__all__ = ["FAILED", "NOT_OFFERED", "PASSED", "Result", "free_port", "run"]
