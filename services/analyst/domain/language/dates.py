"""Dates in words: ``last quarter``, ``since March``, ``in Q2 2013``, ``between June 3 and June 9``."""

import calendar
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from services.analyst.domain.language.words import Token, fold, number_at, ordinal, words

_MONTHS = {name.lower(): at for at, name in enumerate(calendar.month_name) if at}
_MONTHS |= {name.lower(): at for at, name in enumerate(calendar.month_abbr) if at} | {"sept": 9}
WEEKDAYS = {name.lower(): at + 1 for at, name in enumerate(calendar.day_name)}
_SHORT_DAYS = {name.lower(): at + 1 for at, name in enumerate(calendar.day_abbr)}
GRAINS = words("hour day week month quarter year")
_QUARTERS = {"q1": 1, "q2": 2, "q3": 3, "q4": 4}
_FIRST_YEAR, _LAST_YEAR = 1800, 2200


@dataclass(frozen=True, slots=True)
class Point:
    """A stretch of the calendar as it was named; what was not named is None. *half* is 1 or 2, *quarter* 1 to 4."""

    year: int | None = None
    half: int | None = None
    quarter: int | None = None
    month: int | None = None
    day: int | None = None

    def bounds(self, year: int) -> tuple[date, date] | None:
        """Return the first day and the day after the last, in *year* if none was named; None when there is no such day."""
        year = self.year or year
        if self.month and self.day:
            if self.day > calendar.monthrange(year, self.month)[1]:
                return None
            start = date(year, self.month, self.day)
            return start, start + timedelta(days=1)
        first, months = (
            (self.month, 1)
            if self.month
            else (self.quarter * 3 - 2, 3)
            if self.quarter
            else (self.half * 6 - 5, 6)
            if self.half
            else (1, 12)
        )
        start = date(year, first, 1)
        return start, add_months(start, months)


@dataclass(frozen=True, slots=True)
class Period:
    """A time range as it was named: fixed days ``[start, end)``, or points whose year the data decide. Either end may be open."""

    start: date | None = None
    end: date | None = None
    first: Point | None = None  # with *last*: the range is settled by ``settle``
    last: Point | None = None
    mode: str = "within"  # within, since, after, before, until: how *first* bounds
    slice: tuple[int, int] | None = None  # of *first* only so many days, from this one on; negative counts from its end

    def settle(self, today: date, span: tuple[date, date] | None) -> "Period | None":  # noqa: PLR0911
        """Return the range in days; a year that was not named is the latest in the data that is not after today."""
        if self.first is None:
            return self
        last = self.last or self.first
        named = self.first.year or last.year
        year = named or _year_for(self.first, today, span)
        low = replace(self.first, year=self.first.year or year).bounds(year)
        high = replace(last, year=last.year or year).bounds(year)
        if low is None or high is None:
            return None
        if high[1] <= low[0] and not (self.first.year and last.year):  # November to February
            low = replace(self.first, year=year - 1).bounds(year - 1) or low
        if self.slice:
            start = (high[1] if self.slice[0] < 0 else low[0]) + timedelta(days=self.slice[0])
            return Period(start, start + timedelta(days=self.slice[1]))
        match self.mode:
            case "since":
                return Period(low[0], today + timedelta(days=1)) if low[0] <= today else Period(start=low[0])
            case "from":
                return Period(start=low[0])
            case "after":
                return Period(start=low[1])
            case "before":
                return Period(end=low[0])
            case "until":
                return Period(end=low[1])
        return Period(low[0], high[1]) if low[0] < high[1] else None


def _year_for(point: Point, today: date, span: tuple[date, date] | None) -> int:
    years = range(span[0].year, span[1].year + 1) if span else range(today.year - 1, today.year + 1)
    for year in reversed(years):
        bounds = point.bounds(year)
        if bounds and bounds[0] <= today and (span is None or (bounds[0] <= span[1] and bounds[1] > span[0])):
            return year
    return today.year


