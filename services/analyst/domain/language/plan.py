"""What a reading of a question comes to: the query, its columns, and its words."""

from dataclasses import dataclass, field

from sqlglot import exp

from services.analyst.domain.language.answer import OutputColumn


@dataclass(slots=True)
class Plan:
    """A query over logical tables, and how it was read."""

    query: exp.Query
    columns: tuple[OutputColumn, ...]
    what: str
    where: list[str] = field(default_factory=list)
    how: list[str] = field(default_factory=list)  # groups, order, limit
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    cost: float = 0.0

    def sentence(self) -> str:
        """Return how the question was read, for the person who asked."""
        parts = [self.what]
        if self.where:
            parts.append(f"where {' and '.join(self.where)}")
        parts.extend(self.how)
        text = ", ".join(parts) + "."
        if self.notes:
            text += " " + "; ".join(dict.fromkeys(self.notes)).capitalize() + "."
        return text[:1].upper() + text[1:]


class Names:
    """Gives each column of a result a name of its own."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unique(self, column: OutputColumn) -> OutputColumn:
        """Return the column, its name changed when another has it."""
        base = "".join(char if char.isalnum() or char == "_" else "_" for char in column.name).strip("_") or "value"
        base = f"c_{base}" if base[0].isdigit() else base
        name, at = base, 2
        while name in self._taken:
            name, at = f"{base}_{at}", at + 1
        self._taken.add(name)
        return OutputColumn(name, column.role, column.unit, column.title, column.grain)
