"""Moves committed pages from the log into the database beside the writer, so that no commit waits for it."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor

import apsw

_PAGE_BYTES = 4096
_START_PAGES = (8 << 20) // _PAGE_BYTES
# A log that is never fully copied never starts over: beyond this size the writer copies the rest itself, between commits.
_LIMIT_PAGES = (64 << 20) // _PAGE_BYTES

_log = logging.getLogger(__name__)


class Checkpointer:
    """Checkpoints on a thread and connection of its own once the log of *writer* is long enough."""

    def __init__(self, writer: apsw.Connection, own: apsw.Connection) -> None:
        self._writer = writer
        self._own = own
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="store-checkpoint")
        self._running: Future[None] | None = None
        self._pages = 0
        writer.set_wal_hook(self._note_pages)

    def after_commit(self) -> None:
        """Start or finish a checkpoint if it is time; called by the writer between commits."""
        if self._pages < _START_PAGES or (self._running is not None and not self._running.done()):
            return
        if self._running is not None and self._pages >= _LIMIT_PAGES:
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
