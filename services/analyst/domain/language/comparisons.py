"""Two things side by side: which is more, by how much, and how a number changed from one period to the next."""

from dataclasses import replace

from sqlglot import exp

from services.analyst.domain.language.answer import OutputColumn
from services.analyst.domain.language.groups import Item
from services.analyst.domain.language.literals import day, literal
from services.analyst.domain.language.measures import Measure
from services.analyst.domain.language.plan import Plan
from services.analyst.domain.language.planner import Planner
from services.analyst.domain.language.planning import ordered, percentage
from services.analyst.domain.language.scope import Unresolved
from services.analyst.domain.language.sketch import Cond, DateCond, Group, MeasureSketch, Noun, ValueCond
from services.analyst.domain.semantic_model.logical import identifier

_TWO = 2


class Comparisons:
    """Plans a comparison over the planner's root."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._resolver = planner.resolver
        self._sketch = planner.sketch

    def plan(self) -> Plan:
        """Return the plan."""
        if self._sketch.diff == "previous" or (self._sketch.diff in {"change", "percent"} and self._grain()):
            return self._to_previous()
        measures = self._measures()
        if self._sketch.diff == "difference" and len(measures) == _TWO:
            return self._of_two(measures)
        slot = self._slot()
        if self._sketch.havings or (self._sketch.rank and not self._sketch.rank.every):
            raise Unresolved("a ranking inside a comparison is not read", weight=6)
        if self._sketch.diff:
            if len(measures) != 1:
                raise Unresolved("a difference is of one number", weight=5)
            return self._difference(slot, measures[0])
        return self._side_by_side(slot, measures)

    def _measures(self) -> list[MeasureSketch]:
        measures = list(self._sketch.measures)
        for target in self._sketch.targets:
            if any(meaning.table == self._planner.root for meaning in target.of("table")) and measures:
                continue
            if (
                self._planner.measures.metric(target) is None
                and self._planner.measures.row_column(MeasureSketch("", target)) is None
            ):
                if self._is_slot(target):
                    continue
                raise Unresolved(f"it is unclear what {target.text!r} has to do with the comparison", weight=4)
            measures.append(MeasureSketch("", target))
        if not measures:
            raise Unresolved("say which number to compare", weight=4)
        return measures

    def _is_slot(self, target: Noun) -> bool:
        """Tell whether a noun only names what is compared: "which carrier, A or B"."""
        for cond in self._sketch.conds:
            if isinstance(cond, ValueCond) and len(cond.values) >= _TWO:
                places = {(found.table, found.column) for values in cond.values for found in values}
                schema = self._planner.schema
                if any(
                    schema.fits(meaning, found)
                    for meaning in target.meanings
                    for values in cond.values
                    for found in values
                ):
                    return True
                if any((meaning.table, meaning.name) in places for meaning in target.of("column")):
                    return True
        return False

    def _slot(self) -> Cond:
        """Return the condition that names two or more things to compare, or two dates."""
        found: list[Cond] = []
        conds = self._sketch.conds
        for cond in conds:
            if isinstance(cond, ValueCond) and len(cond.values) >= _TWO and not cond.negated:
                found.append(cond)
            elif isinstance(cond, DateCond) and not cond.negated:
                if len(cond.periods) >= _TWO:
                    found.append(cond)
                elif self._sketch.diff and (ends := _ends(cond)):
                    conds[conds.index(cond)] = ends
                    found.append(ends)
        found = found or self._pairs()
        if len(found) != 1:
            raise Unresolved("name the two things to compare, and only these twice", weight=5)
        return found[0]

    def _pairs(self) -> list[Cond]:
        """Return two conditions on one column as one: "more flights in June than in July"."""
        conds = self._sketch.conds
        dates = [cond for cond in conds if isinstance(cond, DateCond) and len(cond.periods) == 1 and not cond.negated]
        values = [cond for cond in conds if isinstance(cond, ValueCond) and len(cond.values) == 1 and not cond.negated]
        joined: list[Cond] = []
        if len(dates) == _TWO:
            merged = replace(
                dates[0], periods=(*dates[0].periods, *dates[1].periods), texts=(*dates[0].texts, *dates[1].texts)
            )
            joined.append(self._merge(list(dates), merged))
        elif len(values) == _TWO and self._same_place(values[0], values[1]):
            one, two = values
            both = ValueCond(
                (*one.values, *two.values), (*one.texts, *two.texts), one.noun or two.noun, one.role or two.role
            )
            joined.append(self._merge(list(values), both))
        return joined

    def _same_place(self, one: ValueCond, two: ValueCond) -> bool:
        places = {(found.table, found.column) for found in one.values[0]}
        return bool(places & {(found.table, found.column) for found in two.values[0]})

    def _merge(self, old: list[Cond], new: Cond) -> Cond:
        self._sketch.conds = [*(cond for cond in self._sketch.conds if not any(cond is each for each in old)), new]
        return new

    def _rest(self, slot: Cond) -> list[Cond]:
        return [cond for cond in self._sketch.conds if cond is not slot]

    def _each(self, slot: Cond) -> list[Cond]:
        if isinstance(slot, ValueCond):
            return [
                replace(slot, values=(values,), texts=(text,))
                for values, text in zip(slot.values, slot.texts, strict=True)
            ]
        if isinstance(slot, DateCond):
            return [
                replace(slot, periods=(period,), texts=(text,))
                for period, text in zip(slot.periods, slot.texts, strict=True)
            ]
        raise Unresolved("name the two things to compare", weight=5)

    def _side_by_side(self, slot: Cond, sketches: list[MeasureSketch]) -> Plan:
        planner = self._planner
        measures = [planner.measure(sketch) for sketch in sketches]
        where, said = self._resolver.conditions(self._rest(slot))
        item = self._slot_item(slot)
        slot_sql, slot_words = self._resolver.condition(slot)
        items = [item, *(planner.groups.read(group) for group in self._sketch.groups if not self._is_same(group, item))]
        shown = [(planner.names.unique(column), sql) for each in items for sql, column in each.shown]
        numbers = [
            (planner.names.unique(OutputColumn(m.title.replace(" ", "_")[:60], "measure", m.unit, m.title)), m)
            for m in measures
        ]
        query = exp.select(
            *(exp.alias_(sql.copy(), identifier(column.name)) for column, sql in shown),
            *(exp.alias_(measure.sql, identifier(column.name)) for column, measure in numbers),
        )
        query = planner.scope.from_(query).where(*where, slot_sql, copy=False)
        query = query.group_by(*(sql.copy() for _, sql in shown), copy=False)
        columns = (*(column for column, _ in shown), *(column for column, _ in numbers))
        plan = Plan(
            query,
            columns,
            " and ".join(m.title for m in measures),
            [*said, slot_words],
            [f"by {' and '.join(i.title for i in items)}"],
        )
        number = exp.column(identifier(numbers[0][0].name))
        keys = [ordered(exp.column(identifier(column.name)), descending=False) for column, _ in shown]
        if self._sketch.more:
            plan.query = query.order_by(ordered(number, descending=self._sketch.more == "gt"), *keys, copy=False).limit(
                1, copy=False
            )
            plan.how.append(f"the one with {'more' if self._sketch.more == 'gt' else 'less'} only")
        else:
            plan.query = query.order_by(*keys, copy=False)
        return plan

    def _is_same(self, group: Group, item: Item) -> bool:
        return group.noun is not None and any(
            ref in item.refs for ref in [c.ref for c in self._resolver.choices(group.noun)]
        )

    def _slot_item(self, slot: Cond) -> Item:
        if isinstance(slot, ValueCond):
            options = self._resolver.value_choices(slot)
            best = min(options, key=lambda option: option[0].cost, default=None)
            if best is None:
                raise Unresolved(f"{' and '.join(slot.texts)} do not stand in one column", weight=5)
            if len([o for o in options if o[0].cost == best[0].cost]) > 1 and not slot.role:
                raise Unresolved(f"{' and '.join(slot.texts)} stand in several columns", weight=6)
            before = self._resolver.cost
            self._resolver.value(slot)  # it raises when the column is not clear
            self._resolver.cost = before
            return self._planner.groups.column(self._resolver.used[-1])
        if not isinstance(slot, DateCond):
            raise Unresolved("name the two things to compare", weight=5)
        cases = [
            exp.If(this=self._resolver.condition(cond)[0], true=exp.Literal.string(_title(text)))
            for cond, text in zip(self._each(slot), slot.texts, strict=True)
        ]
        sql = exp.Case(ifs=cases)
        shown: list[tuple[exp.Expr, OutputColumn]] = [(sql, OutputColumn("period", "dimension", "", "period"))]
        starts = [period.settle(self._planner.today, None) for period in slot.periods]
        if all(period is not None and period.start for period in starts):
            begins = [
                exp.If(this=case.this.copy(), true=day(period.start))
                for case, period in zip(cases, starts, strict=True)
                if period and period.start
            ]
            shown.append((exp.Case(ifs=begins), OutputColumn("period_start", "time", "", "period start")))
        return Item([sql], shown, "period")

    def _difference(self, slot: Cond, sketch: MeasureSketch) -> Plan:
        """Plan both numbers in one row, and the first less the second; a change is the later less the earlier."""
        planner = self._planner
        each = self._each(slot)
        if len(each) != _TWO:
            raise Unresolved("a difference is between two", weight=5)
        base = planner.measure(sketch)
        where, said = self._resolver.conditions(self._rest(slot))
        numbers: list[exp.Expr] = []
        words = []
        for cond in each:
            sql, text = self._resolver.condition(cond)
            numbers.append(_only(base, sql))
            words.append(text)
        later_first = self._sketch.diff in {"change", "percent"}
        first, second = (numbers[1], numbers[0]) if later_first else (numbers[0], numbers[1])
        if self._sketch.diff == "fewer":
            first, second = second, first
        items = [planner.groups.read(group) for group in self._sketch.groups]
        shown = [(planner.names.unique(column), sql) for item in items for sql, column in item.shown]
        titles = ["difference", "first", "second", "percent_change"]
        difference = exp.Sub(this=exp.paren(first.copy()), expression=exp.paren(second.copy()))
        sqls = [difference, numbers[0], numbers[1], percentage(exp.paren(difference.copy()), second)]
        if self._sketch.diff == "percent":
            sqls, titles = [sqls[3], *sqls[:3]], [titles[3], *titles[:3]]
        units = {"percent_change": "%"}
        columns = [
            planner.names.unique(OutputColumn(title, "measure", units.get(title, base.unit), title.replace("_", " ")))
            for title in titles
        ]
        query = exp.select(
            *(exp.alias_(sql.copy(), identifier(column.name)) for column, sql in shown),
            *(exp.alias_(sql.copy(), identifier(column.name)) for column, sql in zip(columns, sqls, strict=True)),
        )
        query = planner.scope.from_(query)
        both = exp.paren(exp.or_(*(self._resolver.condition(cond)[0] for cond in each)))
        query = query.where(*where, both, copy=False)
        if shown:
            query = query.group_by(*(sql.copy() for _, sql in shown), copy=False)
            query = query.order_by(*(exp.column(identifier(column.name)) for column, _ in shown), copy=False)
        order = f"{words[1]} less {words[0]}" if first is numbers[1] else f"{words[0]} less {words[1]}"
        how = [f"by {' and '.join(item.title for item in items)}"] if items else []
        return Plan(
            query, (*(column for column, _ in shown), *columns), f"difference of {base.title}: {order}", said, how
        )

    def _of_two(self, sketches: list[MeasureSketch]) -> Plan:
        """Plan the difference of two numbers: "between average arrival delay and average departure delay"."""
        planner = self._planner
        first, second = (planner.measure(sketch) for sketch in sketches)
        where, said = self._resolver.conditions(self._sketch.conds)
        items = [planner.groups.read(group) for group in self._sketch.groups]
        shown = [(planner.names.unique(column), sql) for item in items for sql, column in item.shown]
        difference = exp.Sub(this=exp.paren(first.sql.copy()), expression=exp.paren(second.sql.copy()))
        numbers = [
            (planner.names.unique(OutputColumn(title.replace(" ", "_")[:60], "measure", first.unit, title)), sql)
            for title, sql in (("difference", difference), (first.title, first.sql), (second.title, second.sql))
        ]
        query = planner.scope.from_(
            exp.select(*(exp.alias_(sql.copy(), identifier(column.name)) for column, sql in (*shown, *numbers)))
        )
        if where:
            query = query.where(*where, copy=False)
        if shown:
            query = query.group_by(*(sql.copy() for _, sql in shown), copy=False)
            query = query.order_by(*(exp.column(identifier(column.name)) for column, _ in shown), copy=False)
        how = [f"by {' and '.join(item.title for item in items)}"] if items else []
        columns = tuple(column for column, _ in (*shown, *numbers))
        return Plan(query, columns, f"{first.title} less {second.title}", said, how)

    def _grain(self) -> str:
        if self._sketch.previous_grain:
            return self._sketch.previous_grain
        return next((group.grain for group in self._sketch.groups if group.grain), "")

    def _to_previous(self) -> Plan:
        """Plan each period's number beside that of the period before it."""
        planner = self._planner
        grain = self._grain()
        if grain not in {"day", "week", "month", "quarter", "year"}:
            raise Unresolved("say by what period: day, week, month, quarter or year", weight=5)
        sketches = self._measures()
        if len(sketches) != 1:
            raise Unresolved("a change is of one number", weight=5)
        measure = planner.measure(sketches[0])
        where, said = self._resolver.conditions(self._sketch.conds)
        time = planner.groups.grain(grain, self._resolver.time())
        others = [planner.groups.read(group) for group in self._sketch.groups if not group.grain]
        shown = [(planner.names.unique(column), sql) for item in (*others, time) for sql, column in item.shown]
        inner = planner.scope.from_(
            exp.select(
                *(exp.alias_(sql.copy(), identifier(c.name)) for c, sql in shown), exp.alias_(measure.sql, "number")
            )
        )
        inner = inner.where(*where, copy=False) if where else inner
        inner = inner.group_by(*(sql.copy() for _, sql in shown), copy=False)
        at = exp.column(identifier(shown[-1][0].name))
        keys = [exp.column(identifier(column.name)) for column, _ in shown[:-1]]
        number = exp.column("number")
        window = exp.Window(
            this=exp.Lag(this=number.copy()),
            partition_by=[key.copy() for key in keys],
            order=exp.Order(expressions=[exp.Ordered(this=at.copy())]),
        )
        change = exp.Sub(this=number.copy(), expression=window)
        sqls = {
            "number": number,
            "previous": window,
            "change": change,
            "percent_change": percentage(exp.paren(change), window),
        }
        columns = [
            planner.names.unique(
                OutputColumn(name, "measure", "%" if name == "percent_change" else measure.unit, name.replace("_", " "))
            )
            for name in sqls
        ]
        query = exp.select(
            *(key.copy() for key in keys),
            at.copy(),
            *(
                exp.alias_(sql.copy(), identifier(column.name))
                for column, sql in zip(columns, sqls.values(), strict=True)
            ),
        ).from_(exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier("numbers"))))
        query = query.order_by(*(key.copy() for key in keys), at.copy(), copy=False)
        self._resolver.notes.append(f"a {grain} without rows is passed over")
        how = [f"by {grain}, each beside the {grain} before it"]
        return Plan(query, (*(column for column, _ in shown), *columns), measure.title, said, how)


