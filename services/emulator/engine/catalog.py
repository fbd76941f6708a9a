"""The catalogue: finds objects by name, keeps them, and keeps what was dropped for UNDROP."""

import threading
from dataclasses import dataclass, field

from services.emulator import errors
from services.emulator.engine.objects import Database, Grant, Role, Schema, Table, Thing, User, Warehouse, now
from services.emulator.sql.names import shown

SYSTEM_ROLES = {
    "ACCOUNTADMIN": {"SECURITYADMIN", "SYSADMIN"},
    "SECURITYADMIN": {"USERADMIN"},
    "SYSADMIN": set(),
    "USERADMIN": set(),
    "PUBLIC": set(),
    "ORGADMIN": set(),
}


@dataclass(slots=True)
class Catalog:
    """Everything in the account that has a name. Guard changes with ``lock``."""

    databases: dict[str, Database] = field(default_factory=dict)
    dropped: list[Database] = field(default_factory=list)
    roles: dict[str, Role] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    warehouses: dict[str, Warehouse] = field(default_factory=dict)
    grants: set[Grant] = field(default_factory=set)
    account_things: dict[tuple[str, str], Thing] = field(default_factory=dict)  # integrations, compute pools, ...
    next_table: int = 1
    lock: threading.RLock = field(default_factory=threading.RLock)

    def database(self, name: str) -> Database:
        found = self.databases.get(name)
        if found is None:
            raise errors.missing("Database", shown(name))
        return found

    def schema(self, database: str, name: str) -> Schema:
        found = self.database(database).schemas.get(name)
        if found is None:
            raise errors.missing("Schema", f"{shown(database)}.{shown(name)}")
        return found

    def add_database(self, name: str, owner: str, **facts: object) -> Database:
        database = Database(name, owner, **facts)  # type: ignore[arg-type]
        database.schemas["INFORMATION_SCHEMA"] = Schema("INFORMATION_SCHEMA")
        database.schemas["PUBLIC"] = Schema("PUBLIC", owner)
        self.databases[name] = database
        return database

    def drop_database(self, name: str) -> None:
        database = self.databases.pop(name)
        database.dropped_on = now()
        self.dropped.append(database)

    def drop_schema(self, database: str, name: str) -> None:
        schema = self.databases[database].schemas.pop(name)
        schema.dropped_on = now()
        self.databases[database].dropped.append(schema)

    def drop_table(self, table: Table) -> None:
        schema = self.databases[table.database].schemas[table.schema]
        del schema.tables[table.name]
        table.dropped_on = now()
        if not table.is_view:
            schema.dropped.append(table)

    def new_id(self) -> int:
        with self.lock:
            self.next_table += 1
            return self.next_table

    def things(self, kind: str) -> list[Thing]:
        """Return all objects of a kind, wherever they are."""
        found = [thing for (held, _), thing in self.account_things.items() if held == kind]
        for database in self.databases.values():
            for schema in database.schemas.values():
                found += [thing for (held, _), thing in schema.things.items() if held == kind]
        return found

    def inherited(self, role: str) -> set[str]:
        """Return *role* and all that it holds, directly or not; every role holds PUBLIC."""
        reached, open_roles = {"PUBLIC"}, [role]
        while open_roles:
            name = open_roles.pop()
            if name in reached and name != "PUBLIC":
                continue
            reached.add(name)
            held = self.roles.get(name)
            open_roles += list(held.granted) if held else []
        return reached


def founded(user: str, password: str) -> Catalog:
    """Return a new account: its system roles, one administrator, one warehouse."""
    catalog = Catalog()
    for name, held in SYSTEM_ROLES.items():
        catalog.roles[name] = Role(name, granted=set(held))
    catalog.warehouses["COMPUTE_WH"] = Warehouse("COMPUTE_WH", "ACCOUNTADMIN")
    catalog.users[user] = User(user, password, "ACCOUNTADMIN", "COMPUTE_WH", roles=set(SYSTEM_ROLES))
    catalog.grants.add(Grant("USAGE", "WAREHOUSE", "COMPUTE_WH", "PUBLIC"))
    snowflake = catalog.add_database("SNOWFLAKE", "")
    for name in ("ACCOUNT_USAGE", "CORTEX", "CORE", "LOCAL", "ML", "TELEMETRY", "ORGANIZATION_USAGE"):
        snowflake.schemas[name] = Schema(name)
    return catalog
