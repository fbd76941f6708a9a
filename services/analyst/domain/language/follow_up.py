"""Questions that refine the one before: "and by carrier?", "only in June", "what about 2014?"."""

import re
from collections.abc import Sequence
from dataclasses import replace

from services.analyst.domain.language.schema import Schema
from services.analyst.domain.language.sketch import (
    Cond,
    DateCond,
    Group,
    MeasureSketch,
    Noun,
    NumberCond,
    Sketch,
    ValueCond,
    WeekdayCond,
)
from services.analyst.domain.language.vocabulary import Meaning

_LEAD = re.compile(
    r"^\s*(?:(?:ok|okay|and|now|but|then|also|so)\b[\s,]*)*"
    r"(?:(?:what|how) about|only|just|same (?:thing )?(?:but )?(?:for|in|by)|the same (?:for|in|by)|instead|make (?:it|that)|show (?:it|that|them)|"
    r"(?:and|now|but|then|also)\b)[\s,]*",
    re.IGNORECASE,
)
_TAIL = re.compile(r"[\s,]*\b(?:instead|only|too|as well|please|then)\b[\s?.!]*$", re.IGNORECASE)
_BEGINS = re.compile(
    r"^\s*(?:by|per|for each|in|on|since|before|after|from|to|for|with|without|top|last|this|sorted|ordered|excluding|except|not)\b",
    re.IGNORECASE,
)
_BARE_YEAR = re.compile(r"^\s*(\d{4})\s*[?.!]*$")


def fragment(question: str) -> str | None:
    """Return what a follow-up adds, without the words that only say it is one; None when it stands alone."""
    text, changed = _LEAD.subn("", question, count=1)
    text, tail = _TAIL.subn("", text, count=1)
    if _BARE_YEAR.match(text):
        return f"in {text.strip(' ?.!')}"
    if changed or tail or _BEGINS.match(text):
        return text.strip() or None
    return None


def merged(previous: Sketch, new: Sketch, schema: Schema) -> Sketch:
    """Return *previous* with what *new* says put in: numbers and groups in place of the old, conditions on one column likewise."""
    result = previous.copy()
    if new.measures:
        result.measures = list(new.measures)
    for target in new.targets:
        if target.of("metric") or _is_fact(target.meanings, schema):
            _swap_measure(result, target)
        else:
            result.groups = [*(group for group in result.groups if group.grain), Group(target)]
    if new.groups:
        result.groups = list(new.groups)
        result.targets = [] if result.measures else result.targets
    for cond in new.conds:
        result.conds = [old for old in result.conds if not _same_slot(old, cond)] + [cond]
    result.havings = list(new.havings) or result.havings
    result.rank = new.rank or result.rank
    result.parts = list(new.parts) or result.parts
    return result


def _is_fact(meanings: Sequence[Meaning], schema: Schema) -> bool:
    return any(
        meaning.kind == "column" and schema.column(meaning.table, meaning.name).kind.value == "fact"
        for meaning in meanings
    )


def _swap_measure(sketch: Sketch, noun: Noun) -> None:
    if sketch.measures and sketch.measures[-1].func != "count":
        sketch.measures = [replace(sketch.measures[-1], noun=noun)]
    else:
        sketch.measures = [MeasureSketch("", noun)]


def _same_slot(old: Cond, new: Cond) -> bool:
    if isinstance(old, DateCond) and isinstance(new, DateCond):
        return True
    if isinstance(old, WeekdayCond) and isinstance(new, WeekdayCond):
        return True
    if isinstance(old, ValueCond) and isinstance(new, ValueCond):
        if old.role != new.role and {old.role, new.role} <= {"from", "to"}:
            return False
        places = {(found.table, found.column) for values in old.values for found in values}
        return any((found.table, found.column) in places for values in new.values for found in values)
    if isinstance(old, NumberCond) and isinstance(new, NumberCond):
        return old.noun is not None and new.noun is not None and set(old.noun.meanings) == set(new.noun.meanings)
    return False
