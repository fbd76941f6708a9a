"""What an expression is made of and what names mean inside one SELECT."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from services.emulator import errors
from services.emulator.sql.types import SqlType


@dataclass(frozen=True, slots=True)
class Expr:
    """An expression in the engine's SQL with the type that Snowflake gives it.

    ``constant`` is the value where it is known while compiling; ``aggregate`` is true for anything that needs a group.
    """

    sql: str
    type: SqlType
    nullable: bool = True
    constant: object = None
    aggregate: bool = False

    def typed(self, wanted: SqlType) -> "Expr":
        return replace(self, type=wanted)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a source: its name as kept (case counts) and the engine's SQL that reads it."""

    name: str
    type: SqlType
    nullable: bool
    sql: str
    hidden: bool = False
    table: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of FROM: ``names`` are its qualifiers, last one first."""

    names: tuple[str, ...]
    columns: tuple[Column, ...]

    def answers(self, qualifiers: tuple[str, ...]) -> bool:
        return self.names[: len(qualifiers)] == qualifiers


@dataclass(slots=True)
class Scope:
    """Names visible at one level; ``aliases`` are the outputs of the same SELECT, found where no column is."""

    parent: "Scope | None" = None
    sources: list[Source] = field(default_factory=list)
    aliases: dict[str, Expr] = field(default_factory=dict)
    pending: "Callable[[str], Expr | None] | None" = None
    merged: dict[str, Column] = field(default_factory=dict)  # columns joined by USING
    aggregates: bool = False
    parameters: dict[str, Expr] = field(default_factory=dict)  # arguments of a policy or a lambda
    windows: dict[str, str] = field(default_factory=dict)

    def find(self, name: str, qualifiers: tuple[str, ...], where: tuple[int, int]) -> Expr | None:
        """Return what *name* means here or further out; *qualifiers* come last one first."""
        if not qualifiers and name in self.parameters:
            return self.parameters[name]
        if not qualifiers and name in self.merged:
            return _read(self.merged[name])
        found = [
            column
            for source in self.sources
            if source.answers(qualifiers)
            for column in source.columns
            if column.name == name
        ]
        if len(found) > 1:
            raise errors.ambiguous_column(name, *where)
        if found:
            return _read(found[0])
        if not qualifiers and name in self.aliases:
            return self.aliases[name]
        if not qualifiers and self.pending is not None and (expr := self.pending(name)) is not None:
            return expr
        return self.parent.find(name, qualifiers, where) if self.parent else None

    def visible(self, qualifiers: tuple[str, ...] = ()) -> list[Column]:
        """Return what ``*`` stands for."""
        columns: list[Column] = [] if qualifiers else list(self.merged.values())
        for source in self.sources:
            if source.answers(qualifiers):
                columns += [
                    item for item in source.columns if not item.hidden and (qualifiers or item.name not in self.merged)
                ]
        return columns


def _read(column: Column) -> Expr:
    return Expr(column.sql, column.type, column.nullable)


@dataclass(frozen=True, slots=True)
class Output:
    """A column that a query answers with."""

    name: str
    type: SqlType
    nullable: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A compiled query: the engine's SQL, whose columns are c0, c1, ... in the order of ``outputs``."""

    sql: str
    outputs: tuple[Output, ...]

    def source(self, alias: str, names: tuple[str, ...], renamed: tuple[str, ...] = ()) -> Source:
        """Return this query as an entry of FROM under the engine's *alias*."""
        if len(renamed) > len(self.outputs):
            raise errors.compilation(2079, "42601", f"view columns mismatch with view definition: {len(renamed)}")
        shown = renamed + tuple(output.name for output in self.outputs[len(renamed) :])
        return Source(
            names,
            tuple(
                Column(name, output.type, output.nullable, f"{alias}.c{index}", table=names[0] if names else "")
                for index, (name, output) in enumerate(zip(shown, self.outputs, strict=True))
            ),
        )


def quoted(value: str) -> str:
    """Return *value* as a literal of the engine."""
    return "'" + value.replace("'", "''") + "'"