def add_months(day: date, months: int) -> date:
    """Return the same day some months later, or the month's last day."""
    month = day.year * 12 + day.month - 1 + months
    year, month = month // 12, month % 12 + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def shift(day: date, grain: str, count: int) -> date:
    """Return the day *count* grains later."""
    if grain in {"day", "week"}:
        return day + timedelta(days=count * (7 if grain == "week" else 1))
    return add_months(day, count * {"month": 1, "quarter": 3, "year": 12}[grain])


def floor(day: date, grain: str) -> date:
    """Return the first day of the grain that holds *day*; weeks begin on Monday."""
    match grain:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
        case "year":
            return day.replace(month=1, day=1)
    return day


def period_at(tokens: Sequence[Token], at: int, today: date) -> tuple[Period, int] | None:
    """Return the longest time range that begins at a position, and the position after it."""
    for rule in (_part_of, _bounded, _open, _to_date, _relative, _single):
        if found := rule(_Cursor(tokens, at), today):
            return found
    return None


class _Cursor:
    """A place in the tokens that rules move on."""

    def __init__(self, tokens: Sequence[Token], at: int) -> None:
        self.tokens = tokens
        self.at = at

    def word(self, ahead: int = 0) -> str:
        index = self.at + ahead
        return fold(self.tokens[index].text) if index < len(self.tokens) and not self.tokens[index].quoted else ""

    def take(self, *options: str) -> bool:
        """Move over the first option, a phrase, that stands here."""
        for option in options:
            parts = option.split()
            if all(self.word(ahead) == part for ahead, part in enumerate(parts)):
                self.at += len(parts)
                return True
        return False

    def number(self) -> int | None:
        found = number_at(self.tokens, self.at)
        if found and found[0] == int(found[0]):
            self.at = found[1]
            return int(found[0])
        return None

    def grain(self) -> str | None:
        word = self.word().removesuffix("s")
        if word in GRAINS:
            self.at += 1
            return word
        return None

    def year(self) -> int | None:
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        if (
            token
            and token.number is not None
            and re.fullmatch(r"\d{4}", token.text)
            and _FIRST_YEAR <= token.number <= _LAST_YEAR
        ):
            self.at += 1
            return int(token.number)
        return None

    def try_(self, rule: "Callable[[_Cursor], Point | None]") -> Point | None:
        begin = self.at
        point = rule(self)
        if point is None:
            self.at = begin
        return point


def _point(cursor: _Cursor) -> Point | None:
    cursor.take("the", "of")
    for rule in (_numeric, _month_day, _day_month, _quarter, _half, _month, _year):
        if point := cursor.try_(rule):
            return point
    return None


def _numeric(cursor: _Cursor) -> Point | None:
    word = cursor.word()
    if match := re.fullmatch(r"(\d{4})-(\d{1,2})-(\d{1,2})", word):
        year, month, day = (int(part) for part in match.groups())
    elif match := re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", word):
        month, day, year = (int(part) for part in match.groups())
    else:
        return None
    if not (1 <= month <= 12 and 1 <= day <= calendar.monthrange(max(year, 1), month)[1]):  # noqa: PLR2004
        return None
    cursor.at += 1
    return Point(year=year, month=month, day=day)


def _tail_year(cursor: _Cursor) -> int | None:
    begin = cursor.at
    cursor.take(", of", ",", "of", "in")
    year = cursor.year()
    if year is None:
        cursor.at = begin
    return year


def _month_name(cursor: _Cursor) -> int | None:
    word = cursor.word().rstrip(".")
    month = _MONTHS.get(word)
    # "may" the verb and "mar", "sun" the words: a short form needs its capital letter.
    if month and (len(word) > 3 or cursor.tokens[cursor.at].capital):  # noqa: PLR2004
        cursor.at += 1
        if cursor.word() == "." and cursor.at + 1 < len(cursor.tokens):
            cursor.at += 1
        return month
    return None


def _day_number(cursor: _Cursor) -> int | None:
    if cursor.at >= len(cursor.tokens):
        return None
    token = cursor.tokens[cursor.at]
    number = ordinal(token) or (
        int(token.number) if token.number is not None and re.fullmatch(r"\d{1,2}", token.text) else None
    )
    if number and 1 <= number <= 31:  # noqa: PLR2004
        cursor.at += 1
        return number
    return None


