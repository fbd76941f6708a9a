"""A SQLite file system whose disk fills up or fails on demand."""

from dataclasses import dataclass

import apsw


@dataclass
class Fault:
    """What happens to the log from now on: nothing, no space left, or writes or syncs that fail."""

    kind: str = ""


class _FaultyFile(apsw.VFSFile):
    def __init__(self, fault: Fault, name: str | apsw.URIFilename, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._fault = fault
        self._is_log = bool(flags[0] & apsw.SQLITE_OPEN_WAL)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  # SQLite's name
        if self._is_log and self._fault.kind == "full":
            raise apsw.FullError
        if self._is_log and self._fault.kind == "write":
            raise apsw.IOError
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802  # SQLite's name
        if self._is_log and self._fault.kind == "sync":
            raise apsw.IOError
        super().xSync(flags)


class FaultyDisk(apsw.VFS):
    """Works as ever until *fault* says otherwise."""

    def __init__(self, name: str, fault: Fault) -> None:
        super().__init__(name, "")
        self._fault = fault

    def xOpen(  # noqa: N802  # SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        if name is None:
            return apsw.VFSFile("", name, flags)
        return _FaultyFile(self._fault, name, flags)
