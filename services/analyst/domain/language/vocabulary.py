"""The words of one model: what each phrase may name, and in which columns each value stands."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from services.analyst.domain.language.answer import Values
from services.analyst.domain.language.words import fold, is_near, loose, name_words, phrase, words
from services.analyst.domain.semantic_model.model import Column, Filter, Kind, LogicalTable, Metric, SemanticModel

_TYPE_WORDS = words("dim fact tbl table stg vw view raw dimension denormalized")
_GENERIC = words("id name code key number title label identifier")  # "carrier code" is what "carrier" stands for
_AGGREGATES = words("total average number count sum avg mean minimum maximum median")
_UNIT_TAILS = words(
    "km2 sqkm usd eur gbp pct percent kg km cm mm mi min sec hr hrs mph kwh minute hour mile"
)  # "area" of "area km2"
# Words whose meaning in a sentence no name may take, so that "no flights" is never the number of a flight.
_NEVER = words(
    "no not never none without except or and by per to from of in on at for with is are was were the a an any all each every more "
    "less than over under most least only both"
)
_TIMES = words("date time timestamp datetime at on day")  # "created" stands for "created date"
_SKIPPED_VALUES = words("y n yes no true false t f 0 1 none null na other unknown")
_MAX_WORDS = 7  # of a value that is looked up by its first words
_PART = 1.0  # what a whole name is better than a part of one
_FEW = 60  # values of a column in which one word tells a value from the others
_Part = tuple[str, bool, bool]  # a value, whether the rest of it is common in its column, whether the column has few


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a phrase may name. *cost* is 0 for a whole name or synonym, more for a part of one."""

    kind: str  # table, column, metric, filter
    table: str
    name: str = ""
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """Values of one column that a phrase may stand for; *whole* when it is a value letter for letter, case aside."""

    table: str
    column: str
    values: tuple[str, ...]
    whole: bool


