"""Names and conditions of a sketch over one root table: which columns they are, what it costs to read them so, and their SQL."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlglot
from sqlglot import exp

from services.analyst.domain.language import lexicon
from services.analyst.domain.language.date_conditions import DateConditions
from services.analyst.domain.language.literals import OPERATORS, either, literal, plain
from services.analyst.domain.language.names import STEP, Choice
from services.analyst.domain.language.schema import Ref
from services.analyst.domain.language.scope import Scope, Tables, Unresolved
from services.analyst.domain.language.sketch import (
    AverageCond,
    ColumnCond,
    Cond,
    DateCond,
    FlagCond,
    NoneCond,
    Noun,
    NullCond,
    NumberCond,
    OrCond,
    TextCond,
    ValueCond,
    WeekdayCond,
)
from services.analyst.domain.language.vocabulary import Found, Meaning
from services.analyst.domain.language.words import name_words, spoken
from services.analyst.domain.semantic_model.structure import DIALECT

_TURNED = {"gt": "le", "ge": "lt", "lt": "ge", "le": "gt", "eq": "ne", "ne": "eq"}
OPERATOR_WORDS = {
    "gt": "more than",
    "ge": "at least",
    "lt": "less than",
    "le": "at most",
    "eq": "exactly",
    "ne": "other than",
}


@dataclass(slots=True)
class Resolver(DateConditions):
    """Reads names and conditions over one root. *cost* adds up; *notes* says what was decided for the person."""

    def conditions(self, conds: Sequence[Cond]) -> tuple[list[exp.Expr], list[str]]:
        """Return the SQL of conditions that must all hold, and their words."""
        absent = self._about_others(conds)
        pairs = [self.condition(cond) for cond in conds if cond not in absent] + self._absence(absent)
        dates = [cond.negated for cond in conds if isinstance(cond, DateCond)]
        if len(set(dates)) > 1:
            raise Unresolved("dates are both asked for and denied; ask for one of them", weight=7)
        equalities = [sql.this.sql() for sql, _ in pairs if isinstance(sql, exp.EQ | exp.In)]
        if len(equalities) != len(set(equalities)):
            raise Unresolved("two conditions on one column exclude each other; join their values by or", weight=5)
        return [sql for sql, _ in pairs], [words for _, words in pairs]

    def _about_others(self, conds: Sequence[Cond]) -> list[Cond]:
        """Return conditions that the root does not have but rows that point to it do, when one of them is denied.

        "Airlines that do not fly to Boston" have no flight to Boston; a flight elsewhere does not make them one.
        """
        if not any(isinstance(cond, ValueCond | FlagCond | NumberCond) and _denied(cond) for cond in conds):
            return []
        others = [cond for cond in conds if not self._has(cond)]
        return others if any(_denied(cond) for cond in others) else []

    def _has(self, cond: Cond) -> bool:
        probe = Resolver(self.schema, Tables(self.schema), Scope(Tables(self.schema), self.root), self.today)
        try:
            probe.condition(cond)
        except Unresolved as error:
            return error.weight > 2  # noqa: PLR2004  found, but unclear
        return True

    def _absence(self, conds: list[Cond]) -> list[tuple[exp.Expr, str]]:
        """Return that there is a row with all the conditions that are said, and none with one that is denied."""
        if not conds:
            return []
        denied = [cond for cond in conds if _denied(cond)]
        dates = [cond for cond in conds if isinstance(cond, DateCond | WeekdayCond)]
        said = [cond for cond in conds if cond not in denied and cond not in dates]
        if len(denied) != 1 or not all(_one_column(cond, denied[0]) for cond in said):
            raise Unresolved("it is unclear which of the conditions are denied", weight=7)
        many = [
            relation.left_table for relation in self.schema.relationships.values() if relation.right_table == self.root
        ]
        meanings = tuple(Meaning("table", table) for table in dict.fromkeys(many))
        if len(meanings) != 1:
            raise Unresolved(f"rows of several tables, or none, point to {self.root}", weight=3)
        noun = Noun(spoken(meanings[0].table), meanings)
        found = [self._none(NoneCond(noun, (_affirmed(denied[0]), *dates)))]
        if said:
            sql, words = self._none(NoneCond(noun, (*said, *dates)))
            found.append((exp.Not(this=exp.paren(sql)), words.replace("there are no", "there are", 1)))
        self.cost += 1.0
        return found

    def refs_of(self, cond: Cond) -> set[Ref]:
        """Return the columns that a condition is about."""
        probe = Resolver(self.schema, Tables(self.schema), Scope(Tables(self.schema), self.root), self.today)
        probe.condition(cond)
        return set(probe.used)

    def condition(self, cond: Cond) -> tuple[exp.Expr, str]:  # noqa: C901, PLR0911
        """Return a condition's SQL and how it was read."""
        match cond:
            case ValueCond():
                return self.value(cond)
            case NumberCond():
                return self._number(cond)
            case DateCond():
                return self._date(cond)
            case WeekdayCond():
                return self._weekday(cond)
            case FlagCond():
                return self._flag(cond)
            case NullCond():
                ref = self.ref(cond.noun)
                missing: exp.Expr = exp.Is(this=self.scope.column(ref), expression=exp.Null())
                return (
                    exp.Not(this=missing) if cond.negated else missing
                ), f"{self.title(ref)} is {'known' if cond.negated else 'missing'}"
            case TextCond():
                return self._text(cond)
            case AverageCond():
                return self._average(cond)
            case ColumnCond():
                left, right = self.ref(cond.noun, numeric=True), self.ref(cond.other, numeric=True)
                sql = OPERATORS[cond.op](this=self.scope.column(left), expression=self.scope.column(right))
                return sql, f"{self.title(left)} {OPERATOR_WORDS[cond.op]} {self.title(right)}"
            case OrCond():
                pairs = [self.condition(each) for each in cond.conds]
                return exp.paren(exp.or_(*(sql for sql, _ in pairs))), f"({' or '.join(words for _, words in pairs)})"
            case NoneCond():
                return self._none(cond)
        raise TypeError(f"no such condition: {type(cond).__name__}")

    def value_choices(self, cond: ValueCond) -> list[tuple[Choice, list[tuple[str, ...]]]]:
        """Return the columns that hold all values of a condition, with the values as each writes them."""
        places: dict[Ref, tuple[Choice, list[tuple[str, ...]]]] = {}
        for at, found_list in enumerate(cond.values):
            for found in found_list:
                for ref, cost in self._places(found, cond):
                    choice, values = places.setdefault(ref, (Choice(ref, 0.0), []))
                    if len(values) == at:
                        values.append(found.values)
                        choice.cost += cost + (0.0 if found.whole else 1.0)
        return [(choice, values) for choice, values in places.values() if len(values) == len(cond.values)]

    def _places(self, found: Found, cond: ValueCond) -> list[tuple[Ref, float]]:
        noun = cond.noun
        if noun is not None and noun.of("column") and not noun.of("table"):
            hints = self._hints(noun, cond.role)
            through = frozenset(
                relation.name
                for meaning in noun.of("column")
                for relation in self.schema.foreign(meaning.table, meaning.name)
            )
        else:
            hints, through = self._hints(noun, cond.role), frozenset()
        refs = {}
        for steps in self.paths(found.table, hints, through if found.table != self.root else frozenset()):
            ref = self.reduced(Ref(steps, found.table, found.column))
            if noun is not None and not self._named(ref, found, noun):
                continue
            if (
                not ref.steps
                and all(self.schema.observed(ref.table, ref.column, value) is False for value in found.values)
                and not cond.role
            ):
                continue
            unnamed = len(self.schema.paths(self.root, found.table)) > 1 and not hints and ref.steps and noun is None
            refs[ref] = len(steps) * STEP + (
                0.5 if unnamed else 0.0
            )  # a part in a join that nobody named is the less likely
        return list(refs.items())

    def _named(self, ref: Ref, found: Found, noun: Noun) -> bool:
        """Tell whether a noun beside a value can be its column."""
        for meaning in noun.meanings:
            if meaning.kind == "column" and (
                (meaning.table, meaning.name) in {(ref.table, ref.column), (found.table, found.column)}
            ):
                return True
            if meaning.kind == "column" and self.schema.fits(meaning, found) and ref.steps:
                return any(relation.name in ref.steps for relation in self.schema.foreign(meaning.table, meaning.name))
            if meaning.kind == "table" and self.schema.fits(meaning, found):
                return True
        return False

    def value(self, cond: ValueCond) -> tuple[exp.Expr, str]:
        options = self.value_choices(cond)
        hints = self._hints(None, cond.role)
        if hints:
            meant = [option for option in options if self._part_of(option[0].ref) & hints]
            options = meant or options
        text = " or ".join(cond.texts)
        missing = f"{text!r} is no value that {self.root} has or leads to"
        ref = self.one([choice for choice, _ in options], text, missing, beside=True)
        values = [value for choice, found in options if choice.ref == ref for each in found for value in each]
        if len(values) > len(cond.values):
            self.notes.append(f"{text} was read as {either(values)}")
        column = self.scope.column(ref)
        words = f"{self.title(ref)} is {'not ' if cond.negated else ''}{either(values)}"
        literals = [exp.Literal.string(value) for value in dict.fromkeys(values)]
        sql: exp.Expr = (
            exp.EQ(this=column, expression=literals[0])
            if len(literals) == 1
            else exp.In(this=column, expressions=literals)
        )
        return (exp.Not(this=sql) if cond.negated else sql), words

    def _part_of(self, ref: Ref) -> frozenset[str]:
        words = set(self.column_words(ref.table, ref.column))
        for step in ref.steps:
            words |= self.part(step)
        return frozenset(words)

    def _number(self, cond: NumberCond) -> tuple[exp.Expr, str]:
        ref = self.ref(cond.noun, numeric=True) if cond.noun else self.by_unit(cond.unit)
        if not self.is_number(ref):
            raise Unresolved(f"{self.title(ref)} is no number to compare", weight=4)
        factor = self._factor(cond.unit, ref)
        low, high = cond.number * factor, None if cond.upper is None else cond.upper * factor
        column, unit = self.scope.column(ref), self.schema.unit(ref.table, ref.column)
        suffix = f" {unit}" if unit else ""
        if high is not None:
            sql: exp.Expr = exp.Between(this=column, low=literal(low), high=literal(high))
            words = f"{self.title(ref)} between {plain(low)} and {plain(high)}{suffix}"
            return (exp.Not(this=sql), f"not {words}") if cond.negated else (sql, words)
        op = _TURNED[cond.op] if cond.negated else cond.op
        sql = OPERATORS[op](this=column, expression=literal(low))
        return sql, f"{self.title(ref)} {OPERATOR_WORDS[op]} {plain(low)}{suffix}"

    def by_unit(self, unit: str) -> Ref:
        """Return the one number of the root that is measured in a unit, or in one that it converts to."""
        mentioned = {
            meaning.table for noun in self.mentions for meaning in noun.of("table") if meaning.table != self.root
        }
        tables = sorted(table for table in mentioned if self.schema.paths(self.root, table)) or [self.root]
        columns = [
            (Ref(steps, table, column.name), self.schema.unit(table, column.name))
            for table in tables
            for steps in self.paths(table)
            for column in self.schema.table(table).columns
            if not column.private and self.schema.is_number(table, column)
        ]
        same = [ref for ref, own in columns if own == unit]
        near = same or [ref for ref, own in columns if (unit, own) in lexicon.CONVERSIONS]
        choices = [Choice(ref, 1.0) for ref in near]
        return self.one(choices, unit, f"nothing in {self.root} is measured in {unit}")

    def _factor(self, unit: str, ref: Ref) -> float:
        own = self.schema.unit(ref.table, ref.column)
        if not unit or unit == own or unit in {"percent", "dollars", "euros", "pounds", "stars"}:
            return 1.0
        if not own and unit in name_words(ref.column):
            return 1.0
        if (unit, own) not in lexicon.CONVERSIONS:
            raise Unresolved(f"{self.title(ref)} is not known to be measured in {unit}", weight=5)
        return lexicon.CONVERSIONS[unit, own]

    # Flags, text, averages, absence

    def _flag(self, cond: FlagCond) -> tuple[exp.Expr, str]:
        not_ = "not " if cond.negated else ""
        filters = [meaning for meaning in cond.noun.of("filter") if self.paths(meaning.table)]
        if filters:
            best = min(filters, key=lambda meaning: (len(self.paths(meaning.table)[0]), meaning.cost))
            steps = self.entity(best, cond.noun)
            condition = next(each for each in self.schema.table(best.table).filters if each.name == best.name)
            sql = exp.paren(self.expression(condition.expr, best.table, steps))
            return (exp.Not(this=sql) if cond.negated else sql), f"{not_}{spoken(condition.name)}"
        ref = self.ref(cond.noun)
        is_true: exp.Expr = exp.EQ(this=self.scope.column(ref), expression=exp.Boolean(this=not cond.negated))
        return is_true, f"{self.title(ref)} is {'false' if cond.negated else 'true'}"

    def expression(self, text: str, table: str, steps: tuple[str, ...] = (), depth: int = 0) -> exp.Expr:
        """Return an expression of the model over logical columns, seen from the root."""
        tree = sqlglot.parse_one(text, read=DIALECT)
        entry = self.schema.table(table)

        def bound(node: exp.Expr) -> exp.Expr:
            if not isinstance(node, exp.Column):
                return node
            metric = next((each for each in entry.metrics if each.name.casefold() == node.name.casefold()), None)
            if metric and not entry.column(node.name) and depth < 5:  # noqa: PLR2004
                return exp.paren(self.expression(metric.expr, table, steps, depth + 1))
            column = entry.column(node.name)
            return self.scope.column(Ref(steps, table, column.name if column else node.name))

        return tree.transform(bound)

    def _text(self, cond: TextCond) -> tuple[exp.Expr, str]:
        ref = self.ref(cond.noun) if cond.noun else self._labelled()
        if self.is_number(ref) or self.schema.is_time(ref.table, self.entry(ref)):
            raise Unresolved(f"{self.title(ref)} is no text", weight=4)
        lowered = exp.Lower(this=self.scope.column(ref))
        escaped = cond.text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        if cond.op == "eq":
            sql: exp.Expr = exp.EQ(this=lowered, expression=exp.Literal.string(cond.text.lower()))
            words = "is"
        elif "\\" in escaped:
            raise Unresolved("a text to look for has letters, digits and spaces only", weight=4)
        else:
            pattern = {"starts": f"{escaped}%", "ends": f"%{escaped}", "contains": f"%{escaped}%"}[cond.op]
            sql = exp.Like(this=lowered, expression=exp.Literal.string(pattern))
            words = {"starts": "starts with", "ends": "ends with", "contains": "contains"}[cond.op]
        sql = exp.Not(this=sql) if cond.negated else sql
        return sql, f"{self.title(ref)} {'not ' if cond.negated else ''}{words} {cond.text!r}, ignoring case"

    def _labelled(self) -> Ref:
        label = self.schema.label(self.root)
        if label is None:
            raise Unresolved("say which column's text is meant", weight=4)
        return Ref((), self.root, label)

    def _average(self, cond: AverageCond) -> tuple[exp.Expr, str]:
        if cond.noun is None:
            raise Unresolved("say what is compared to its average", weight=4)
        ref = self.ref(cond.noun, numeric=True)
        if not self.is_number(ref):
            raise Unresolved(f"{self.title(ref)} has no average", weight=4)
        inner = Scope(self.tables, ref.table, "every_" + ref.table.lower())
        average = exp.select(exp.Avg(this=inner.column(Ref((), ref.table, ref.column))))
        sql = OPERATORS[cond.op](this=self.scope.column(ref), expression=exp.Subquery(this=inner.from_(average)))
        return sql, f"{self.title(ref)} {OPERATOR_WORDS[cond.op]} its average over all {spoken(ref.table)}"

    def _none(self, cond: NoneCond) -> tuple[exp.Expr, str]:
        """Return NOT EXISTS over rows of another table that point to the root's."""
        tables = [meaning.table for meaning in cond.noun.meanings]
        links = [
            (relation.left_table, relation.name)
            for relation in self.schema.relationships.values()
            if relation.right_table == self.root and relation.left_table in tables
        ]
        if not links:
            raise Unresolved(f"no {cond.noun.text} belong to {self.root}", weight=3)
        if cond.role:
            hints = lexicon.BEGINNING if cond.role == "from" else lexicon.ENDING
            links = [(table, name) for table, name in links if self.part(name) & hints] or links
        many = links[0][0]
        said: list[str] = []
        sqls: list[exp.Expr] = []
        for table, name in links:
            inner = Resolver(self.schema, self.tables, Scope(self.tables, table, f"their_{table.lower()}"), self.today)
            parts, said = inner.conditions(cond.conds)
            relation = self.schema.relationships[name]
            for left, right in relation.columns:
                pair = inner.scope.column(Ref((), table, left)), self.scope.column(Ref((), self.root, right))
                parts.append(exp.EQ(this=pair[0], expression=pair[1]))
            query = inner.scope.from_(exp.select(literal(1))).where(*parts, copy=False)
            sqls.append(exp.Not(this=exp.Exists(this=query)))
            self.cost += inner.cost
        words = f" with {' and '.join(said)}" if said else ""
        parts_note = f", in whichever part ({either([n for _, n in links])})" if len(links) > 1 else ""
        return exp.and_(*sqls), f"there are no {spoken(many)}{words}{parts_note}"


def _denied(cond: Cond) -> bool:
    return isinstance(cond, ValueCond | FlagCond | NumberCond) and cond.negated


def _affirmed(cond: Cond) -> Cond:
    return replace(cond, negated=False) if isinstance(cond, ValueCond | FlagCond | NumberCond) else cond


def _one_column(cond: Cond, other: Cond) -> bool:
    """Tell whether two conditions are about values of one column."""
    if not isinstance(cond, ValueCond) or not isinstance(other, ValueCond):
        return False
    places = {(found.table, found.column) for values in cond.values for found in values}
    return any((found.table, found.column) in places for values in other.values for found in values)