def _month_day(cursor: _Cursor) -> Point | None:
    month = _month_name(cursor)
    cursor.take("the")
    day = month and _day_number(cursor)
    return Point(year=_tail_year(cursor), month=month, day=day) if month and day else None


def _day_month(cursor: _Cursor) -> Point | None:
    day = _day_number(cursor)
    cursor.take("of")
    month = day and _month_name(cursor)
    return Point(year=_tail_year(cursor), month=month, day=day) if month and day else None


def _month(cursor: _Cursor) -> Point | None:
    cursor.take("month of")
    month = _month_name(cursor)
    return Point(year=_tail_year(cursor), month=month) if month else None


def _quarter(cursor: _Cursor) -> Point | None:
    quarter = _QUARTERS.get(cursor.word())
    if quarter:
        cursor.at += 1
    else:
        number = ordinal(cursor.tokens[cursor.at]) if cursor.at < len(cursor.tokens) else None
        number = 4 if cursor.word() == "last" and cursor.word(2) == "of" else number
        if number is None or number > 4 or cursor.word(1) != "quarter":  # noqa: PLR2004
            return None
        quarter, cursor.at = number, cursor.at + 2
    return Point(year=_tail_year(cursor), quarter=quarter)


def _half(cursor: _Cursor) -> Point | None:
    half = {"h1": 1, "h2": 2}.get(cursor.word())
    if half:
        cursor.at += 1
    elif cursor.word(1) == "half" and cursor.word() in {"first", "second"}:
        half, cursor.at = (1 if cursor.word() == "first" else 2), cursor.at + 2
    return Point(year=_tail_year(cursor), half=half) if half else None


def _year(cursor: _Cursor) -> Point | None:
    cursor.take("year", "the year")
    year = cursor.year()
    if not year:
        return None
    begin = cursor.at
    if cursor.take("-", "q") or cursor.word() in _QUARTERS:
        quarter = _quarter(cursor)
        if quarter:
            return replace(quarter, year=year)
    cursor.at = begin
    return Point(year=year)


def _bounded(cursor: _Cursor, _today: date) -> tuple[Period, int] | None:
    lead = cursor.take("between", "from", "in between")
    first = _point(cursor)
    if first is None or not cursor.take("and", "to", "through", "until", "till", "thru", "up to"):
        return None
    joined_by_and = fold(cursor.tokens[cursor.at - 1].text) == "and"
    if not lead and joined_by_and:
        return None
    last = _point(cursor)
    if last is None and first.month and first.day and (day := _day_number(cursor)):  # June 1 to 15
        last = Point(year=_tail_year(cursor), month=first.month, day=day)
    return (Period(first=first, last=last), cursor.at) if last else None


def _open(cursor: _Cursor, _today: date) -> tuple[Period, int] | None:
    modes = {
        "since": "since", "from": "from", "starting": "since", "starting in": "since", "beginning in": "since", "after": "after",
        "later than": "after", "before": "before", "prior to": "before", "earlier than": "before", "until": "until", "up to": "until",
        "up until": "until", "through": "until", "till": "until", "on or after": "since", "on or before": "until",
    }  # fmt: skip
    for text in sorted(modes, key=len, reverse=True):
        if cursor.take(text):
            point = _point(cursor)
            if point is None:
                return None
            mode = modes[text]
            if mode == "from":  # "from March on"; without "on" the range is what was named
                mode = "from" if cursor.take("on", "onwards", "onward", "on onwards") else "within"
            cursor.take("onwards", "onward")
            return Period(first=point, mode=mode), cursor.at
    return None