class Vocabulary:
    """Names and values of a model, by their stems."""

    def __init__(self, model: SemanticModel, values: Values) -> None:
        self.model = model
        self._names: dict[tuple[str, ...], dict[tuple[str, str, str], Meaning]] = defaultdict(dict)
        self._loose: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        self._whole: dict[tuple[str, ...], dict[tuple[str, str], list[str]]] = defaultdict(dict)
        self._parts: dict[tuple[str, ...], dict[tuple[str, str], list[_Part]]] = defaultdict(dict)
        self._inner: dict[str, dict[tuple[str, str], list[_Part]]] = defaultdict(dict)
        self.known: set[str] = set()  # single stems, to mend slips of the finger
        known = _model_words(model)
        for table in model.tables:
            self._table(table, known)
            for column in table.columns:
                self._values(table, column, values)
        for metric in model.metrics:
            self._metric("", metric, known)
        for stems in self._names:
            self._loose[" ".join(loose(part) for part in stems)].add(stems)
            self.known.update(stems)
        self.longest = max((len(stems) for stems in self._names), default=1)

    def names(self, stems: tuple[str, ...]) -> tuple[Meaning, ...]:
        """Return what a phrase may name, the whole names first."""
        found = sorted(self._names.get(stems, {}).values(), key=lambda meaning: meaning.cost)
        return tuple(meaning for meaning in found if meaning.cost < found[0].cost + _PART)

    def loosely(self, stems: tuple[str, ...]) -> tuple[Meaning, ...]:
        """Return what a phrase may name when the endings of verbs are left out."""
        found: dict[tuple[str, str, str], Meaning] = {}
        for known in self._loose.get(" ".join(loose(part) for part in stems), ()):
            found |= self._names[known]
        return tuple(found.values())

    def values(self, stems: tuple[str, ...], *, capital: bool = True) -> tuple[Found, ...]:
        """Return the values that a phrase is, or is clearly a part of; *capital* when it is written like a name.

        A part counts when one value of the column begins with it and what is missing is common in the column ("Denver" of
        "Denver Intl"); or, written like a name, when it stands in one value of a column with few.
        """
        found = {
            place: Found(*place, tuple(values), whole=True) for place, values in self._whole.get(stems, {}).items()
        }
        parts = dict(self._parts.get(stems, {}))
        if len(stems) == 1 and capital:
            for place, entries in self._inner.get(stems[0], {}).items():
                parts[place] = [*parts.get(place, ()), *entries]
        for place, entries in parts.items():
            values = {value for value, _, _ in entries}
            _, is_rest_common, few = entries[0]
            if place not in found and len(values) == 1 and (is_rest_common or (few and capital)):
                found[place] = Found(*place, tuple(values), whole=False)
        return tuple(found.values())

    def mend(self, word: str) -> str | None:
        """Return the one known word that *word* was meant to be, if it is a slip away."""
        near = {known for known in self.known if is_near(word, known)}
        return near.pop() if len(near) == 1 else None

    def _put(self, stems: Sequence[str], kind: str, table: str, name: str, cost: float) -> None:
        if stems and all(stems) and not set(stems) <= _NEVER:
            entries, key = self._names[tuple(stems)], (kind, table, name)
            if key not in entries or entries[key].cost > cost:
                entries[key] = Meaning(kind, table, name, cost)

    def _table(self, table: LogicalTable, known: frozenset[str]) -> None:
        own = table_words(table)
        for stems in (own, *(phrase(synonym) for synonym in table.synonyms)):
            self._put(stems, "table", table.name, "", 0.0)
        if len(own) > 1:
            self._put(own[-1:], "table", table.name, "", 0.7 + 0.5 * len(own))
        for column in table.columns:
            if not column.private:
                self._column(table, column, own, known)
        for metric in table.metrics:
            if not metric.private:
                self._metric(table.name, metric, known)
        for condition in table.filters:
            self._filter(table, condition)

    def _column(self, table: LogicalTable, column: Column, own: tuple[str, ...], known: frozenset[str]) -> None:
        stems = segmented(column.name, known)
        kind = "column"
        full = [stems, *(phrase(synonym) for synonym in column.synonyms)]
        if column.data_type.startswith("BOOL"):
            full += _flag_names(stems)
        for each in full:
            self._put(each, kind, table.name, column.name, 0.0)
            if each[: len(own)] == own and len(each) > len(own) and not set(each[len(own) :]) <= _AGGREGATES:
                self._put(each[len(own) :], kind, table.name, column.name, 1.0)
            else:
                self._put((*own, *each), kind, table.name, column.name, 0.0)
                self._put((own[-1], *each), kind, table.name, column.name, 0.5)
        if len(stems) > 1 and stems[-1] not in _AGGREGATES:
            for missing in range(1, len(stems)):
                self._put(stems[missing:], kind, table.name, column.name, 1.0 + 0.5 * missing)
            if stems[-1] in _UNIT_TAILS:
                self._put(stems[:-1], kind, table.name, column.name, 0.5)
            if stems[-1] in _GENERIC or (column.kind is Kind.TIME and stems[-1] in _TIMES):
                self._put(stems[:-1], kind, table.name, column.name, 1.5)

    def _metric(self, table: str, metric: Metric, known: frozenset[str]) -> None:
        stems = segmented(metric.name, known)
        for each in (stems, *(phrase(synonym) for synonym in metric.synonyms)):
            self._put(each, "metric", table, metric.name, 0.0)
            bare = [part for part in each if part != "of"]
            self._put(bare, "metric", table, metric.name, 0.0)
            if len(each) > 1 and each[0] == "total":
                self._put(each[1:], "metric", table, metric.name, 0.5)

    def _filter(self, table: LogicalTable, condition: Filter) -> None:
        stems = name_words(condition.name)
        for each in (stems, *(phrase(synonym) for synonym in condition.synonyms)):
            self._put(each, "filter", table.name, condition.name, 0.0)
            if each[:1] in {("is",), ("was",)} and len(each) > 1:
                self._put(each[1:], "filter", table.name, condition.name, 0.0)

    def _values(self, table: LogicalTable, column: Column, values: Values) -> None:
        if column.kind is not Kind.DIMENSION or column.private or _is_number(column.data_type):
            return
        distinct = values.distinct(table.name, column.name)
        shown: Iterable[object] = distinct.values if distinct else column.sample_values
        counted: dict[str, int] = defaultdict(int)
        entries = [(str(value), phrase(str(value))) for value in shown if isinstance(value, str)]
        for _, stems in entries:
            for part in set(stems):
                counted[part] += 1
        place = (table.name, column.name)
        for value, stems in entries:
            if not stems or (len(stems) == 1 and stems[0] in _SKIPPED_VALUES):
                continue
            self._whole[stems].setdefault(place, []).append(value)
            self.known.update(part for part in stems if len(part) > 4)  # noqa: PLR2004
            for length in range(1, min(len(stems), _MAX_WORDS)):
                rest = all(counted[part] > 1 for part in stems[length:])
                self._parts[stems[:length]].setdefault(place, []).append((value, rest, len(entries) <= _FEW))
            for part in dict.fromkeys(stems[1:]):
                if len(part) > 3:  # noqa: PLR2004
                    self._inner[part].setdefault(place, []).append((value, False, len(entries) <= _FEW))


