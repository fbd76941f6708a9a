"""Counting memories by the values of a field: which fields there are to count by."""

from collections.abc import Sequence

from services.memory.domain.facets import (
    FACET_FIELDS,
    FACET_TIMES,
    FacetCounts,
    FacetField,
    FacetPlan,
    FacetReader,
    TimeUnit,
)
from services.memory.domain.memories import Clock, bounded, utc_now
from services.memory.domain.reads import MAX_ANSWER_BYTES, Selection
from services.memory.filter import InvalidFilter, parse, parse_path
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, Violation

DEFAULT_FACETS = 100
MAX_FACETS = 1000


class Facets:
    """The use case of counting by value."""

    def __init__(self, store: FacetReader, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def count(  # what a request says
        self,
        caller: Caller,
        field: str,
        *,
        unit: TimeUnit | None = None,
        limit: int = 0,
        bucket: str = "",
        filter_text: str = "",
        any_validity: bool = False,
    ) -> FacetCounts:
        """Return the most frequent values of *field*. Raises ``InvalidInput``, ``InvalidFilter``."""
        number = bounded("limit", limit, DEFAULT_FACETS, MAX_FACETS)
        wanted = _field(field, unit)
        now = self._clock()
        selection = Selection(bucket or None, parse(filter_text), None if any_validity else now)
        counts = await self._store.facet(caller, FacetPlan(wanted, number, now, selection))
        return counts.within(MAX_ANSWER_BYTES)


def _field(text: str, unit: TimeUnit | None) -> FacetField:
    try:
        path = parse_path(text)
    except InvalidFilter:
        raise _wrong("field", f"must be one of {_listed(FACET_FIELDS)}") from None
    if path.field in FACET_TIMES:
        return FacetField(path, unit or TimeUnit.DAY)
    if path.field not in FACET_FIELDS and not path.keys:
        raise _wrong("field", f"must be one of {_listed(FACET_FIELDS)}")
    if unit is not None:
        raise _wrong("time_unit", f"must be unset: only {', '.join(FACET_TIMES)} have stretches of time")
    return FacetField(path)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names)}, metadata.<path>"


def _wrong(field: str, description: str) -> InvalidInput:
    return InvalidInput(f"{field} {description}", violations=[Violation(field, description)])
