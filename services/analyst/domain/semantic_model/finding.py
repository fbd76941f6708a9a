"""What is wrong or unusual in a semantic model, and where."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """ERROR: the model cannot be used as it stands. WARNING: usable, but somebody should look."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark. *path* is like ``tables[0].dimensions[2].expr``; *line* and *column* count from 1, 0 when there is no place."""

    severity: Severity
    message: str
    path: str = ""
    line: int = 0
    column: int = 0


class Places:
    """Where the things of a model stand in its text."""

    def __init__(self) -> None:
        self._of_path: dict[str, tuple[int, int]] = {}
        self._path_of: dict[int, str] = {}  # by id: equal things may stand in two places
        self._kept: list[object] = []  # so that no id is used again

    def put(self, path: str, line: int, column: int) -> None:
        """Note where the value of *path* begins."""
        self._of_path[path] = (line, column)

    def stand(self, thing: object, path: str) -> None:
        """Note that *thing* was read from *path*."""
        self._path_of[id(thing)] = path
        self._kept.append(thing)

    def finding(self, severity: Severity, message: str, thing: object, key: str = "") -> Finding:
        """Return a finding about *thing*, or about its entry *key* when the text has one."""
        path = self._path_of.get(id(thing), "")
        for candidate in (f"{path}.{key}" if path else key, path):
            if candidate in self._of_path:
                return Finding(severity, message, candidate, *self._of_path[candidate])
        return Finding(severity, message, path)
