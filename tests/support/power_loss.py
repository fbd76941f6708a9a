"""A disk that forgets: records what SQLite writes and syncs, and makes the folders that a power loss could leave.

A sync makes everything written to its file before it durable, and (as SQLite's own file system does for a new log) the folder's
entries too. Of what was not synced, any subset of 512-byte sectors may have reached the disk, and the file's size may be the
old or the new one.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

import apsw

SECTOR = 512


@dataclass(frozen=True)
class Operation:
    """One change of a file: ``write`` (data at offset), ``truncate`` (to offset), ``create``, ``delete`` or ``sync``.

    A sync covers what was done before operation number *offset*: another thread may write while it runs.
    """

    kind: str
    name: str
    offset: int = 0
    data: bytes = b""


@dataclass
class Journal:
    """All operations in order; ``len(operations)`` names a moment."""

    operations: list[Operation] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def add(self, operation: Operation) -> None:
        """Record *operation*."""
        self.operations.append(operation)


class RecordedFile(apsw.VFSFile):
    """A file that works as ever and is recorded; the log's index in shared memory is not, for a power loss ends it."""

    def __init__(self, journal: Journal, name: str | apsw.URIFilename, flags: list[int]) -> None:
        super().__init__("", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._journal = journal
        self._name = Path(path).name
        if self._name not in journal.names:
            journal.names.add(self._name)
            journal.add(Operation("create", self._name))

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  # SQLite's name
        super().xWrite(data, offset)
        self._journal.add(Operation("write", self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802  # SQLite's name
        super().xTruncate(newsize)
        self._journal.add(Operation("truncate", self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802  # SQLite's name
        begun = len(self._journal.operations)
        super().xSync(flags)
        self._journal.add(Operation("sync", self._name, begun))


class RecordedDisk(apsw.VFS):
    """A SQLite file system that records every file but temporary ones into *journal*."""

    def __init__(self, name: str, journal: Journal) -> None:
        super().__init__(name, "")
        self._journal = journal

    def xOpen(  # noqa: N802  # SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        if name is None:
            return apsw.VFSFile("", name, flags)
        return RecordedFile(self._journal, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802  # SQLite's signature
        super().xDelete(filename, syncdir)
        name = Path(filename).name
        self._journal.names.discard(name)
        self._journal.add(Operation("delete", name))
        if syncdir:
            self._journal.add(Operation("sync", name, len(self._journal.operations)))


@dataclass
class _Entry:
    """A file on the disk: what is durable, and what was done to it since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, Operation]] = field(default_factory=list)
    is_durable: bool = False  # its entry in the folder
    is_deleted: bool = False


class Disk:
    """The state after the first operations of a journal, played forward."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._played = 0

    def play(self, operation: Operation) -> None:
        """Do one more operation."""
        entry = self._entries.setdefault(operation.name, _Entry())
        match operation.kind:
            case "create":
                self._create(operation.name, entry)
            case "delete":
                entry.is_deleted = True
            case "sync":
                self._sync(entry, operation.offset)
            case _:
                entry.pending.append((self._played, operation))
        self._played += 1

    def _create(self, name: str, old: _Entry) -> None:
        if old.is_deleted:
            self._entries[name] = _Entry()

    def _sync(self, synced: _Entry, begun: int) -> None:
        for number, operation in synced.pending:
            if number < begun:
                _do(synced.durable, operation)
        synced.pending = [(number, operation) for number, operation in synced.pending if number >= begun]
        for name, entry in list(self._entries.items()):
            entry.is_durable = True
            if entry.is_deleted:
                del self._entries[name]

    def lose_power(self, folder: Path, rng: random.Random) -> None:
        """Write to *folder* one of the states that the disk could be in now."""
        folder.mkdir()
        for name, entry in self._entries.items():
            survives = rng.random() < 0.5 if entry.is_deleted or not entry.is_durable else True
            if survives:
                (folder / name).write_bytes(_remains(entry, rng))


def _remains(entry: _Entry, rng: random.Random) -> bytes:
    content = bytearray(entry.durable)
    keep = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
    for _, operation in entry.pending:
        if operation.kind == "truncate":
            if rng.random() < keep:
                _do(content, operation)
            continue
        for start in range(0, len(operation.data), SECTOR):
            if rng.random() < keep:
                sector = operation.data[start : start + SECTOR]
                _do(content, Operation("write", operation.name, operation.offset + start, sector))
    return bytes(content)


def _do(content: bytearray, operation: Operation) -> None:
    if operation.kind == "truncate":
        del content[operation.offset :]
        return
    end = operation.offset + len(operation.data)
    content.extend(bytes(max(0, end - len(content))))
    content[operation.offset : end] = operation.data
