"""The memory store in one data folder."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Self, TypeVar

import apsw

from services.memory.domain.memory import Embedding, Memory
from services.memory.domain.ports import ListPage, ListPlan, SearchHit, SearchPage, SearchPlan, StoreSecrets, UnitOfWork
from services.memory.domain.reads import ALL, MAX_ANSWER_BYTES, Batch, Selection
from services.memory.domain.spaces import SpaceMoved
from services.memory.filter import EVERYTHING
from services.memory.stores.embedded import erasure, swap
from services.memory.stores.embedded.answer import Answer
from services.memory.stores.embedded.changes import prepare
from services.memory.stores.embedded.checkpoint import START_BYTES, Checkpointer
from services.memory.stores.embedded.database import (
    DATABASE_NAME,
    IntegrityCheck,
    check_file,
    connect,
    load_secrets,
    migrate,
    sync_folder,
    transaction,
    translated_errors,
)
from services.memory.stores.embedded.deletions import EmbeddedDeleter
from services.memory.stores.embedded.feed import EmbeddedFeed
from services.memory.stores.embedded.finding import FindingReads, Scan
from services.memory.stores.embedded.history import list_as_of
from services.memory.stores.embedded.index import IndexView, MemoryIndex
from services.memory.stores.embedded.loader import IndexLoader, renew_terms
from services.memory.stores.embedded.lock import FolderLock
from services.memory.stores.embedded.moving import EmbeddedMover
from services.memory.stores.embedded.reembedding import EmbeddedSpaces
from services.memory.stores.embedded.rows import (
    count_visible,
    invalid_docs,
    last_seq,
    list_visible,
    matching_docs,
    read_batch,
    read_external,
    read_many,
    read_pooled,
    read_visible,
)
from services.memory.stores.embedded.scope import Chosen
from services.memory.stores.embedded.search import rank
from services.memory.stores.embedded.writer import Ground, GroupWriter
from services.mesh.caller import Caller
from services.mesh.errors import BackendUnavailable, DataLoss
from services.mesh.files import FolderUnusable

_READERS = 2  # a search holds the interpreter for most of its time: with 4, 50 callers at once got a fifth less done
_REPLACED = "a backup was restored; the service starts again with it"
_TRIES = 3  # of a search whose rows changed between index and row

Found = TypeVar("Found")


class EmbeddedMemoryStore(FindingReads):
    """A ``MemoryStore`` over SQLite rows, with search indexes in memory. Made by ``open``, by one process at a time."""

    def __init__(self, folder: Path, integrity: IntegrityCheck, vfs: str | None, checkpoint_bytes: int) -> None:
        """Open the store; blocks for as long as checking and loading take, so use ``open``."""
        with ExitStack() as stack, translated_errors():
            stack.callback(_lock_folder(folder).release)
            swap.carry_out(folder)
            connection = _Connections(folder / DATABASE_NAME, vfs, stack)
            writing = connection.open()
            check_file(writing, integrity)
            migrate(writing)
            sync_folder(folder)
            self._secrets = load_secrets(writing)
            renew_terms(writing)
            self._index = MemoryIndex()
            stack.callback(self._index.close)
            seq = IndexLoader(writing, self._index).load()
            self._idle: SimpleQueue[apsw.Connection] = SimpleQueue()
            for _ in range(_READERS):
                self._idle.put(connection.open(read_only=True))
            checkpointer = Checkpointer(writing, connection.open(), checkpoint_bytes)
            stack.callback(checkpointer.close)
            self._writer = GroupWriter(writing, self._index, seq, checkpointer.after_commit)
            stack.callback(self._writer.close)
            self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")
            stack.callback(self._readers.shutdown)
            self._scanning = connection.open(read_only=True)
            self._scanner = ThreadPoolExecutor(1, thread_name_prefix="store-scan")
            stack.callback(self._scanner.shutdown)
            self._stack = stack.pop_all()
        self._path, self._vfs = folder / DATABASE_NAME, vfs
        self._snapshots, self._counting = 0, Lock()
        self._retired = False
        self.moving = EmbeddedMover(self)
        self.feed = EmbeddedFeed(self, self._writer.bell)
        self.spaces = EmbeddedSpaces(self, lambda: self._index.spaces)
        self.deleting = EmbeddedDeleter(self)
        self._closed = False

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        integrity: IntegrityCheck = IntegrityCheck.QUICK,
        vfs: str | None = None,
        checkpoint_bytes: int = START_BYTES,
    ) -> Self:
        """Open or create the store in *folder*.

        *vfs* names another SQLite file system, for tests. From *checkpoint_bytes* on the log is copied into the database.

        Raises ``FolderUnusable``, ``StoreLocked`` when another process has it, ``SchemaTooNew``, ``DataLoss`` when a check fails.
        """
        return await asyncio.to_thread(cls, folder, integrity, vfs, checkpoint_bytes)

    async def close(self) -> None:
        """Finish the queued writes and leave the folder to the next process. Calls after this are refused."""
        self._closed = True
        await asyncio.to_thread(self._stack.close)

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._path.parent

    @property
    def secrets(self) -> StoreSecrets:
        """The keys for derived ids and page tokens."""
        return self._secrets

    @property
    def failure(self) -> str | None:
        """Why the store takes no more writes until it is opened again; None while all is well."""
        return self._writer.failure

    async def apply(self, work: UnitOfWork) -> tuple[Memory, ...]:
        """Commit *work* durably; see ``MemoryStore``. Cancelling the caller leaves the work whole: done, or not begun."""
        self._check_open()
        answer: Answer[tuple[Memory, ...]] = Answer()
        self._readers.submit(lambda: self._writer.submit(prepare(work), answer)).add_done_callback(answer.fail_with)
        memories = await answer.future
        if work.act is not None:
            work.act.written = True
        return memories

    async def get(self, caller: Caller, memory_id: str, now: datetime) -> Memory:
        """Return one memory, or raise ``MemoryNotFound``."""
        return await self._read(lambda connection: read_visible(connection, caller, memory_id, now).memory)

    async def get_embedding(self, caller: Caller, memory_id: str, now: datetime) -> Embedding:
        """Return the vector of a memory that *caller* may see, or raise ``MemoryNotFound``."""

        def read(connection: apsw.Connection) -> Embedding:
            with transaction(connection):
                return read_pooled(connection, read_visible(connection, caller, memory_id, now).doc)

        return await self._read(read)

    async def list(self, caller: Caller, plan: ListPlan) -> ListPage:
        """Return one page."""
        listed = list_visible if plan.as_of is None else list_as_of
        return await self._read(lambda connection: listed(connection, caller, plan))

    async def search(self, caller: Caller, plan: SearchPlan) -> SearchPage:
        """Return one page of hits, best first."""
        return await self._read(lambda connection: self._search(connection, caller, plan))

    async def find_external(self, caller: Caller, external_id: str, now: datetime) -> Memory | None:
        """Return the caller's own memory of that external id, or None."""
        return await self._read(lambda connection: read_external(connection, caller, external_id, now))

    async def get_many(
        self, caller: Caller, memory_ids: Sequence[str], now: datetime, max_bytes: int = MAX_ANSWER_BYTES
    ) -> Batch:
        """Return memories by id, in the order asked."""
        return await self._read(lambda connection: read_batch(connection, caller, memory_ids, now, max_bytes))

    async def count(self, caller: Caller, now: datetime, selection: Selection = ALL) -> int:
        """Return how many memories of *selection* the caller may see."""
        return await self._read(lambda connection: count_visible(connection, caller, now, selection))

    async def run(self, task: Callable[[Ground], Found]) -> Found:
        """Run *task* on the writer's thread, whole or not at all, and return its result once it is durable."""
        self._check_open()
        answer: Answer[Found] = Answer()
        self._writer.run(task, answer)
        return await answer.future

    async def run_alone(self, work: Callable[[apsw.Connection], None]) -> None:
        """Run *work* on the writer's thread outside any transaction; writes wait meanwhile."""
        self._check_open()
        with translated_errors():
            await asyncio.wrap_future(self._writer.run_alone(work))

    async def scrub(self) -> None:
        """Rewrite the file without the bytes of what was erased; writes wait meanwhile. Raises UNAVAILABLE while a snapshot is open."""

        def work(connection: apsw.Connection) -> None:
            if self._snapshots:
                raise BackendUnavailable("a backup still reads what was erased; it is tried again", retry_after_s=5.0)
            erasure.scrub(connection)

        await self.run_alone(work)

    @contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """Yield a connection that sees the state of this moment, to a thread that may block; writes go on beside it."""
        self._check_open()
        connection = connect(self._path, self._vfs, read_only=True)

        def begin(_: apsw.Connection) -> None:
            connection.execute("BEGIN")
            last_seq(connection)  # the first read fixes what the transaction sees
            self._count_snapshots(1)

        try:
            self._writer.run_alone(begin).result()  # never while the file is rewritten
            try:
                yield connection
            finally:
                self._count_snapshots(-1)
        finally:
            connection.close()

    async def retire(self, work: Callable[[apsw.Connection], None]) -> None:
        """Run *work* as ``run_alone`` does; if it returns, refuse every call from then on, until the folder is opened anew."""

        def last(connection: apsw.Connection) -> None:
            work(connection)
            self._writer.refuse(_REPLACED)

        await self.run_alone(last)
        self._retired = True

    def _count_snapshots(self, change: int) -> None:
        with self._counting:
            self._snapshots += change

    async def read(self, read: Callable[[apsw.Connection], Found]) -> Found:
        """Run *read* on a connection that cannot write, on a thread."""
        return await self._read(read)

    async def _read(self, read: Callable[[apsw.Connection], Found]) -> Found:
        return await self._in_thread(partial(self._with_connection, read))

    async def _scan(self, caller: Caller, scan: Scan[Found]) -> Found:
        """Run *scan*, which may take seconds, on a thread of its own; its connection sees exactly what the view shows."""

        def work() -> Found:
            with translated_errors(), transaction(self._scanning):
                with self._writer.publication:
                    last_seq(self._scanning)  # the first read fixes what the transaction sees
                    view = self._index.view(caller)
                return scan(self._scanning, self._index, view)

        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._scanner, work)

    async def _in_thread(self, call: Callable[[], Found]) -> Found:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    def _check_open(self) -> None:
        if self._closed:
            raise BackendUnavailable("the memory store is closed")
        if self._retired:
            raise BackendUnavailable(_REPLACED, retry_after_s=2.0)

    def _with_connection(self, read: Callable[[apsw.Connection], Found]) -> Found:
        connection = self._idle.get()
        try:
            with translated_errors():
                return read(connection)
        finally:
            self._idle.put(connection)

    def _search(self, connection: apsw.Connection, caller: Caller, plan: SearchPlan) -> SearchPage:
        for _ in range(_TRIES if plan.filter == EVERYTHING else 0):
            chosen = _chosen(
                connection, caller, plan
            )  # before the view: what stopped holding since is noticed by its row
            page = self._page(connection, caller, plan, self._index.view(caller), chosen)
            if page is not None:
                return page
        with transaction(connection):
            with self._writer.publication:
                last_seq(connection)  # the first read fixes what the transaction sees
                view = self._index.view(caller)
            page = self._page(connection, caller, plan, view, _chosen(connection, caller, plan))
        if page is None:
            raise DataLoss("the search indexes do not equal the rows; restart the service")
        return page

    def _page(
        self,
        connection: apsw.Connection,
        caller: Caller,
        plan: SearchPlan,
        view: IndexView,
        chosen: Chosen | None,
    ) -> SearchPage | None:
        """Return the page as of *view*, or None when one of its rows has changed since. Raises ``SpaceMoved``."""
        if plan.embedding is not None and view.space not in {"", plan.embedding.space}:
            raise SpaceMoved(plan.embedding.space, view.space)
        ranked = rank(view.segments, view.seq, plan, self._index.words, chosen)
        found = read_many(connection, caller, [row.doc for row in ranked.rows], plan.now)
        hits = []
        for row in ranked.rows:
            memory = found.get(row.doc)
            if memory is None or memory.revision != row.revision or not _holds(memory, plan):
                return None
            hits.append(
                SearchHit(
                    memory,
                    row.score,
                    row.rank_score,
                    row.vector_rank,
                    row.keyword_rank,
                    row.keyword_score,
                    row.matched_part,
                )
            )
        snapshot = view.seq if plan.snapshot is None else plan.snapshot
        return SearchPage(tuple(hits), ranked.more, snapshot, ranked.cut_by_threshold, ranked.cut_by_min_score)


