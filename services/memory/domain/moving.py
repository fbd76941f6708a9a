"""Taking one's own memories out, all of them, a chunk at a time."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.memory.domain.memories import utc_now
from services.memory.domain.memory import Embedding, Json, Memory
from services.memory.domain.paging import InvalidResumeToken, Pager
from services.memory.domain.transfer import ExportPlan, MovingStore
from services.memory.filter import parse
from services.mesh.caller import Caller
from services.mesh.errors import DeadlineExceeded

CHUNK_ROWS = 200
STREAM_LIFE = timedelta(minutes=15)  # longer than any hop's proof of who calls


@dataclass(frozen=True, slots=True)
class ExportedMemory:
    """One message of an export; *resume_token* continues after it."""

    memory: Memory
    embedding: Embedding | None
    resume_token: str


class Exports:
    """The use case of taking out."""

    def __init__(self, store: MovingStore, token_key: bytes, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._pager = Pager(token_key, InvalidResumeToken)
        self._clock = clock

    async def export(
        self, caller: Caller, *, include_embeddings: bool, resume_token: str, filter_text: str = ""
    ) -> AsyncIterator[ExportedMemory]:
        """Yield the caller's own memories, oldest first, each once, as they are when their chunk is read.

        What is created after the first call stays out, also of calls that resume. Raises ``InvalidResumeToken``,
        ``InvalidFilter``, and ``DeadlineExceeded`` after a quarter of an hour: then go on with the last token.
        """
        until = self._clock() + STREAM_LIFE
        request: Json = {"rpc": "ExportMemories", "include_embeddings": include_embeddings, "filter": filter_text}
        wanted = ExportPlan(CHUNK_ROWS, self._clock(), include_embeddings, parse(filter_text))
        state = self._pager.open(resume_token, caller, request, self._clock()) if resume_token else {}
        after, snapshot, more = state.get("after", 0), state.get("snapshot"), True
        while more:
            now = self._clock()
            if now > until:
                raise DeadlineExceeded("a stream ends after 15 minutes; go on with the last resume_token")
            chunk = await self._store.export(caller, replace(wanted, now=now, after=after, snapshot=snapshot))
            snapshot, more = chunk.snapshot, chunk.more
            for row in chunk.rows:
                after = row.number
                token = self._pager.seal(caller, request, {"after": after, "snapshot": snapshot}, now)
                yield ExportedMemory(row.memory, row.embedding, token)