def _relative(cursor: _Cursor, today: date) -> tuple[Period, int] | None:  # noqa: C901, PLR0911
    cursor.take(
        "in the", "during the", "over the", "within the", "in", "during", "over", "within", "on", "for the", "for"
    )
    cursor.take("the")
    for text, days in (("today", 0), ("yesterday", -1), ("tomorrow", 1)):
        if cursor.take(text):
            day = today + timedelta(days=days)
            return Period(day, day + timedelta(days=1)), cursor.at
    since = {"since last": -1, "since this": 0, "since yesterday": -1}
    for text, shifted in since.items():
        if cursor.take(text):
            grain = "day" if text.endswith("yesterday") else cursor.grain()
            return (
                (Period(start=shift(floor(today, grain), grain, shifted)), cursor.at)
                if grain and grain != "hour"
                else None
            )
    direction = 0
    if cursor.take("last", "past", "previous", "prior", "preceding"):
        direction = -1
    elif cursor.take("next", "coming", "upcoming", "following"):
        direction = 1
    elif not cursor.take("this", "current"):
        return None
    count = cursor.number()
    grain = cursor.grain()
    if grain is None or grain == "hour" or (count is not None and (direction == 0 or not 0 < count < 1000)):  # noqa: PLR2004
        return None
    if count is None:
        start = shift(floor(today, grain), grain, direction)
        return Period(start, shift(start, grain, 1)), cursor.at
    first = floor(
        today, grain
    )  # whole ones, the current one left out, as "last month" is the whole month before this one
    if direction < 0:
        return Period(shift(first, grain, -count), first), cursor.at
    first = shift(first, grain, 1)
    return Period(first, shift(first, grain, count)), cursor.at


def _part_of(cursor: _Cursor, _today: date) -> tuple[Period, int] | None:
    """Read "the first week of July", "the last 10 days of 2013": days counted from the point's own first or last day."""
    cursor.take("in the", "during the", "over the", "within the", "in", "during", "for the", "for")
    cursor.take("the")
    last = cursor.take("last", "final")
    number = None if last or cursor.at >= len(cursor.tokens) else ordinal(cursor.tokens[cursor.at])
    if not last and number is None:
        return None
    cursor.at += 0 if last else 1
    count = cursor.number()
    grain = cursor.grain()
    if grain not in {"day", "week"} or (count is not None and number not in {None, 1}) or not cursor.take("of", "in"):
        return None
    point = _point(cursor)
    if point is None or not (point.month or point.quarter or point.year) or point.day:
        return None
    length = (7 if grain == "week" else 1) * (count or 1)
    first = -length if last else ((number or 1) - 1) * length
    return Period(first=point, slice=(first, length)), cursor.at


def _to_date(cursor: _Cursor, today: date) -> tuple[Period, int] | None:
    cursor.take("the")
    for short, grain in (("ytd", "year"), ("mtd", "month"), ("qtd", "quarter"), ("wtd", "week")):
        if cursor.take(short, f"{grain} to date", f"{grain}-to-date", f"so far this {grain}", f"this {grain} so far"):
            return Period(floor(today, grain), today + timedelta(days=1)), cursor.at
    return None


def _single(cursor: _Cursor, _today: date) -> tuple[Period, int] | None:
    """Read a point alone; a bare year needs a word before it, for 2013 may be any number."""
    lead = cursor.take(
        "in the", "during the", "in the month of", "in the year", "in", "during", "on the", "on", "for the", "for", "within", "of the",
        "of", "throughout", "all of", "at", "over", "as of", "the year",
    )  # fmt: skip
    begin = cursor.at
    point = _point(cursor)
    if point is None or (not lead and point == Point(year=point.year) and fold(cursor.tokens[begin].text) != "year"):
        return None
    return Period(first=point), cursor.at


def weekday_at(tokens: Sequence[Token], at: int) -> tuple[tuple[int, ...], int] | None:
    """Return ISO weekdays named at a position (1 is Monday): ``on Mondays``, ``weekend``, ``weekdays``."""
    cursor = _Cursor(tokens, at)
    cursor.take("on a", "on the", "on", "over the", "during the", "at the")
    word = cursor.word()
    singular = word.removesuffix("s")
    if singular in {"weekend", "weekday"}:
        cursor.at += 1
        return ((6, 7) if singular == "weekend" else (1, 2, 3, 4, 5)), cursor.at
    day = (
        WEEKDAYS.get(word) or WEEKDAYS.get(singular) or (_SHORT_DAYS.get(word) if tokens[cursor.at].capital else None)
        if word
        else None
    )
    return ((day,), cursor.at + 1) if day else None
