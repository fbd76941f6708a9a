"""Statements on their way into the warehouse: checked, confined, bounded in rows and time."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from services.analyst.domain.guard import (
    Columns,
    TableName,
    check,
    confine,
    limited,
    parse_statement,
    render,
    tables_read,
)
from services.analyst.domain.warehouse import MAX_ROWS, Rows, StatementTooLarge, Warehouse
from services.mesh.errors import FailedPrecondition

LOOK_S = 5.0  # of a look at the data that no caller has asked for by itself


class TableNotLoaded(FailedPrecondition):
    """A base table of the model is not in the warehouse."""

    reason = "TABLE_NOT_LOADED"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement that may run."""

    shown: str  # over base tables, for people
    run: str  # over their allowed columns
    tree: exp.Query


class Statements:
    """Runs what the guard lets through."""

    def __init__(self, warehouse: Warehouse, timeout_s: float) -> None:
        self._warehouse = warehouse
        self._timeout_s = timeout_s

    @property
    def dialect(self) -> str:
        """The warehouse's."""
        return self._warehouse.dialect

    @property
    def generation(self) -> int:
        """Changes whenever a table of the warehouse does."""
        return self._warehouse.generation

    def prepare(
        self,
        query: exp.Query | str,
        allowed: Mapping[TableName, Columns],
        *,
        dialect: str = "",
        max_rows: int = MAX_ROWS,
    ) -> Prepared:
        """Return *query* ready to run; text is in *dialect*. Takes CPU. Raises ``StatementRefused``, ``TableNotLoaded``."""
        tree = parse_statement(query, dialect or self.dialect) if isinstance(query, str) else query
        check(tree, allowed)
        read = tables_read(tree, allowed)
        places = self._warehouse.places(read)
        missing = sorted(name.dotted for name in read if name not in places)
        if missing:
            raise TableNotLoaded(
                f"{', '.join(missing)} is not in the warehouse; `memorybox data load` puts a table there"
            )
        confined = limited(confine(tree, allowed, places), max_rows + 1)
        return Prepared(render(tree, self.dialect), render(confined, self.dialect), tree)

    async def run(self, prepared: Prepared, *, max_rows: int = MAX_ROWS) -> Rows:
        """Return the rows. Raises ``StatementFailed``, ``StatementTooLarge``."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._warehouse.run(prepared.run, max_rows=max_rows)
        except TimeoutError as error:
            raise StatementTooLarge(f"the statement took longer than {self._timeout_s:g} s and was ended") from error

    def run_blocking(self, query: exp.Query, allowed: Mapping[TableName, Columns], max_rows: int = MAX_ROWS) -> Rows:
        """Prepare and run on the calling thread, for a while that a person would wait."""
        prepared = self.prepare(query, allowed, max_rows=max_rows)
        timeout_s = min(self._timeout_s, LOOK_S)
        return self._warehouse.run_blocking(prepared.run, max_rows=max_rows, timeout_s=timeout_s)