def _chosen(connection: apsw.Connection, caller: Caller, plan: SearchPlan) -> Chosen | None:
    """Return what the rows alone can tell of *plan*'s choice; None: no row is left out."""
    if plan.filter != EVERYTHING:
        return Chosen(matching_docs(connection, caller, plan))
    if plan.valid_at is None:
        return None
    docs = invalid_docs(connection, caller, plan)
    return Chosen(docs, inverted=True) if len(docs) else None


def _holds(memory: Memory, plan: SearchPlan) -> bool:
    return plan.valid_at is None or memory.holds_at(plan.valid_at)


class _Connections:
    """Opens connections to one file, closed by *stack*."""

    def __init__(self, path: Path, vfs: str | None, stack: ExitStack) -> None:
        self._path = path
        self._vfs = vfs
        self._stack = stack

    def open(self, *, read_only: bool = False) -> apsw.Connection:
        connection = connect(self._path, self._vfs, read_only=read_only)
        self._stack.callback(connection.close)
        return connection


def _lock_folder(folder: Path) -> FolderLock:
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True)
            sync_folder(folder.parent)
        return FolderLock(folder)
    except OSError as error:
        raise FolderUnusable(
            f"the data folder {folder} cannot be used: {error.strerror}", folder=str(folder)
        ) from error
