"""Objects of an account: databases, schemas, tables, views and everything else that has a name."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from services.emulator.sql.types import SqlType


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Column:
    """A column of a table; ``physical`` is its name in the engine and outlives renaming."""

    name: str
    type: SqlType
    physical: str
    nullable: bool = True
    default: str = ""  # SQL text
    identity: str = ""  # name of the sequence that fills it
    comment: str = ""
    masking: tuple[str, str, str] | None = None
    key: str = ""  # "PRIMARY", "UNIQUE" or empty; never enforced
    written: str = ""  # the type as result of a virtual column's expression


@dataclass(slots=True)
class Table:
    """A table or view; a view has ``text`` and no rows of its own."""

    table_id: int
    database: str
    schema: str
    name: str
    kind: str = "TABLE"  # TABLE, TRANSIENT, TEMPORARY, VIEW, MATERIALIZED VIEW
    columns: list[Column] = field(default_factory=list)
    owner: str = ""
    comment: str = ""
    text: str = ""
    query: str = ""
    secure: bool = False
    created_on: datetime = field(default_factory=now)
    dropped_on: datetime | None = None
    born: int = 0  # commit number at which it came to be
    cluster_by: str = ""
    retention_days: int = 1
    policy: tuple[tuple[str, str, str], tuple[str, ...]] | None = None
    constraints: list[dict[str, Any]] = field(default_factory=list)
    session_id: int = 0  # of the session that owns a temporary table
    tags: dict[str, str] = field(default_factory=dict)
    next_column: int = 0

    @property
    def physical(self) -> str:
        return f"t{self.table_id}"

    @property
    def is_view(self) -> bool:
        return self.kind.endswith("VIEW")

    @property
    def path(self) -> tuple[str, str, str]:
        return self.database, self.schema, self.name

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    def add(self, name: str, kind: SqlType, *, nullable: bool = True) -> Column:
        self.next_column += 1
        column = Column(name, kind, f"c{self.next_column}", nullable)
        self.columns.append(column)
        return column


@dataclass(slots=True)
class Thing:
    """Any other named object: sequence, stage, policy, task, service, function, ...; its facts are in ``facts``."""

    kind: str
    database: str
    schema: str
    name: str
    owner: str = ""
    comment: str = ""
    created_on: datetime = field(default_factory=now)
    dropped_on: datetime | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> tuple[str, str, str]:
        return self.database, self.schema, self.name


@dataclass(slots=True)
class Schema:
    name: str
    owner: str = ""
    comment: str = ""
    kind: str = ""  # TRANSIENT or empty
    created_on: datetime = field(default_factory=now)
    dropped_on: datetime | None = None
    retention_days: int = 1
    tables: dict[str, Table] = field(default_factory=dict)
    things: dict[tuple[str, str], Thing] = field(default_factory=dict)
    dropped: list[Table] = field(default_factory=list)


@dataclass(slots=True)
class Database:
    name: str
    owner: str = ""
    comment: str = ""
    kind: str = ""
    created_on: datetime = field(default_factory=now)
    dropped_on: datetime | None = None
    retention_days: int = 1
    schemas: dict[str, Schema] = field(default_factory=dict)
    dropped: list[Schema] = field(default_factory=list)


@dataclass(slots=True)
class Role:
    name: str
    owner: str = ""
    comment: str = ""
    created_on: datetime = field(default_factory=now)
    granted: set[str] = field(default_factory=set)  # roles that this one holds


@dataclass(slots=True)
class User:
    name: str
    password: str = ""
    default_role: str = "PUBLIC"
    default_warehouse: str = ""
    default_namespace: str = ""
    secondary_roles: str = "ALL"
    public_keys: list[str] = field(default_factory=list)
    roles: set[str] = field(default_factory=set)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)  # programmatic access tokens by name
    owner: str = ""
    comment: str = ""
    email: str = ""
    kind: str = "PERSON"
    disabled: bool = False
    created_on: datetime = field(default_factory=now)


@dataclass(slots=True)
class Warehouse:
    name: str
    owner: str = ""
    size: str = "X-Small"
    state: str = "STARTED"
    auto_suspend: int = 600
    auto_resume: bool = True
    comment: str = ""
    created_on: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True)
class Grant:
    """A privilege on an object held by a role; ``caller`` marks a caller grant of restricted caller's rights."""

    privilege: str
    kind: str
    name: str
    role: str
    caller: bool = False
    option: bool = False
    future: bool = False
