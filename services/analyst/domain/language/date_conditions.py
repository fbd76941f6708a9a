"""Conditions on times: dates, whole years kept as numbers, weekdays."""

from dataclasses import dataclass

from sqlglot import exp

from services.analyst.domain.language.dates import Period
from services.analyst.domain.language.literals import OPERATORS, either, literal, period_words, within
from services.analyst.domain.language.names import Choice, Names
from services.analyst.domain.language.schema import Ref
from services.analyst.domain.language.scope import Unresolved
from services.analyst.domain.language.sketch import (
    DateCond,
    WeekdayCond,
)
from services.analyst.domain.language.words import name_words

WEEKDAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(slots=True)
class DateConditions(Names):
    """Reads conditions on times."""

    def _date(self, cond: DateCond) -> tuple[exp.Expr, str]:
        if year := self._year_column(cond):
            return self._year(cond, year)
        ref = self.time(cond.noun)
        sqls, words = [], []
        for period, text in zip(cond.periods, cond.texts, strict=True):
            settled = period.settle(self.today, self.span(ref))
            if settled is None:
                raise Unresolved(f"{text!r} is no time range", weight=5)
            self._within_data(settled, ref)
            sqls.append(within(self.time_column(ref), settled))
            words.append(period_words(settled))
        sql = sqls[0] if len(sqls) == 1 else exp.paren(exp.or_(*sqls))
        said = f"{self.title(ref)} {' or '.join(words)}"
        return (exp.Not(this=exp.paren(sql)), f"not {said}") if cond.negated else (sql, said)

    def _within_data(self, period: Period, ref: Ref) -> None:
        """Raise when no row can lie in a period: an empty answer would look like a zero."""
        span = self.span(ref)
        if span and ((period.start and period.start > span[1]) or (period.end and period.end <= span[0])):
            raise Unresolved(
                f"{period_words(period)} is outside the data, whose {self.title(ref)} runs from {span[0]} to {span[1]}",
                weight=8,
            )

    def _year_column(self, cond: DateCond) -> Ref | None:
        """Return a number column that holds years, when that is what whole years are about."""
        whole = all(
            period.first
            and period.first.year
            and not (period.first.month or period.first.quarter or period.first.half or period.first.day)
            for period in cond.periods
        )
        if not whole:
            return None
        if cond.noun is not None:
            choices = [
                choice
                for choice in self.choices(cond.noun)
                if self.is_number(choice.ref) and "year" in name_words(choice.ref.column)
            ]
            timed = any(
                self.schema.is_time(choice.ref.table, self.entry(choice.ref)) for choice in self.choices(cond.noun)
            )
            return self.one(choices, cond.noun.text, "") if choices and not timed else None
        if self.schema.times(self.root):
            return None
        years = [
            Choice(Ref((), self.root, column.name), 0.5)
            for column in self.schema.table(self.root).columns
            if name_words(column.name) in {("year",), ("fiscal", "year")} and self.schema.is_number(self.root, column)
        ]
        return self.one(years, "the year", "") if years else None

    def _year(self, cond: DateCond, ref: Ref) -> tuple[exp.Expr, str]:
        column, words = self.scope.column(ref), list[str]()
        sqls: list[exp.Expr] = []
        for period in cond.periods:
            first = period.first.year if period.first and period.first.year else 0
            last = period.last.year if period.last and period.last.year else first
            op = {"since": "ge", "after": "gt", "before": "lt", "until": "le"}.get(period.mode)
            if op:
                sqls.append(OPERATORS[op](this=column.copy(), expression=literal(first)))
                words.append(f"{period.mode} {first}")
            elif last != first:
                sqls.append(exp.Between(this=column.copy(), low=literal(first), high=literal(last)))
                words.append(f"from {first} to {last}")
            else:
                sqls.append(exp.EQ(this=column.copy(), expression=literal(first)))
                words.append(f"in {first}")
        sql = sqls[0] if len(sqls) == 1 else exp.paren(exp.or_(*sqls))
        said = f"{self.title(ref)} {' or '.join(words)}"
        return (exp.Not(this=exp.paren(sql)), f"not {said}") if cond.negated else (sql, said)

    def _weekday(self, cond: WeekdayCond) -> tuple[exp.Expr, str]:
        ref = self.time()
        day = exp.DayOfWeekIso(this=self.time_column(ref))
        sql: exp.Expr = exp.In(this=day, expressions=[literal(each) for each in cond.days])
        names = either([WEEKDAY_NAMES[each - 1] for each in cond.days])
        return (
            exp.Not(this=sql) if cond.negated else sql
        ), f"{self.title(ref)} is {'not ' if cond.negated else ''}a {names}"