def table_words(table: LogicalTable) -> tuple[str, ...]:
    """Return the stems of a table's name without words such as ``dim`` that only say what it is."""
    stems = name_words(table.name)
    return tuple(part for part in stems if part not in _TYPE_WORDS) or stems


def segmented(name: str, known: frozenset[str]) -> tuple[str, ...]:
    """Return the stems of an identifier; one run together is split where words of the model's own texts fit."""
    stems = name_words(name)
    return tuple(part for word in stems for part in (_split(word, known) or (word,)))


def _flag_names(stems: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return what a boolean column says by itself: "closed" of ``is_closed``, "smoker" of ``smoker_ind``."""
    if len(stems) == 1 and (match := re.fullmatch(r"(?:is|has|was)([a-z]{3,})", stems[0])):
        return [(match[1],)]
    if stems[0] in {"is", "has", "was"} and len(stems) > 1:
        return [stems[1:]]
    return [stems[:-1]] if stems[-1] in {"indicator", "flag"} and len(stems) > 1 else []


def _split(word: str, known: frozenset[str]) -> tuple[str, ...] | None:
    if word in known or len(word) < 6:  # noqa: PLR2004
        return None
    for at in range(len(word) - 2, 1, -1):
        head, tail = word[:at], word[at:]
        if head in known:
            if tail in known:
                return head, tail
            if rest := _split(tail, known):
                return head, *rest
    return None


def _model_words(model: SemanticModel) -> frozenset[str]:
    """Return the words that a model's descriptions and synonyms use."""
    return frozenset(
        part
        for text in _texts(model)
        for part in {*phrase(text), *fold(text).split()}
        if len(part) > 2 or part == "id"  # noqa: PLR2004
    ) | words("id name date code type city state country time status year quarter month amount source user")


def _texts(model: SemanticModel) -> Iterator[str]:
    for table in model.tables:
        yield table.description
        things: tuple[Column | Metric, ...] = (*table.columns, *table.metrics)
        for thing in things:
            yield thing.description
            yield from (synonym for synonym in thing.synonyms if " " in synonym or "_" in synonym)


def _is_number(data_type: str) -> bool:
    return data_type.split("(", maxsplit=1)[0].strip() in {
        "NUMBER",
        "INT",
        "INTEGER",
        "BIGINT",
        "FLOAT",
        "DOUBLE",
        "DECIMAL",
        "NUMERIC",
        "REAL",
    }
