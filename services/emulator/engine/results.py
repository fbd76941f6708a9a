"""What a statement answers with, before any protocol has shaped it."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from services.emulator.sql import types as t
from services.emulator.sql.scope import Output
from services.emulator.sql.types import SqlType

# statementTypeId as the connectors read it: 0x3000 and what follows are DML.
SELECT, INSERT, UPDATE, DELETE, MERGE, MULTI_INSERT = 0x1000, 0x3100, 0x3200, 0x3300, 0x3400, 0x3500
COPY, UNLOAD, DDL, SESSION, TRANSACTION, SHOW, USE, DESCRIBE = (
    0x3600,
    0x3700,
    0x6000,
    0x4000,
    0x5000,
    0x2100,
    0x4300,
    0x2200,
)
MULTI = 0xA000


@dataclass(slots=True)
class Result:
    """Rows as an Arrow table of the engine's types, or as plain Python values."""

    outputs: tuple[Output, ...]
    kind: int = SELECT
    table: pa.Table | None = None
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    stats: dict[str, int] = field(default_factory=dict)
    query_id: str = ""
    children: list[str] = field(default_factory=list)  # query ids of a script's statements
    children_kinds: list[int] = field(default_factory=list)
    binds: int = 0

    @property
    def count(self) -> int:
        return self.table.num_rows if self.table is not None else len(self.rows)


def status(text: str, kind: int = DDL) -> Result:
    """Return the one row with which DDL answers."""
    return Result((Output("status", t.VARCHAR, nullable=False),), kind, rows=[(text,)])


def counted(kind: int, **counts: int) -> Result:
    """Return the row with which DML answers; keywords are column names with underscores for blanks."""
    names = [name.replace("_", " ") for name in counts]
    outputs = tuple(Output(name, t.number(18), nullable=False) for name in names)
    stats = {"numRowsInserted": 0, "numRowsUpdated": 0, "numRowsDeleted": 0, "numDmlDuplicates": 0}
    for name, count in counts.items():
        for word in ("Inserted", "Updated", "Deleted"):
            if name.endswith(word.lower()):
                stats[f"numRows{word}"] = count
    return Result(outputs, kind, rows=[tuple(counts.values())], stats=stats)


def listed(columns: dict[str, SqlType], rows: list[dict[str, Any]], kind: int = SHOW) -> Result:
    """Return the rows of SHOW or DESCRIBE."""
    outputs = tuple(Output(name, of, nullable=True) for name, of in columns.items())
    return Result(outputs, kind, rows=[tuple(row.get(name) for name in columns) for row in rows])
