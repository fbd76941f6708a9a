"""Watches on the wire."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc

from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from services.memory.domain.feed import EventKind
from services.memory.domain.moving import STREAM_LIFE
from services.memory.domain.watching import Told, Watches
from services.memory.wire import memory_to_proto
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

# The end of a stream must reach the caller before the deadline does.
_LONGEST_MARGIN_S = 1.0
_MARGIN_SHARE = 0.1


class WatchingRpcs:
    """Watch."""

    _watches: Watches

    async def WatchMemories(
        self, request: pb.WatchMemoriesRequest, context: "Context"
    ) -> AsyncIterator[pb.WatchMemoriesResponse]:
        async def begun() -> None:
            await context.send_initial_metadata(())  # tells clients that from here on they miss nothing

        telling = self._watches.watch(
            caller(context),
            resume_token=request.resume_token,
            filter_text=request.filter,
            life=_life(context),
            begun=begun,
        )
        sequence = 0
        async with aclosing(telling) as messages:
            async for told in messages:
                sequence += 1
                yield _told_to_proto(told, sequence)


def _life(context: "Context") -> timedelta:
    remaining = context.time_remaining()
    if remaining is None:
        return STREAM_LIFE
    return timedelta(seconds=remaining - min(_LONGEST_MARGIN_S, _MARGIN_SHARE * remaining))


def _told_to_proto(told: Told, sequence: int) -> pb.WatchMemoriesResponse:
    message = pb.WatchMemoriesResponse(sequence=sequence, resume_token=told.resume_token)
    event = told.event
    if event is None:
        message.done.SetInParent()
        return message
    memory = memory_pb2.Memory(memory_id=event.memory_id) if event.memory is None else memory_to_proto(event.memory)
    message.event_time.FromDatetime(event.at)
    match event.kind:
        case EventKind.CREATED:
            message.created.CopyFrom(memory)
        case EventKind.UPDATED:
            message.updated.CopyFrom(memory)
        case EventKind.DELETED:
            message.deleted.CopyFrom(memory)
    return message
