"""Sessions: who speaks, in which role, with which defaults, parameters, variables and transaction."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from services.emulator import errors
from services.emulator.engine.catalog import Catalog
from services.emulator.engine.objects import Grant, Schema, Table, Thing
from services.emulator.engine.parameters import DEFAULTS, coerce
from services.emulator.engine.store import Transaction, View
from services.emulator.sql.names import shown
from services.emulator.sql.types import SqlType


@dataclass(slots=True)
class Session:
    """One sign-in. ``service_role`` is set in caller's-rights sessions: the role whose caller grants bound what is allowed."""

    session_id: int
    user: str
    role: str
    catalog: Catalog
    warehouse: str = ""
    database: str = ""
    schema: str = ""
    secondary: str = "NONE"
    service_role: str = ""
    user_type: str = "PERSON"
    application: str = ""
    parameters: dict[str, bool | int | str] = field(default_factory=dict)
    overrides: dict[str, bool | int | str] = field(default_factory=dict)  # of the statement under way
    variables: dict[str, tuple[object, SqlType]] = field(default_factory=dict)
    transaction: Transaction | None = None
    implicit: bool = False
    last_query: str = ""
    closed: bool = False
    strict_vector_order: bool = False
    cursor: Any = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    started: float = field(default_factory=time.time)
    used: float = field(default_factory=time.time)
    sequences: dict[str, int] = field(default_factory=dict)
    temporary: dict[tuple[str, str, str], Table] = field(default_factory=dict)

    def parameter(self, name: str) -> bool | int | str:
        return self.overrides.get(name, self.parameters.get(name, DEFAULTS[name]))

    def set_parameter(self, name: str, value: object) -> None:
        self.parameters[name] = coerce(name, value)

    def roles(self) -> set[str]:
        """Return all roles in force: the primary one with what it holds, and the secondary ones."""
        held = self.catalog.inherited(self.role)
        if self.secondary == "ALL":
            user = self.catalog.users.get(self.user)
            for role in user.roles if user else ():
                held |= self.catalog.inherited(role)
        return held

    def qualify(self, parts: tuple[str, ...], action: str = "SELECT") -> tuple[str, str, str]:
        """Return database, schema and name that *parts* stand for."""
        if len(parts) == 3:  # noqa: PLR2004 - database, schema, name
            return parts[0], parts[1] or "PUBLIC", parts[2]
        if not self.database:
            raise errors.no_database(action)
        if len(parts) == 2:  # noqa: PLR2004
            return self.database, parts[0], parts[1]
        if not self.schema:
            raise errors.no_schema(action)
        return self.database, self.schema, parts[0]

    def find_schema(self, parts: tuple[str, ...]) -> tuple[str, Schema]:
        """Return the database's name and the schema that one or two *parts* name."""
        if len(parts) == 1 and not self.database:
            raise errors.no_database("this operation")
        database, name = (self.database, parts[0]) if len(parts) == 1 else (parts[0], parts[1])
        self.may_see_database(database, name)
        return database, self.catalog.schema(database, name)

    def may_see_database(self, database: str, schema: str = "") -> None:
        if database not in self.catalog.databases or not self.allowed("USAGE", "DATABASE", database):
            raise errors.missing("Database", shown(database))
        if schema and (
            schema not in self.catalog.databases[database].schemas
            or not self.allowed("USAGE", "SCHEMA", f"{database}.{schema}")
        ):
            raise errors.missing("Schema", f"{shown(database)}.{shown(schema)}")

    def find_table(self, parts: tuple[str, ...], kind: str = "Object") -> Table:
        """Return the table or view, or refuse as if it did not exist."""
        path = self.qualify(parts)
        if (temporary := self.temporary.get(path)) is not None:
            return temporary
        said = ".".join(shown(part) for part in (path if len(parts) > 1 else path[2:]))
        database = self.catalog.databases.get(path[0])
        schema = database.schemas.get(path[1]) if database else None
        if database is None or not self.allowed("USAGE", "DATABASE", path[0]):
            raise errors.missing("Database", shown(path[0]))
        if schema is None or not self.allowed("USAGE", "SCHEMA", f"{path[0]}.{path[1]}"):
            raise errors.missing("Schema", f"{shown(path[0])}.{shown(path[1])}")
        table = schema.tables.get(path[2])
        if table is None:
            raise errors.missing(kind, said)
        return table

    def find_thing(self, kind: str, parts: tuple[str, ...]) -> Thing:
        path = self.qualify(parts)
        schema = self.catalog.databases[path[0]].schemas.get(path[1]) if path[0] in self.catalog.databases else None
        thing = schema.things.get((kind, path[2])) if schema else None
        if thing is None:
            raise errors.missing(
                kind.title() if kind != "SEQUENCE" else "Sequence",
                ".".join(shown(part) for part in (path if len(parts) > 1 else path[2:])),
            )
        return thing

    def allowed(self, privilege: str, kind: str, name: str, owner: str = "") -> bool:
        """Whether the roles in force hold *privilege*, and in a caller's-rights session the service's role a caller grant too."""
        roles = self.roles()
        if not self._granted(privilege, kind, name, owner, roles, caller=False):
            return False
        if not self.service_role:
            return True
        return self._granted(privilege, kind, name, "", self.catalog.inherited(self.service_role), caller=True)

    def _granted(self, privilege: str, kind: str, name: str, owner: str, roles: set[str], *, caller: bool) -> bool:
        if not caller and ("ACCOUNTADMIN" in roles or (owner and owner in roles)):
            return True
        if not caller and kind in {"DATABASE", "SCHEMA"} and self._owns(kind, name, roles):
            return True
        wanted = {privilege, "ALL", "OWNERSHIP"}
        if kind in {"DATABASE", "SCHEMA"} and privilege == "USAGE" and name.split(".", maxsplit=1)[0] == "SNOWFLAKE":
            return True
        if kind == "SCHEMA" and privilege == "USAGE" and name.endswith(".INFORMATION_SCHEMA"):
            return True
        return any(
            Grant(word, kind, name, role, caller, option) in self.catalog.grants
            for word in wanted
            for role in roles
            for option in (False, True)
        )

    def _owns(self, kind: str, name: str, roles: set[str]) -> bool:
        database, _, schema = name.partition(".")
        held = self.catalog.databases.get(database)
        if held is None:
            return False
        if kind == "SCHEMA":
            found = held.schemas.get(schema)
            return found is not None and found.owner in roles and bool(found.owner)
        return held.owner in roles and bool(held.owner)

    def view(self, commit: int) -> View:
        return View(commit, self.transaction.mark if self.transaction else 0)
