"""Tables of the local warehouse on the wire."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import grpc

from memorybox.analyst.v1 import analyst_service_pb2 as pb
from services.analyst.domain.tables import Loading, Tables
from services.analyst.wire import table_to_proto
from services.mesh.errors import InvalidInput, Violation
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

# grpc.aio ends the request iterator of a cancelled call as if the client had sent everything, and cancels the handler just after.
_CANCEL_SETTLES_S = 0.05
_MIB = 1 << 20


class TableRpcs:
    """Load, list, drop."""

    _tables: Tables
    _staging: Path
    _load_mib: int

    async def LoadTable(
        self, request_iterator: AsyncIterator[pb.LoadTableRequest], context: "Context"
    ) -> pb.LoadTableResponse:
        config = await _config(request_iterator)
        kind = (
            ""
            if config.format == pb.LoadTableRequest.FORMAT_UNSPECIFIED
            else pb.LoadTableRequest.Format.Name(config.format)
        )
        loading = Loading(config.table, kind, config.null_text)
        self._tables.check(caller(context), loading)
        with tempfile.TemporaryDirectory(dir=self._staging) as folder:
            path = Path(folder) / "file"
            with path.open("wb") as file:
                size_bytes = await self._spool(request_iterator, file)
            await asyncio.sleep(_CANCEL_SETTLES_S)
            if config.size_bytes not in {0, size_bytes}:
                raise _wrong("config.size_bytes", f"must be the size of the file: {size_bytes} bytes came")
            table = await self._tables.load(caller(context), loading, path)
        return pb.LoadTableResponse(table=table_to_proto(table))

    async def ListTables(self, request: pb.ListTablesRequest, context: "Context") -> pb.ListTablesResponse:
        return pb.ListTablesResponse(tables=[table_to_proto(table) for table in self._tables.all()])

    async def DropTable(self, request: pb.DropTableRequest, context: "Context") -> pb.DropTableResponse:
        await self._tables.drop(caller(context), request.name)
        return pb.DropTableResponse()

    async def _spool(self, messages: AsyncIterator[pb.LoadTableRequest], file: IO[bytes]) -> int:
        """Write the pieces to *file*; return their bytes."""
        size_bytes = 0
        async for message in messages:
            if message.WhichOneof("message") != "chunk":
                raise _wrong("chunk", "must be given in every message after the first")
            size_bytes += len(message.chunk)
            if size_bytes > self._load_mib * _MIB:
                raise _wrong("chunk", f"must come to {self._load_mib} MiB at most")
            await asyncio.to_thread(file.write, message.chunk)
        if not size_bytes:
            raise _wrong("chunk", "must be given: the file is empty")
        return size_bytes


async def _config(messages: AsyncIterator[pb.LoadTableRequest]) -> pb.LoadTableRequest.Config:
    async for message in messages:
        if message.WhichOneof("message") == "config":
            return message.config
        break
    raise _wrong("config", "must be the first message")


def _wrong(field: str, description: str) -> InvalidInput:
    return InvalidInput(f"{field} {description}", violations=[Violation(field, description)])
