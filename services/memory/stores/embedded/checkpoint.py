"""Moves committed pages from the log into the database beside the writer, so that no commit waits for it."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor

import apsw

_PAGE_BYTES = 4096
START_BYTES = 8 << 20
# A log that is never fully copied never starts over: at so many times the size the writer copies the rest itself.
_LIMIT_FACTOR = 8

_log = logging.getLogger(__name__)


class Checkpointer:
    """Checkpoints on a thread and connection of its own once the log of *writer* has *start_bytes*."""

    def __init__(self, writer: apsw.Connection, own: apsw.Connection, start_bytes: int) -> None:
        self._writer = writer
        self._own = own
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="store-checkpoint")
        self._running: Future[None] | None = None
        self._pages = 0
        self._start_pages = start_bytes // _PAGE_BYTES
        writer.set_wal_hook(self._note_pages)

    def after_commit(self) -> None:
        """Start or finish a checkpoint if it is time; called by the writer between commits."""
        if self._pages < self._start_pages or (self._running is not None and not self._running.done()):
            return
        if self._running is not None and self._pages >= _LIMIT_FACTOR * self._start_pages:
            _checkpoint(self._writer)
            self._running = None
        else:
            self._running = self._executor.submit(_checkpoint, self._own)

    def close(self) -> None:
        """Wait for a running checkpoint."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _note_pages(self, _connection: apsw.Connection, _schema: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK


def _checkpoint(connection: apsw.Connection) -> None:
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    except apsw.Error as error:
        # Nothing is lost: the pages stay in the log, and a later commit tries again.
        _log.warning("checkpoint failed", exc_info=error)
