"""Cuts a question into lexemes: names and values of the model, dates, numbers, English; several ways, the likeliest first."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from services.analyst.domain.language import lexicon
from services.analyst.domain.language.dates import Period, period_at, weekday_at
from services.analyst.domain.language.vocabulary import Found, Meaning, Vocabulary
from services.analyst.domain.language.words import Token, fold, number_at, ordinal, stem, words

NOUN = "noun"
VALUE = "value"
NUM = "num"
PERIOD = "period"
WEEKDAYS = "weekdays"
GRAIN = "grain"
UNIT = "unit"
ADJ = "adj"
ORDINAL = "ordinal"
QUOTE = "quote"
MARK = "mark"
UNKNOWN = "unknown"
_GRAINS = {
    "daily": "day", "weekly": "week", "monthly": "month", "quarterly": "quarter", "yearly": "year", "annual": "year", "annually": "year",
    "hourly": "hour", "day": "day", "week": "week", "month": "month", "quarter": "quarter", "year": "year", "hour": "hour",
    "date": "day", "calendar month": "month", "calendar year": "year", "calendar day": "day",
}  # fmt: skip
_PARTS = {
    "day of the week": "weekday", "day of week": "weekday", "weekday": "weekday", "days of the week": "weekday", "week day": "weekday",
    "hour of the day": "hour_of_day", "hour of day": "hour_of_day", "month of the year": "month_of_year", "month of year": "month_of_year",
    "calendar quarter of the year": "quarter_of_year", "day of the month": "day_of_month", "day of month": "day_of_month",
}  # fmt: skip
_ADVERBS = words("daily weekly monthly quarterly yearly annual annually hourly")
_ALSO_NAMES = words(
    "value data detail rate share total information one list kind full entire volume quantity proportion fraction"
)
_MAX_STATES = 4000
_MAX_PATHS = 24
_MAX_VALUE_WORDS = 8
_UNKNOWN_COST = 50.0


@dataclass(frozen=True, slots=True)
class Lexeme:
    """A stretch of the question with one meaning. *key* says which of its kind it is; *text* is what was written."""

    kind: str
    text: str
    key: str = ""
    meanings: tuple[Meaning, ...] = ()
    found: tuple[Found, ...] = ()
    number: float = 0.0
    period: Period | None = None
    days: tuple[int, ...] = ()
    adverb: bool = False
    plural: bool = False
    mended: str = ""  # the word as it was taken, when a slip of the finger was mended
    loose: bool = False  # the name without its ending: "delayed" for "delay"
    start: int = 0


@dataclass(frozen=True, slots=True)
class Path:
    """One way to cut the whole question."""

    lexemes: tuple[Lexeme, ...]
    cost: float

    @property
    def unknown(self) -> tuple[str, ...]:
        """The words that nothing is known about."""
        return tuple(lexeme.text for lexeme in self.lexemes if lexeme.kind == UNKNOWN)


def paths(tokens: Sequence[Token], vocabulary: Vocabulary, today: date) -> Iterator[Path]:
    """Yield ways to cut the question, cheapest first; at most a few dozen."""
    cuts = [list(_at(tokens, at, vocabulary, today)) for at in range(len(tokens))]
    heap: list[tuple[float, int, int, tuple[Lexeme, ...]]] = [(0.0, 0, 0, ())]
    visits = [0] * (len(tokens) + 1)
    states, count, found = 0, 0, 0
    while heap and states < _MAX_STATES and found < _MAX_PATHS:
        cost, _, at, lexemes = heapq.heappop(heap)
        states += 1
        if at == len(tokens):
            found += 1
            yield Path(lexemes, cost)
            continue
        visits[at] += 1
        if visits[at] > _MAX_PATHS:
            continue
        for lexeme, end, price in cuts[at]:
            count += 1
            heapq.heappush(heap, (cost + price, count, end, (*lexemes, lexeme)))


def _at(tokens: Sequence[Token], at: int, vocabulary: Vocabulary, today: date) -> Iterator[tuple[Lexeme, int, float]]:
    known = False
    for cut in (_english, _names, _values, _calendar, _numbers):
        for lexeme, end, price in cut(tokens, at, vocabulary, today):
            known = known or end == at + 1 or price < 3.0  # noqa: PLR2004
            yield lexeme, end, price
    token = tokens[at]
    if token.quoted:
        yield Lexeme(QUOTE, token.text, start=at), at + 1, 2.0
    elif not known:
        mended = vocabulary.mend(token.norm)
        if mended:
            swapped = [*tokens[:at], Token(token.text, mended, capital=token.capital), *tokens[at + 1 :]]
            for cut in (_names, _values):
                for lexeme, end, price in cut(swapped, at, vocabulary, today):
                    yield _mended(lexeme, mended), end, price + 1.5
        yield Lexeme(UNKNOWN, token.text, start=at), at + 1, _UNKNOWN_COST


def _mended(lexeme: Lexeme, word: str) -> Lexeme:
    return Lexeme(
        lexeme.kind,
        lexeme.text,
        lexeme.key,
        lexeme.meanings,
        lexeme.found,
        plural=lexeme.plural,
        mended=word,
        start=lexeme.start,
    )


def _text(tokens: Sequence[Token], at: int, end: int) -> str:
    return " ".join(token.text for token in tokens[at:end]).replace(" 's", "'s")


def _english(
    tokens: Sequence[Token], at: int, vocabulary: Vocabulary, _today: date
) -> Iterator[tuple[Lexeme, int, float]]:
    folded = tuple("" if token.quoted else fold(token.text) for token in tokens[at : at + lexicon.LONGEST])
    for length in range(1, len(folded) + 1):
        for kind, key in lexicon.FUNCTION_WORDS.get(folded[:length], ()):
            if _hides_a_name(tokens[at : at + length], kind, vocabulary):
                continue
            price = 0.9 if kind == lexicon.FILL else 1.0
            yield Lexeme(kind, _text(tokens, at, at + length), key, start=at), at + length, price
        joined = " ".join(folded[:length])
        if joined in lexicon.ADJECTIVES:
            yield Lexeme(ADJ, joined, joined, start=at), at + length, 1.0
    if folded and folded[0] in {",", ";", "?", "!", ":", "(", ")"}:
        yield Lexeme(MARK, folded[0], folded[0], start=at), at + 1, 0.1


def _hides_a_name(tokens: Sequence[Token], kind: str, vocabulary: Vocabulary) -> bool:
    """Tell whether words that say little hold one that the model has a name for: "value of" where there is a value."""
    if kind not in {lexicon.FILL, lexicon.AGG, lexicon.SHARE}:
        return False
    return any(token.norm in _ALSO_NAMES and vocabulary.names((token.norm,)) for token in tokens)


def _names(
    tokens: Sequence[Token], at: int, vocabulary: Vocabulary, _today: date
) -> Iterator[tuple[Lexeme, int, float]]:
    stems: tuple[str, ...] = ()
    for end in range(at + 1, min(len(tokens), at + vocabulary.longest) + 1):
        token = tokens[end - 1]
        if token.quoted or not token.norm:
            return
        stems = (*stems, token.norm)
        plural = fold(token.text) != token.norm and fold(token.text).endswith("s")
        if meanings := vocabulary.names(stems):
            price = 1.0 + min(meaning.cost for meaning in meanings) * 0.2
            yield Lexeme(NOUN, _text(tokens, at, end), meanings=meanings, plural=plural, start=at), end, price
        elif meanings := vocabulary.loosely(stems):
            yield Lexeme(NOUN, _text(tokens, at, end), meanings=meanings, plural=plural, loose=True, start=at), end, 1.8


def _values(
    tokens: Sequence[Token], at: int, vocabulary: Vocabulary, _today: date
) -> Iterator[tuple[Lexeme, int, float]]:
    stems: tuple[str, ...] = ()
    for end in range(at + 1, min(len(tokens), at + _MAX_VALUE_WORDS) + 1):
        token = tokens[end - 1]
        if token.quoted:
            if end == at + 1 and (found := vocabulary.values(tuple(token.norm.split()))):
                yield Lexeme(VALUE, token.text, found=found, start=at), end, 1.0
            return
        if not token.norm:
            return
        if not token.norm[0].isalnum():
            if token.norm in {",", "'s"} and end > at + 1:
                continue
            return
        stems = (*stems, token.norm)
        found = vocabulary.values(
            stems, capital=all(token.capital for token in tokens[at:end] if token.norm[:1].isalnum())
        )
        if found and _may_be_value(tokens[at:end]):
            whole = any(each.whole for each in found)
            yield Lexeme(VALUE, _text(tokens, at, end), found=found, start=at), end, 1.1 if whole else 1.9


def _may_be_value(tokens: Sequence[Token]) -> bool:
    """Tell whether words that English uses too are written like a value: ``AS`` and ``Will``, not ``as``."""
    if len(tokens) > 1:
        return any((fold(token.text),) not in lexicon.FUNCTION_WORDS for token in tokens)
    text = tokens[0].text
    word = fold(text)
    if word in _GRAINS or word in lexicon.UNITS or word in lexicon.ADJECTIVES or stem(word) in _GRAINS:
        return text.isupper() and len(text) > 1
    if tokens[0].number is not None and len(text) < 3:  # noqa: PLR2004
        return False
    return (fold(text),) not in lexicon.FUNCTION_WORDS or (text.isupper() and len(text) > 1)


def _calendar(
    tokens: Sequence[Token], at: int, _vocabulary: Vocabulary, today: date
) -> Iterator[tuple[Lexeme, int, float]]:
    if found := period_at(tokens, at, today):
        yield Lexeme(PERIOD, _text(tokens, at, found[1]), period=found[0], start=at), found[1], 1.0
    if days := weekday_at(tokens, at):
        yield Lexeme(WEEKDAYS, _text(tokens, at, days[1]), days=days[0], start=at), days[1], 1.0
    for end in range(at + 1, min(len(tokens), at + 4) + 1):
        if any(token.quoted for token in tokens[at:end]):
            return
        folded = " ".join(fold(token.text) for token in tokens[at:end])
        singular = stem(folded)
        if grain := _GRAINS.get(folded) or _GRAINS.get(singular):
            yield (
                Lexeme(GRAIN, folded, grain, adverb=folded in _ADVERBS, plural=singular != folded, start=at),
                end,
                1.15,
            )
        if part := _PARTS.get(folded) or _PARTS.get(singular):
            yield Lexeme(GRAIN, folded, part, plural=singular != folded, start=at), end, 1.15


def _numbers(
    tokens: Sequence[Token], at: int, _vocabulary: Vocabulary, _today: date
) -> Iterator[tuple[Lexeme, int, float]]:
    if found := number_at(tokens, at):
        key = "%" if tokens[at].percent else ""
        yield Lexeme(NUM, _text(tokens, at, found[1]), key, number=found[0], start=at), found[1], 1.0
    folded = fold(tokens[at].text)
    for parts, unit in lexicon.LONG_UNITS.items():
        if tuple(fold(token.text) for token in tokens[at : at + len(parts)]) == parts:
            yield Lexeme(UNIT, _text(tokens, at, at + len(parts)), unit, start=at), at + len(parts), 1.1
    if folded in {"a", "an", "one"} and at + 1 < len(tokens) and tokens[at + 1].norm in lexicon.UNITS:
        yield Lexeme(NUM, tokens[at].text, number=1.0, start=at), at + 1, 0.95
    if (rank := ordinal(tokens[at])) and not tokens[at].quoted:
        yield Lexeme(ORDINAL, tokens[at].text, number=float(rank), start=at), at + 1, 1.05
    for name in (folded, tokens[at].norm):
        if name in lexicon.UNITS and not tokens[at].quoted:
            yield Lexeme(UNIT, tokens[at].text, lexicon.UNITS[name], start=at), at + 1, 1.1
            return
