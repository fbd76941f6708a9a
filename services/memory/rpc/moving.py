"""Exports and imports on the wire."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from services.memory.domain.importing import Imports, Incoming
from services.memory.domain.memory import Embedding
from services.memory.domain.moving import Exports
from services.memory.domain.sealing import SealBroken, Sealer
from services.memory.domain.transfer import ImportProgress
from services.memory.wire import memory_to_proto, new_draft_from_proto, time_from_proto
from services.mesh.errors import InvalidInput, MemoryBoxError, Violation
from services.mesh.interceptors import caller
from services.mesh.status import from_values, to_status

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

# grpc.aio ends the request iterator of a cancelled call as if the client had sent everything, and cancels the handler just after.
_CANCEL_SETTLES_S = 0.05


class MovingRpcs:
    """Export and import."""

    _exports: Exports
    _imports: Imports
    _sealer: Sealer

    async def ExportMemories(
        self, request: pb.ExportMemoriesRequest, context: "Context"
    ) -> AsyncIterator[pb.ExportMemoriesResponse]:
        seal = await self._sealer.sealing(caller(context).user) if request.sealed else None
        exported = self._exports.export(
            caller(context),
            include_embeddings=request.include_embeddings,
            resume_token=request.resume_token,
            filter_text=request.filter,
        )
        async for row in exported:
            memory = memory_to_proto(row.memory, row.embedding)
            if seal is None:
                yield pb.ExportMemoriesResponse(memory=memory, resume_token=row.resume_token)
            else:
                yield pb.ExportMemoriesResponse(sealed=seal(memory.SerializeToString()), resume_token=row.resume_token)

    async def ImportMemories(
        self, request_iterator: AsyncIterator[pb.ImportMemoriesRequest], context: "Context"
    ) -> pb.ImportMemoriesResponse:
        async def confirm_end() -> None:
            await asyncio.sleep(_CANCEL_SETTLES_S)
            if context.cancelled():
                raise asyncio.CancelledError

        config = await _config(request_iterator)
        user = caller(context).user
        items = self._incoming(request_iterator, user)
        progress = await self._imports.run(caller(context), config.import_id, config.first_index, items, confirm_end)
        return _progress_to_proto(progress)

    async def _incoming(
        self, messages: AsyncIterator[pb.ImportMemoriesRequest], user: str
    ) -> AsyncIterator[Incoming | MemoryBoxError]:
        unseal: Callable[[bytes], bytes] | None = None
        async for message in messages:
            if message.WhichOneof("message") == "sealed":
                unseal = unseal or await self._sealer.opening(user)
                yield _unsealed(message.sealed, unseal, user)
            else:
                yield _incoming(message, user)


async def _config(messages: AsyncIterator[pb.ImportMemoriesRequest]) -> pb.ImportMemoriesRequest.Config:
    async for message in messages:
        if message.WhichOneof("message") == "config":
            return message.config
        break
    raise InvalidInput(
        "the first message must be a config", violations=[Violation("config", "must be the first message")]
    )


def _incoming(message: pb.ImportMemoriesRequest, user: str) -> Incoming | MemoryBoxError:
    match message.WhichOneof("message"):
        case "memory":
            try:
                return incoming_from_proto(message.memory, user)
            except InvalidInput as fault:
                return fault
        case "config":
            raise InvalidInput(
                "only the first message may be a config", violations=[Violation("config", "must come once, first")]
            )
        case _:
            return InvalidInput("memory must be given", violations=[Violation("memory", "must be given")])


def _unsealed(sealed: bytes, unseal: Callable[[bytes], bytes], user: str) -> Incoming | MemoryBoxError:
    try:
        return incoming_from_proto(memory_pb2.Memory.FromString(unseal(sealed)), user)
    except (InvalidInput, SealBroken) as fault:
        return fault
    except DecodeError:
        return SealBroken("what was sealed is not a memory")


def incoming_from_proto(memory: memory_pb2.Memory, user: str) -> Incoming:
    """Return a memory as an export of *user*'s own wrote it; takes the vector out of *memory*."""
    embedding = None
    if memory.embedding:
        embedding = Embedding(memory.embedding_space, np.array(memory.embedding, np.float32))
        del memory.embedding[:]
    return Incoming(
        draft=new_draft_from_proto(memory, user),
        memory_id=memory.memory_id,
        created_at=time_from_proto(memory, "created_at"),
        updated_at=time_from_proto(memory, "updated_at"),
        delete_time=time_from_proto(memory, "delete_time"),
        superseded_by=memory.superseded_by,
        revision=memory.revision,
        embedding=embedding,
    )


def _progress_to_proto(progress: ImportProgress) -> pb.ImportMemoriesResponse:
    response = pb.ImportMemoriesResponse(
        imported_count=progress.imported_count,
        failed_count=progress.failed_count,
        last_committed_index=progress.next_index - 1,
    )
    for refusal in progress.refusals:
        error = from_values(
            refusal.code, refusal.reason, refusal.message, violations=refusal.violations, context=refusal.context
        )
        response.errors.add(index=refusal.index, error=to_status(error))
    return response
