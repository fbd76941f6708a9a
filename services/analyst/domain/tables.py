"""The use cases of tables in the local warehouse: load, list, drop, and a first semantic model drafted from them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.analyst.domain.warehouse import NoLocalWarehouse, NotTableOwner, Table, TableNotFound, TableStore
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, Violation

MAX_NAME = 255
_PART = r"[A-Za-z_][A-Za-z0-9_$]*"
_NAME = re.compile(rf"{_PART}(\.{_PART}){{0,2}}")


@dataclass(frozen=True, slots=True)
class Loading:
    """What a caller wants to load; an empty *kind* is found out."""

    table: str
    kind: str = ""
    null_text: str = ""


class Tables:
    """Tables that users load for themselves and everyone else to ask about."""

    def __init__(self, store: TableStore | None, operator_role: str) -> None:
        self._store = store
        self._operator_role = operator_role

    def all(self) -> Sequence[Table]:
        """Return all, by name; none where the warehouse is not the local one."""
        return () if self._store is None else self._store.tables()

    def check(self, caller: Caller, loading: Loading) -> None:
        """Return if *caller* may load that. Raises ``NoLocalWarehouse``, ``InvalidInput``, ``NotTableOwner``."""
        self._local()
        if len(loading.table) > MAX_NAME or not _NAME.fullmatch(loading.table):
            description = "must be letters, digits, _ and $, not a digit first, or three such parts with dots between"
            raise InvalidInput(f"table {description}", violations=[Violation("config.table", description)])
        present = self._find(loading.table)
        if present is not None:
            self._check_owner(caller, present)

    async def load(self, caller: Caller, loading: Loading, file: Path) -> Table:
        """Make *file* a table. Raises ``FileUnreadable`` and what ``check`` raises."""
        self.check(caller, loading)
        return await self._local().load(loading.table, caller.user, file, loading.kind, loading.null_text)

    async def drop(self, caller: Caller, name: str) -> None:
        """Drop a table. Raises ``TableNotFound``, ``NotTableOwner``."""
        store, table = self._local(), self.find(name)
        self._check_owner(caller, table)
        await store.drop([table.name])

    def find(self, name: str) -> Table:
        """Return the table called *name*, ignoring case. Raises ``TableNotFound``."""
        found = self._find(name)
        if found is None:
            raise TableNotFound(f"there is no table {name!r}", table=name)
        return found

    def _find(self, name: str) -> Table | None:
        return next((table for table in self.all() if table.name.casefold() == name.casefold()), None)

    def _local(self) -> TableStore:
        if self._store is None:
            raise NoLocalWarehouse("tables are loaded into the local warehouse only; this one is Snowflake's")
        return self._store

    def _check_owner(self, caller: Caller, table: Table) -> None:
        if caller.user != table.owner_user and self._operator_role not in caller.roles:
            raise NotTableOwner(f"{table.name!r} was loaded by another user, who may replace it; operators may too")