def _ends(cond: DateCond) -> DateCond | None:
    """Return the two ends of "from January to March" as two periods to compare."""
    period = cond.periods[0]
    if period.first is None or period.last is None:
        return None
    year = period.first.year or period.last.year
    first, last = (
        replace(period.first, year=period.first.year or year),
        replace(period.last, year=period.last.year or year),
    )
    one, two = replace(period, first=first, last=None), replace(period, first=last, last=None)
    return replace(cond, periods=(one, two), texts=("the first", "the second"))


def _title(text: str) -> str:
    words = text.split()
    return " ".join(words[1:] if words[0].lower() in {"in", "on", "during", "for", "of"} else words)


def _only(measure: Measure, condition: exp.Expr) -> exp.Expr:
    """Return a measure over the rows that meet a condition."""
    if measure.func == "count":
        return exp.Count(this=exp.Case(ifs=[exp.If(this=condition, true=literal(1))]))
    if measure.argument is not None and measure.func in {"sum", "avg", "min", "max", "median", "stddev"}:
        sql = measure.sql.copy()
        sql.set("this", exp.Case(ifs=[exp.If(this=condition, true=measure.argument.copy())]))
        return sql
    if measure.func == "count_distinct" and (inner := measure.sql.find(exp.Distinct)):
        return exp.Count(
            this=exp.Distinct(expressions=[exp.Case(ifs=[exp.If(this=condition, true=inner.expressions[0].copy())])])
        )
    raise Unresolved(f"{measure.title} cannot be compared within one row; ask for it by what is compared", weight=6)
