"""Dates in words, read on 2013-10-15 over data of the year 2013."""

from datetime import date

import pytest

from services.analyst.domain.language.dates import period_at, weekday_at
from services.analyst.domain.language.words import tokenize

TODAY = date(2013, 10, 15)
SPAN = (date(2013, 1, 1), date(2013, 12, 31))


def settled(text: str) -> tuple[date | None, date | None]:
    tokens = tokenize(text)
    found = period_at(tokens, 0, TODAY)
    assert found is not None
    assert found[1] == len(tokens)
    period = found[0].settle(TODAY, SPAN)
    assert period is not None
    return period.start, period.end


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("in June", "2013-06-01", "2013-07-01"),
        ("on June 3rd", "2013-06-03", "2013-06-04"),
        ("on 2013-02-28", "2013-02-28", "2013-03-01"),
        ("on 7/4/2013", "2013-07-04", "2013-07-05"),
        ("in Q2 2013", "2013-04-01", "2013-07-01"),
        ("in the second quarter of 2013", "2013-04-01", "2013-07-01"),
        ("in the first half of 2013", "2013-01-01", "2013-07-01"),
        ("between March 1 and March 15", "2013-03-01", "2013-03-16"),
        ("from June to August 2013", "2013-06-01", "2013-09-01"),
        ("since August", "2013-08-01", "2013-10-16"),
        ("after June 5", "2013-06-06", None),
        ("before May 2013", None, "2013-05-01"),
        ("until June 5", None, "2013-06-06"),
        ("last month", "2013-09-01", "2013-10-01"),
        ("last quarter", "2013-07-01", "2013-10-01"),
        ("last 7 days", "2013-10-08", "2013-10-15"),
        ("this year", "2013-01-01", "2014-01-01"),
        ("this year so far", "2013-01-01", "2013-10-16"),
        ("year to date", "2013-01-01", "2013-10-16"),
        ("yesterday", "2013-10-14", "2013-10-15"),
        ("in the first week of July", "2013-07-01", "2013-07-08"),
        ("in the last 10 days of June", "2013-06-21", "2013-07-01"),
    ],
)
def test_period_in_words_is_the_days_it_says(text: str, start: str | None, end: str | None) -> None:
    assert settled(text) == (start and date.fromisoformat(start), end and date.fromisoformat(end))


@pytest.mark.parametrize("text", ["2013 flights", "may flights", "more", "in February 30", "on 13/45/2013"])
def test_what_is_no_date_is_not_read_as_a_whole_one(text: str) -> None:
    tokens = tokenize(text)
    found = period_at(tokens, 0, TODAY)

    assert found is None or found[1] < len(tokens) or found[0].settle(TODAY, SPAN) is None


def test_weekdays_are_numbered_from_monday() -> None:
    assert weekday_at(tokenize("on Mondays"), 0) == ((1,), 2)
    assert weekday_at(tokenize("on weekends"), 0) == ((6, 7), 2)
