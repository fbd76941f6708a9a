"""Counts of memories by the values of a field: that part of the store's port."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from services.memory.domain.reads import ALL, Selection
from services.memory.filter import Path
from services.mesh.caller import Caller

FACET_TIMES = ("created_at", "updated_at", "event_time")
FACET_FIELDS = ("bucket", "tags", "content_type", "access_level", "owner_user", "source.kind", *FACET_TIMES)
_FACET_BYTES = 40  # of a facet on the wire, but for its value

Scalar = str | float | bool | None


class TimeUnit(StrEnum):
    """A stretch of the calendar, in UTC, that counts as one value: its first day."""

    DAY = "DAY"
    WEEK = "WEEK"  # from Monday on
    MONTH = "MONTH"


@dataclass(frozen=True, slots=True)
class FacetField:
    """What is counted by; *unit* is set for times alone."""

    path: Path
    unit: TimeUnit | None = None


@dataclass(frozen=True, slots=True)
class FacetPlan:
    """Asks for the *limit* most frequent values of *field* among the memories of *selection*."""

    field: FacetField
    limit: int
    now: datetime
    selection: Selection = ALL


@dataclass(frozen=True, slots=True)
class Facet:
    """A value and how many memories have it. Numbers are floats; of a time *value* is a date in ISO form."""

    value: Scalar
    count: int

    @property
    def text(self) -> str:
        """The value as text, in JSON's form unless it is one."""
        match self.value:
            case str(text):
                return text
            case None:
                return "null"
            case bool(boolean):
                return "true" if boolean else "false"
            case number:
                return str(int(number)) if number.is_integer() else repr(number)


@dataclass(frozen=True, slots=True)
class FacetCounts:
    """The most frequent values, equal counts by kind of value (boolean, null, number, text) and value.

    *other_count* sums the counts of all other values, *unset_count* are memories without one, *total_count* all that were looked at.
    """

    facets: tuple[Facet, ...]
    other_count: int
    unset_count: int
    total_count: int

    def within(self, max_bytes: int) -> "FacetCounts":
        """Return as many facets as fit an answer, the rest among the others."""
        room = max_bytes
        for place, facet in enumerate(self.facets):
            room -= 2 * len(facet.text.encode()) + _FACET_BYTES
            if room < 0:
                left = sum(other.count for other in self.facets[place:])
                return replace(self, facets=self.facets[:place], other_count=self.other_count + left)
        return self


class FacetReader(Protocol):
    """Counts by value, over exactly what the caller may see."""

    async def facet(self, caller: Caller, plan: FacetPlan) -> FacetCounts:
        """Return the most frequent values, and how much is besides."""
        ...
