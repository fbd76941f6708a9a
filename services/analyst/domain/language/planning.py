"""What every plan over one root is made of: measures, shares, conditions on groups, and which names are groups."""

from dataclasses import replace
from datetime import date

from sqlglot import exp

from services.analyst.domain.language.groups import Groups, Item
from services.analyst.domain.language.literals import literal, plain
from services.analyst.domain.language.measures import Measure, Measures
from services.analyst.domain.language.plan import Names
from services.analyst.domain.language.resolver import OPERATOR_WORDS, Resolver
from services.analyst.domain.language.schema import Schema
from services.analyst.domain.language.scope import Scope, Tables, Unresolved
from services.analyst.domain.language.sketch import (
    Cond,
    DateCond,
    FlagCond,
    Group,
    HavingSketch,
    MeasureSketch,
    Noun,
    NullCond,
    Sketch,
    WeekdayCond,
)
from services.analyst.domain.language.words import name_words, spoken

_LISTING_ASKS = {"list", "which", "what", "who", "where", "when", "", "compare"}


class Planning:
    """Reads the parts of one sketch over one root. Raises ``Unresolved`` when this root does not have them."""

    def __init__(self, schema: Schema, sketch: Sketch, root: str, today: date) -> None:
        self.schema = schema
        self.sketch = sketch
        self.tables = Tables(schema)
        self.scope = Scope(self.tables, root)
        self.resolver = Resolver(schema, self.tables, self.scope, today)
        self.measures = Measures(self.resolver)
        self.groups = Groups(self.resolver)
        self.names = Names()
        self.root = root
        self.today = today
        self.mentioned: list[Noun] = []  # names that only say what rows are meant

    def words(self, name: str) -> str:
        """Return a table's name in words."""
        return spoken(name) if len(name_words(name)) > 1 else name.lower()

    def measure(self, sketch: MeasureSketch) -> Measure:
        if sketch.share == "part":
            return self._share(sketch)
        measure = self.measures.read(sketch)
        if sketch.share == "total":
            total = exp.Window(this=exp.Sum(this=measure.sql.copy()))
            share = percentage(measure.sql, total)
            return Measure(share, f"share of total {measure.title}", "%", "share")
        return measure

    def split(self, measures: list[MeasureSketch]) -> tuple[list[Noun], list[MeasureSketch]]:
        """Part the targets into what to group by, what to add up, and words that only name the rows."""
        targets: list[Noun] = []
        sketch = self.sketch
        ranked = bool(sketch.rank or sketch.havings) and sketch.ask in _LISTING_ASKS
        for target in sketch.targets:
            if (
                any(meaning.table == self.root and meaning.cost < 1 for meaning in target.of("table"))
                and (measures or sketch.havings or sketch.groups)
                and not self._is_subject(target)
            ):
                continue
            metric = self.measures.metric(target)
            ref = (
                self.measures.row_column(MeasureSketch("", target))
                if not any(m.cost < 1 for m in target.of("table"))
                else None
            )
            fact = ref is not None and self.resolver.entry(ref).kind.value == "fact" and self.resolver.is_number(ref)
            if metric is not None or fact:
                measures.append(MeasureSketch("", target))
            elif ranked or (sketch.ask in {"list", "which", "who", "compare"} and not target.role):
                targets.append(target)
            else:
                self.mentioned.append(target)
        return targets, measures

    def _check_mentions(self) -> None:
        """Raise when a name was said that no part of the query reads."""
        for target in self.mentioned:
            if not self._is_reached(target):
                raise Unresolved(f"it is unclear what {target.text!r} has to do with the rest", weight=3)

    def _is_subject(self, target: Noun) -> bool:
        """Tell whether rows of the root themselves are ranked: "which planes have the most seats"."""
        rank = self.sketch.rank
        first = self.sketch.targets[0] is target
        if not (first and self.sketch.ask in {"list", "which", "who"} | ({"what"} if rank else set())):
            return False
        counted = [
            m
            for m in (
                *self.sketch.measures,
                *(h.measure for h in self.sketch.havings),
                *([rank.measure] if rank and rank.measure else []),
            )
            if m.noun
        ]
        return not any(
            meaning.table == self.root for m in counted for meaning in (m.noun.of("table") if m.noun else ())
        ) and not (rank and rank.common)

    def _is_reached(self, target: Noun) -> bool:
        """Tell whether the query reads what a name says: its table, its column, or the join that the column makes."""
        used = self.resolver.used
        tables = {ref.table for ref in used}
        tables |= {relation.right_table for ref in used for relation in self.schema.foreign(ref.table, ref.column)}
        steps = {step for ref in used for step in ref.steps}
        if any(meaning.table in tables or meaning.table == self.root for meaning in target.of("table")):
            return True
        columns = {(ref.table, ref.column) for ref in used}
        return any(
            (meaning.table, meaning.name) in columns
            or any(relation.name in steps for relation in self.schema.foreign(meaning.table, meaning.name))
            for meaning in target.of("column")
            if meaning.cost < 1
        )

    def _share(self, sketch: MeasureSketch) -> Measure:
        if sketch.noun is None:
            raise Unresolved("say of what the share is")
        parts = self.sketch.parts or self._movable()
        if not parts and self.sketch.groups:
            return self.measure(replace(sketch, share="total"))
        if not parts:
            raise Unresolved("say which part the share is of", weight=5)
        self.scope.lenient = True  # rows that find nothing belong to the whole
        sqls, said = self.resolver.conditions(parts)
        self.scope.lenient = False
        base = self.measures.read(replace(sketch, share=""))
        met = exp.and_(*sqls)
        if base.func == "count":
            part: exp.Expr = exp.Sum(this=case(met, literal(1), literal(0)))
        elif base.func == "sum" and base.argument is not None:
            part = exp.Sum(this=case(met, base.argument.copy(), None))
        elif base.func == "count_distinct":
            inner = base.sql.find(exp.Distinct)
            column = inner.expressions[0] if inner else literal(1)
            part = exp.Count(this=exp.Distinct(expressions=[case(met, column.copy(), None)]))
        else:
            raise Unresolved(f"a share of {base.title} is not read", weight=5)
        return Measure(
            percentage(part, base.sql), f"percentage of {bare(base.title)} where {' and '.join(said)}", "%", "share"
        )

    def _movable(self) -> list[Cond]:
        """Return the one condition that says the part, when no verb told it from the rest."""
        candidates = [cond for cond in self.sketch.conds if not isinstance(cond, DateCond | WeekdayCond)]
        flags = [cond for cond in candidates if isinstance(cond, FlagCond | NullCond)]
        chosen: list[Cond] = list(flags) if len(flags) == 1 else candidates
        if len(chosen) != 1:
            return []
        self.sketch.conds.remove(chosen[0])
        return chosen

    def _having(self, having: HavingSketch, items: list[Item]) -> tuple[Measure, exp.Expr, str]:
        measure = self.measure(having.measure)
        if having.average:
            other = self._average_of(having, items)
            reference: exp.Expr = exp.Subquery(this=other)
            words = f"{measure.title} {OPERATOR_WORDS[having.op]} the average"
        elif having.than is not None:
            reference = exp.Subquery(this=self._than(having))
            words = f"{measure.title} {OPERATOR_WORDS[having.op]} that of {' '.join(having.than.texts)}"
        elif having.upper is not None and having.number is not None:
            sql = exp.Between(this=measure.sql.copy(), low=literal(having.number), high=literal(having.upper))
            return measure, sql, f"{measure.title} between {plain(having.number)} and {plain(having.upper)}"
        else:
            number = having.number or 0.0
            if having.unit:
                number *= self._unit_factor(having.unit, measure)
            reference = literal(number)
            words = f"{measure.title} {OPERATOR_WORDS[having.op]} {plain(number)}"
        operator = {"gt": exp.GT, "ge": exp.GTE, "lt": exp.LT, "le": exp.LTE, "eq": exp.EQ, "ne": exp.NEQ}[having.op]
        return measure, operator(this=measure.sql.copy(), expression=reference), words

    def _unit_factor(self, unit: str, measure: Measure) -> float:
        from services.analyst.domain.language.lexicon import CONVERSIONS  # noqa: PLC0415

        if unit == measure.unit or unit in {"percent", "dollars", "euros", "pounds", "stars"}:
            return 1.0
        if (unit, measure.unit) not in CONVERSIONS:
            raise Unresolved(f"{measure.title} is not known to be measured in {unit}", weight=5)
        return CONVERSIONS[unit, measure.unit]

    def _fresh(self, name: str) -> "Planning":
        """Return a planner for another query over the same root and tables."""
        other = type(self)(self.schema, self.sketch.copy(), self.root, self.today)
        other.tables = self.tables
        other.scope = Scope(self.tables, self.root, name)
        other.resolver = Resolver(self.schema, self.tables, other.scope, self.today)
        other.measures, other.groups = Measures(other.resolver), Groups(other.resolver)
        return other

    def _average_of(self, having: HavingSketch, items: list[Item]) -> exp.Select:
        """Return the average that groups compare to: of all rows for an average, of the groups' numbers for a count or a sum."""
        other = self._fresh(f"all_{self.root.lower()}")
        measure = other.measures.read(having.measure)
        conds, _ = other.resolver.conditions(self.sketch.conds)
        if measure.func == "avg":
            select = other.scope.from_(exp.select(measure.sql))
            self.resolver.notes.append("the average is over all rows that meet the other conditions")
            return select.where(*conds, copy=False) if conds else select
        targets, _ = other.split([])
        same = [other.groups.read(Group(target)) for target in targets] + [
            other.groups.read(group) for group in self.sketch.groups
        ]
        keys = [key for item in same for key in item.keys]
        inner = other.scope.from_(exp.select(exp.alias_(measure.sql, "number")))
        inner = inner.where(*conds, copy=False) if conds else inner
        inner = inner.group_by(*keys, copy=False)
        self.resolver.notes.append("the average is over these groups")
        return exp.select(exp.Avg(this=exp.column("number"))).from_(
            exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier("numbers")))
        )

    def _than(self, having: HavingSketch) -> exp.Select:
        other = self._fresh(f"other_{self.root.lower()}")
        measure = other.measures.read(having.measure)
        conds, _ = other.resolver.conditions([*self.sketch.conds, *([having.than] if having.than else [])])
        return other.scope.from_(exp.select(measure.sql)).where(*conds, copy=False)

    def single(self) -> int:
        """Return 1 when one thing is asked for; "which carriers have the most" does not say how many."""
        first = next(iter(self.sketch.targets), None)
        if first is not None and first.plural:
            text = first.text.lower()
            raise Unresolved(
                f"say how many {text} to show", weight=6, options=(f"top 5 {text}", f"top 10 {text}"), noun=text
            )
        return 1


def case(condition: exp.Expr, then: exp.Expr, otherwise: exp.Expr | None) -> exp.Expr:
    return exp.Case(ifs=[exp.If(this=condition, true=then)], default=otherwise)


def percentage(part: exp.Expr, whole: exp.Expr) -> exp.Expr:
    """Return 100.0 * part / whole, NULL when there is nothing."""
    hundred = exp.Mul(this=exp.Literal.number("100.0"), expression=part.copy())
    return exp.Div(
        this=hundred, expression=exp.Nullif(this=whole.copy(), expression=literal(0)), typed=False, safe=False
    )


def bare(title: str) -> str:
    return title.removeprefix("number of ").removeprefix("total ")


def keys_known(item: Item) -> list[exp.Expr]:
    """Return that the keys of a group are known: what is unknown is no answer to "which"."""
    return [exp.Not(this=exp.Is(this=key.copy(), expression=exp.Null())) for key in item.keys]


def unique(expressions: list[exp.Expr]) -> list[exp.Expr]:
    return list({expression.sql(): expression.copy() for expression in expressions}.values())


def ordered(column: exp.Expr, *, descending: bool) -> exp.Ordered:
    return exp.Ordered(this=column, desc=descending, nulls_first=False)
