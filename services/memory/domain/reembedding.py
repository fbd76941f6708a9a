"""Embedding everything anew, in another space, while callers search and write: a durable operation that ends with one switch."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from services.memory.domain.active_space import find_space
from services.memory.domain.operations import Operation, Operations, Step
from services.memory.domain.ports import EmbeddingModels, EmbeddingUnavailable, InputKind, SpaceNotServed
from services.memory.domain.spaces import Filling, SpaceStore, Unfilled
from services.mesh.caller import Caller
from services.mesh.errors import FailedPrecondition, InvalidInput, Violation

REEMBED = "Reembed"
STEP_S = 1.0  # after which progress is told
BATCH_TEXTS = 16  # of one request, and of one commit: some 3 ms in which writes wait
# At once, of a re-embedding that need not rest. The embedding service gives each request its turn, so a caller's query waits for one
# text of each of these.
REQUESTS = 8
ROUND_BYTES = 256 << 10
SWEEP = 200  # vectors dropped in one commit: some 10 ms in which writes wait
EMBED_WITHIN_S = 400.0  # far below the lease of a step


class Phase(StrEnum):
    """What is done in which order."""

    FILL = "FILL"  # the new space, beside the active one
    SWITCH = "SWITCH"  # a step of its own, so that a cancellation before it is heeded
    SWEEP = "SWEEP"  # what nothing is compared with any more, after the switch


@dataclass(frozen=True, slots=True)
class Progress:
    """The cursor. Which memories are done the store itself knows; *position* only spares looking at them again."""

    space: str
    former: str
    phase: Phase = Phase.FILL
    position: int = 0


class Reembedding:
    """The use case."""

    def __init__(self, models: EmbeddingModels, operations: Operations) -> None:
        self._models = models
        self._operations = operations

    async def start(self, caller: Caller, space: str, request_id: str = "") -> Operation:
        """Begin to fill *space* ('': the one that the embedding service means for new vectors), and then to compare in it.

        Raises ``InvalidInput`` for a space that is not served, ``OperationRunning`` while another one is under way.
        """
        try:
            find_space(await self._models.spaces(fresh=True), space)
        except EmbeddingUnavailable:
            pass  # the operation waits for it
        except SpaceNotServed as fault:
            description = "must be empty or a space that the embedding service serves"
            raise InvalidInput(fault.message, violations=[Violation("space", description)]) from fault
        return await self._operations.start(caller, REEMBED, {"space": space}, request_id, alone=True)


class ReembeddingKind:
    """How it is done: in small rounds, resting between them, so that at most *share* of the time is spent embedding.

    What a round does at once grows with the square of *share*: searches feel how much more than how often.
    """

    name = REEMBED

    def __init__(
        self,
        spaces: SpaceStore,
        models: EmbeddingModels,
        share: float = 0.5,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._spaces = spaces
        self._models = models
        self._rests = 1.0 / share - 1.0
        self._texts = max(1, round(REQUESTS * share * share)) * BATCH_TEXTS  # of one round
        self._sleep = sleep

    async def step(self, operation: Operation) -> Step:
        """Fill for about a second, or switch, or drop a bit of what is left behind."""
        if operation.cursor is None:
            return await self._begin(operation.request["space"])
        progress = Progress(**operation.cursor)
        match progress.phase:
            case Phase.FILL:
                return await self._fill(progress)
            case Phase.SWITCH:
                return await self._switch(progress)
        return await self._sweep(progress)

    async def undo(self, operation: Operation) -> Step | None:
        """Drop what was filled, bit by bit; after the switch it is too late, and the operation goes on."""
        cursor = operation.cursor or {}
        if cursor.get("phase") == Phase.SWEEP:
            return await self._sweep(Progress(**cursor))
        await self._spaces.set_target("")
        dropped = await self._spaces.sweep(SWEEP)
        return Step(cursor, operation.done_count, operation.total_count) if dropped else None

    async def _begin(self, wanted: str) -> Step:
        space = find_space(await self._models.spaces(fresh=True), wanted).name
        former = (await self._spaces.current()).active
        lacking, total = await self._spaces.count_unfilled(space)
        progress = Progress(space, former)
        if space == former and not lacking:
            return _done(progress, total, already=True)
        await self._spaces.set_target(space)
        return Step(asdict(progress), total - lacking, total)

    async def _fill(self, progress: Progress) -> Step:
        until = time.monotonic() + STEP_S
        while time.monotonic() < until:
            rows = await self._spaces.unfilled(progress.space, progress.position, self._texts, ROUND_BYTES)
            if rows:
                await self._fill_round(progress.space, rows)
                progress = replace(progress, position=rows[-1].number)
            elif progress.position:
                progress = replace(progress, position=0)  # whatever was written meanwhile without a vector there
            else:
                progress = replace(progress, phase=Phase.SWITCH)
                break
        return await self._told(progress)

    async def _switch(self, progress: Progress) -> Step:
        is_there = progress.space == progress.former or await self._spaces.switch()
        return await self._told(replace(progress, phase=Phase.SWEEP if is_there else Phase.FILL))

    async def _told(self, progress: Progress) -> Step:
        lacking, total = await self._spaces.count_unfilled(progress.space)
        return Step(asdict(progress), total - lacking, total)

    async def _fill_round(self, space: str, rows: Sequence[Unfilled]) -> None:
        began = time.monotonic()
        batches = [rows[first : first + BATCH_TEXTS] for first in range(0, len(rows), BATCH_TEXTS)]
        try:
            async with asyncio.timeout(EMBED_WITHIN_S):
                await asyncio.gather(*(self._fill_batch(space, batch) for batch in batches))
        except TimeoutError:
            raise EmbeddingUnavailable("the embedding service is too slow") from None
        except (FailedPrecondition, InvalidInput):
            await self._spaces.set_target("")  # this ends the operation, and writes need not serve it any more
            raise
        await self._sleep((time.monotonic() - began) * self._rests)

    async def _fill_batch(self, space: str, rows: Sequence[Unfilled]) -> None:
        _, embeddings = await self._models.embed([row.content for row in rows], InputKind.DOCUMENT, space)
        pairs = zip(rows, embeddings, strict=True)
        await self._spaces.fill([Filling(row.number, row.revision, embedding) for row, embedding in pairs])

    async def _sweep(self, progress: Progress) -> Step:
        dropped = await self._spaces.sweep(SWEEP)
        _, total = await self._spaces.count_unfilled(progress.space)
        return Step(asdict(progress), total, total) if dropped else _done(progress, total)


def _done(progress: Progress, total: int, *, already: bool = False) -> Step:
    result = {
        "space": progress.space,
        "former_space": progress.former,
        "memory_count": total,
        "already_active": already,
    }
    return Step(asdict(progress), total, total, result=result)
