"""Wakes watchers when a commit may concern them."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock

from services.memory.domain.memory import AccessLevel
from services.memory.stores.embedded.entry import IndexChange, PartitionKey
from services.mesh.caller import Caller


class BellRope:
    """One watcher's, made in its event loop."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    async def wait(self) -> None:
        """Return when the bell rang for this watcher since this returned last."""
        await self._rung.wait()
        self._rung.clear()

    def concerns(self, key: PartitionKey) -> bool:
        """Return whether the watcher may read rows of partition *key*."""
        if key.access_level is AccessLevel.PUBLIC or key.owner_user == self._caller.user:
            return True
        return not self._caller.roles.isdisjoint(key.reader_roles)

    def pull(self) -> None:
        """Wake the watcher, from any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits there
            self._loop.call_soon_threadsafe(self._rung.set)


class Bell:
    """Rings for those whom a commit may concern: a watcher who may see none of its partitions sleeps on."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._ropes: set[BellRope] = set()

    @contextmanager
    def subscribe(self, caller: Caller) -> Iterator[BellRope]:
        """Return what wakes *caller*'s watcher."""
        rope = BellRope(caller)
        with self._lock:
            self._ropes.add(rope)
        try:
            yield rope
        finally:
            with self._lock:
                self._ropes.discard(rope)

    def ring(self, changes: Iterable[IndexChange]) -> None:
        """Wake everyone whom *changes*, which are committed, may concern."""
        with self._lock:
            if not self._ropes:
                return
            keys = {part.partition for change in changes for part in (change.removed, change.added) if part is not None}
            for rope in self._ropes:
                if any(map(rope.concerns, keys)):
                    rope.pull()
