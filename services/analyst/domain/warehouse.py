"""Where the data are: tables, and statements over them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from services.analyst.domain.guard import Place, TableName
from services.mesh.errors import FailedPrecondition, InvalidInput, NotFound, PermissionDenied, ResourceExhausted

MAX_ROWS = 10_000
MAX_RESULT_BYTES = 8 << 20
MAX_ROW_BYTES = 1 << 20  # so that a page of one row fits a message


class TableNotFound(NotFound):
    """The warehouse has no such table."""

    reason = "TABLE_NOT_FOUND"


class NotTableOwner(PermissionDenied):
    """Somebody else loaded the table."""

    reason = "NOT_TABLE_OWNER"


class StatementFailed(InvalidInput):
    """The warehouse cannot run the statement; the message is what it says of it."""

    reason = "STATEMENT_FAILED"


class StatementTooLarge(ResourceExhausted):
    """The statement needs more memory or time than one may take."""

    reason = "STATEMENT_TOO_LARGE"


class FileUnreadable(InvalidInput):
    """A file is not what it should be; the message says where."""

    reason = "FILE_UNREADABLE"


class NoLocalWarehouse(FailedPrecondition):
    """Tables are loaded into the local warehouse only."""

    reason = "NO_LOCAL_WAREHOUSE"


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column and its type in the warehouse's words."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Rows:
    """A result, or its beginning when ``truncated``. Values are Python's."""

    columns: tuple[ColumnType, ...]
    rows: Sequence[tuple[Any, ...]]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the warehouse."""

    name: str
    owner_user: str
    row_count: int
    columns: tuple[ColumnType, ...]
    loaded_at: datetime


class Warehouse(Protocol):
    """Runs statements that the guard has checked."""

    @property
    def dialect(self) -> str:
        """In which SQL it is asked: ``duckdb`` or ``snowflake``."""
        ...

    @property
    def generation(self) -> int:
        """Changes whenever a table does."""
        ...

    def places(self, names: Iterable[TableName]) -> Mapping[TableName, Place]:
        """Return where those of *names* are that there are."""
        ...

    async def run(self, sql: str, *, max_rows: int = MAX_ROWS) -> Rows:
        """Run a reading statement; it ends when the caller is cancelled. Raises ``StatementFailed``, ``StatementTooLarge``."""
        ...

    def run_blocking(self, sql: str, *, max_rows: int, timeout_s: float) -> Rows:
        """Do the same on the calling thread, for at most *timeout_s*."""
        ...


class TableStore(Protocol):
    """A warehouse that keeps tables which its users load."""

    def tables(self) -> Sequence[Table]:
        """Return all, by name."""
        ...

    async def load(self, name: str, owner_user: str, file: Path, kind: str, null_text: str) -> Table:
        """Make *file* the table *name*, in place of one of that name. Raises ``FileUnreadable``."""
        ...

    async def drop(self, names: Iterable[str]) -> None:
        """Drop tables."""
        ...

    async def rename_owner(self, owner_user: str, to: str) -> None:
        """Give the tables of *owner_user* another owner."""
        ...

    async def scrub(self) -> None:
        """Remove the bytes of what was dropped or renamed from the disk."""
        ...
