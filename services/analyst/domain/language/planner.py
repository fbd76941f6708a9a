"""From a sketch to a query over one root: lists, aggregates, rankings, shares, comparisons, changes."""

from dataclasses import replace

from sqlglot import exp

from services.analyst.domain.language.answer import OutputColumn
from services.analyst.domain.language.groups import Item
from services.analyst.domain.language.literals import literal
from services.analyst.domain.language.measures import Measure
from services.analyst.domain.language.plan import Plan
from services.analyst.domain.language.planning import Planning, keys_known, ordered, unique
from services.analyst.domain.language.scope import Unresolved
from services.analyst.domain.language.sketch import (
    Group,
    MeasureSketch,
    Noun,
    RankSketch,
    ValueCond,
)
from services.analyst.domain.semantic_model.logical import identifier


class Planner(Planning):
    """Plans one sketch over one root. Raises ``Unresolved`` when this root cannot answer it."""

    def plan(self) -> Plan:
        """Return the plan."""
        sketch = self.sketch
        if sketch.ask == "yesno" and not sketch.more and not sketch.diff:
            raise Unresolved("a question for yes or no is not answered; ask how many or which", weight=8)
        if sketch.diff or sketch.compare or sketch.more:
            from services.analyst.domain.language.comparisons import Comparisons  # noqa: PLC0415  it builds on this one

            return self.finish(Comparisons(self).plan())
        if any(measure.func == "count_grain" for measure in sketch.measures):
            raise Unresolved("counting days or months is not read; ask for the number per day or month", weight=5)
        self.resolver.mentions = [*sketch.targets, *(group.noun for group in sketch.groups if group.noun)]
        self._single_extreme()
        if self._is_listing():
            from services.analyst.domain.language.listings import Listings  # noqa: PLC0415

            return self.finish(Listings(self).plan())
        return self.finish(self._aggregate())

    def _single_extreme(self) -> None:
        """Read "the highest wind speed at JFK" as a maximum: there is nothing whose row is asked for."""
        sketch, rank = self.sketch, self.sketch.rank
        if (
            rank is None
            or rank.every
            or rank.measure is None
            or rank.count is not None
            or sketch.targets
            or sketch.measures
        ):
            return
        measure = rank.measure
        if (
            measure.func == "count"
            and len(sketch.groups) == 1
            and sketch.groups[0].grain
            and sketch.ask in {"", "what"}
            and sketch.groups[0].each
        ):
            sketch.measures.append(
                replace(measure, outer="max" if rank.descending else "min", over=sketch.groups.pop())
            )
            sketch.rank = None
            return
        if sketch.groups:
            return
        if (
            measure.func
            or measure.noun is None
            or measure.noun.plural
            or self.measures.metric(measure.noun) is not None
        ):
            return
        sketch.measures.append(replace(measure, func="max" if rank.descending else "min"))
        sketch.rank = None

    def finish(self, plan: Plan) -> Plan:
        """Return the plan with its tables in front, its notes and its cost."""
        self.tables.attach(plan.query)
        plan.notes.extend(self.resolver.notes)
        plan.cost += self.resolver.cost
        if self.scope.is_distinct_join():
            plan.warnings.append(
                "a join key repeats in the data; it was joined on its distinct pairs, so nothing is counted twice"
            )
        for table in self.scope.inner_tables():
            plan.notes.append(f"rows of {self.words(self.root)} without {self.words(table)} are left out")
        return plan

    def _is_listing(self) -> bool:
        sketch = self.sketch
        if (
            sketch.groups
            or sketch.havings
            or any(measure.func or measure.outer or measure.share for measure in sketch.measures)
        ):
            return self._is_lookup_count()
        if sketch.rank and (sketch.rank.common or (sketch.rank.measure and self._is_aggregate(sketch.rank.measure))):
            return False
        if not sketch.measures and not sketch.targets:
            raise Unresolved("the question names nothing to show or to count", weight=1)
        return not any(self._is_aggregate(measure) for measure in sketch.measures) and not self._are_facts()

    def _is_lookup_count(self) -> bool:
        """Tell whether "how many seats" asks for a number that a row has, and not for a count."""
        sketch = self.sketch
        if sketch.groups or sketch.havings or sketch.rank or len(sketch.measures) != 1 or sketch.ask != "count":
            return False
        measure = sketch.measures[0]
        noun = measure.noun
        if any(all(meaning.table != self.root for meaning in target.of("table")) for target in sketch.targets):
            return False
        if (
            measure.func != "count"
            or noun is None
            or noun.of("table")
            or measure.distinct
            or self.measures.metric(noun)
        ):
            return False
        ref = self.measures.row_column(replace(measure, func=""))
        if ref is None or not self.resolver.is_number(ref):
            return False
        entry = self.resolver.entry(ref)
        return entry.kind.value == "fact" and not self.schema.aggregation(ref.table, entry) and self._is_pinned()

    def _is_pinned(self) -> bool:
        """Tell whether conditions name one thing of the root, by its key or its name."""
        known = {self.schema.label(self.root), *self.schema.key(self.root)}
        return any(
            isinstance(cond, ValueCond)
            and not cond.negated
            and any(
                choice.ref.steps == () and choice.ref.column in known for choice, _ in self.resolver.value_choices(cond)
            )
            for cond in self.sketch.conds
        )

    def _is_aggregate(self, measure: MeasureSketch) -> bool:
        """Tell whether a measure that says no function is one over many rows all the same."""
        if measure.func or measure.outer or measure.share or measure.noun is None:
            return True
        if self.measures.metric(measure.noun) is not None:
            return True
        ref = self.measures.row_column(measure)
        if ref is None:
            return False
        if self.sketch.rank and measure is self.sketch.rank.measure:
            return self._ranks_groups(ref.column)
        return bool(self.schema.aggregation(ref.table, self.resolver.entry(ref)))

    def _ranks_groups(self, column: str) -> bool:
        """Tell whether "highest X" ranks groups of rows by X, not single rows."""
        entry = self.schema.column(self.root, column)
        for target in self.sketch.targets:
            if any(meaning.table == self.root for meaning in target.of("table")):
                return False
        own = [target for target in self.sketch.targets if not target.of("metric")]
        return bool(own) and bool(self.schema.aggregation(self.root, entry))

    def _are_facts(self) -> bool:
        """Tell whether all that is to be shown adds up or averages by itself: "what is the revenue in 2023"."""
        targets = self.sketch.targets
        if self.sketch.rank or self._is_pinned() or not targets:
            return False
        nouns = [
            target
            for target in targets
            if not any(meaning.table == self.root and meaning.cost < 1 for meaning in target.of("table"))
        ]
        if not nouns:
            return False
        for noun in nouns:
            sketch = MeasureSketch("", noun)
            if self.measures.metric(noun) is not None:
                continue
            ref = self.measures.row_column(sketch)
            if (
                ref is None
                or self.resolver.entry(ref).kind.value != "fact"
                or not self.schema.aggregation(ref.table, self.resolver.entry(ref))
            ):
                return False
        return True

    # Aggregates

    def _aggregate(self) -> Plan:
        sketch = self.sketch
        self._count_implied()
        targets, measures = self.split(list(sketch.measures))
        rank = sketch.rank
        if sketch.ask == "count" and sketch.havings and len(measures) == 1 and not sketch.groups:
            return self._count_of_groups(measures[0])
        items = [self.groups.read(Group(target)) for target in targets]
        subjects = len(items)
        items += [self.groups.read(group) for group in sketch.groups]
        if rank and rank.common:
            measures.append(self._occurrences(items))
        having_measures = [having.measure for having in sketch.havings]
        ranked = rank.measure if rank else None
        self._refuse_average_of_totals(measures)
        read = [self.measure(measure) for measure in measures]
        if ranked is not None and ranked not in measures:
            self._refuse_open_average(ranked)
            read.append(self.measure(ranked))
        by = (
            read[measures.index(ranked)]
            if ranked is not None and ranked in measures
            else read[-1]
            if ranked is not None
            else None
        )
        havings = [self._having(having, items) for having in sketch.havings]
        read += [measure for measure, _, _ in havings if all(measure.sql != other.sql for other in read)]
        if not read:
            raise Unresolved("the question names nothing to count or to add up", weight=1)
        del having_measures
        where, said = self.resolver.conditions(sketch.conds)
        self._check_mentions()
        nested = next((measure for measure in measures if measure.outer), None)
        if nested is not None:
            return self._nested(nested, read[0], items, where, said)
        self._need_groups(items, havings)
        if rank is not None and by is None and read:
            by = read[0]
        return self._grouped(items, subjects, read, by, havings, where, said)

    def _count_implied(self) -> None:
        """Read "flights by weekday" as their number."""
        sketch = self.sketch
        if sketch.measures or sketch.havings or not sketch.groups or (sketch.rank and not sketch.rank.every):
            return
        things = [noun for noun in sketch.targets if any(m.table == self.root and m.cost < 1 for m in noun.of("table"))]
        if len(things) == 1 and sketch.ask in {"", "list", "what", "compare"}:
            sketch.measures.append(MeasureSketch("count", things[0]))
            sketch.targets.remove(things[0])

    def _refuse_open_average(self, ranked: MeasureSketch) -> None:
        """Raise on "the carrier with the highest delay": the highest average, or the highest single one."""
        ref = self.measures.row_column(ranked)
        if ref is not None and self.schema.aggregation(ref.table, self.resolver.entry(ref)) not in {"", "sum"}:
            title, text = self.resolver.title(ref), ranked.noun.text if ranked.noun else ""
            reason = f"say whether the highest or lowest average {title} is meant, or that of a single row"
            raise Unresolved(reason, weight=6, options=(f"average {title}",), noun=text)

    def _refuse_average_of_totals(self, measures: list[MeasureSketch]) -> None:
        """Raise on "average revenue per month": of rows, or of the months' totals."""
        per = next((group for group in self.sketch.groups if group.each and group.grain), None)
        for measure in measures:
            ref = (
                self.measures.row_column(replace(measure, func=""))
                if measure.func == "avg" and not measure.outer
                else None
            )
            if per and ref and self.schema.aggregation(ref.table, self.resolver.entry(ref)) == "sum":
                raise Unresolved(
                    f"the average may be of single rows in each {per.grain}, or of the {per.grain}s' totals",
                    weight=6,
                    options=(f"by {per.grain}",),
                    noun=f"per {per.grain}",
                )

    def _occurrences(self, items: list[Item]) -> MeasureSketch:
        """Return the count of the root's rows, by which things are common or busy."""
        if not items:
            raise Unresolved("say what is common", weight=4)
        if self.sketch.rank and self.sketch.rank.busy and not self.schema.model.relationships:
            raise Unresolved("say by what number it is busy", weight=4)
        from services.analyst.domain.language.vocabulary import Meaning, table_words  # noqa: PLC0415

        text = " ".join(table_words(self.schema.table(self.root)))
        key = {ref.column for item in items for ref in item.refs[: len(item.keys)] if not ref.steps}
        if key and key >= set(self.schema.key(self.root) or (None,)):
            raise Unresolved("each stands once in its own table, so none is more common", weight=2)
        return MeasureSketch("count", Noun(text, (Meaning("table", self.root),)))

    def _need_groups(self, items: list[Item], havings: list[tuple[Measure, exp.Expr, str]]) -> None:
        if not items and (havings or (self.sketch.rank and not self.sketch.rank.every)):
            raise Unresolved("say of what the highest or the number is asked: name what to compare", weight=4)

    def _count_of_groups(self, counted: MeasureSketch) -> Plan:
        """Plan "how many carriers have more than 1000 flights"."""
        if counted.noun is None:
            raise Unresolved("say what to count", weight=4)
        item = self.groups.read(Group(counted.noun))
        havings = [self._having(having, [item]) for having in self.sketch.havings]
        where, said = self.resolver.conditions(self.sketch.conds)
        inner = self.scope.from_(exp.select(*(exp.alias_(key, f"key_{at}") for at, key in enumerate(item.keys))))
        inner = inner.where(*where, *keys_known(item), copy=False)
        inner = inner.group_by(*(key.copy() for key in item.keys), copy=False).having(
            *(sql for _, sql, _ in havings), copy=False
        )
        column = self.names.unique(
            OutputColumn(
                f"number_of_{counted.noun.text.lower().replace(' ', '_')}",
                "measure",
                "",
                f"number of {counted.noun.text.lower()}",
            )
        )
        query = exp.select(exp.alias_(exp.Count(this=exp.Star()), identifier(column.name))).from_(
            exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier("kept")))
        )
        return Plan(query, (column,), column.title, [*said, *(words for _, _, words in havings)])

    def _nested(
        self, sketch: MeasureSketch, measure: Measure, items: list[Item], where: list[exp.Expr], said: list[str]
    ) -> Plan:
        """Plan an aggregate over groups: "average number of flights per day"."""
        if sketch.over is None or len(self.sketch.measures) > 1 or (self.sketch.rank and not self.sketch.rank.every):
            raise Unresolved(f"say per what the {sketch.outer} is taken", weight=5)
        over = self.groups.read(sketch.over)
        inner_keys = [(f"key_{at}", key) for at, key in enumerate(over.keys)]
        shown = [(column, sql) for item in items for sql, column in item.shown]
        shown = [(self.names.unique(column), sql) for column, sql in shown]
        inner = self.scope.from_(
            exp.select(
                *(exp.alias_(key, name) for name, key in inner_keys),
                *(exp.alias_(sql, identifier(column.name)) for column, sql in shown),
                exp.alias_(measure.sql, "number"),
            )
        )
        inner = inner.where(*where, *keys_known(over), copy=False) if where or keys_known(over) else inner
        inner = inner.group_by(*(key.copy() for _, key in inner_keys), *(sql.copy() for _, sql in shown), copy=False)
        function = {"avg": exp.Avg, "max": exp.Max, "min": exp.Min, "median": exp.Median}[sketch.outer]
        word = {"avg": "average", "max": "highest", "min": "lowest", "median": "median"}[sketch.outer]
        title = f"{word} {measure.title} per {over.title}"
        result = self.names.unique(OutputColumn(title.replace(" ", "_"), "measure", measure.unit, title))
        outer_keys = [exp.column(identifier(column.name)) for column, _ in shown]
        query = exp.select(*outer_keys, exp.alias_(function(this=exp.column("number")), identifier(result.name))).from_(
            exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier("numbers")))
        )
        if shown:
            query = query.group_by(*(key.copy() for key in outer_keys), copy=False)
            query = query.order_by(*(key.copy() for key in outer_keys), copy=False)
        self.resolver.notes.append(f"every {over.title} that has rows counts once")
        how = [f"for each {item.title}" for item in items]
        return Plan(query, (*(column for column, _ in shown), result), title, said, how)

    def _grouped(  # noqa: PLR0917
        self,
        items: list[Item],
        subjects: int,
        measures: list[Measure],
        by: Measure | None,
        havings: list[tuple[Measure, exp.Expr, str]],
        where: list[exp.Expr],
        said: list[str],
    ) -> Plan:
        rank = self.sketch.rank
        shown = [(self.names.unique(column), sql) for item in items for sql, column in item.shown]
        numbers = [
            (
                self.names.unique(
                    OutputColumn(measure.title.replace(" ", "_")[:60], "measure", measure.unit, measure.title)
                ),
                measure,
            )
            for measure in measures
        ]
        selected = [exp.alias_(sql.copy(), identifier(column.name)) for column, sql in shown]
        selected += [exp.alias_(measure.sql.copy(), identifier(column.name)) for column, measure in numbers]
        query = self.scope.from_(exp.select(*selected))
        cut = rank is not None and not rank.every
        conditions = [
            *where,
            *(known for item in items[: subjects or None] for known in keys_known(item) if cut or subjects),
        ]
        if conditions:
            query = query.where(*conditions, copy=False)
        if items:
            keys = [key for item in items for key in item.keys] + [sql for _, sql in shown]
            query = query.group_by(*unique(keys), copy=False)
        if havings:
            query = query.having(*(sql for _, sql, _ in havings), copy=False)
        columns = (*(column for column, _ in shown), *(column for column, _ in numbers))
        how = [f"by {' and '.join(item.title for item in items)}"] if items else []
        how += [f"only with {words}" for _, _, words in havings]
        plan = Plan(query, columns, " and ".join(column.title for column, _ in numbers), said, how)
        if not items:
            return plan
        number = next(
            (column for column, measure in numbers if by is not None and measure.sql == by.sql), numbers[0][0]
        )
        per = (
            [item for item, group in zip(items[subjects:], self.sketch.groups, strict=True) if group.each]
            if subjects
            else []
        )
        if rank and cut and per:
            return self._best_of_each(plan, items, per, number, rank)
        return self._in_order(plan, items, number if by is not None or rank else None, rank)

    def _in_order(self, plan: Plan, items: list[Item], number: OutputColumn | None, rank: RankSketch | None) -> Plan:
        keys = [exp.column(identifier(column.name)) for column in plan.columns if column.role != "measure"]
        order: list[exp.Expr] = []
        if rank and number is not None:
            order.append(ordered(exp.column(identifier(number.name)), descending=rank.descending))
            plan.how.append(f"{'highest' if rank.descending else 'lowest'} {number.title} first")
        if plan.query.args.get("order") is None:
            plan.query = plan.query.order_by(*order, *(ordered(key, descending=False) for key in keys), copy=False)
        if rank and not rank.every:
            count = rank.count if rank.count is not None else self.single()
            plan.query = plan.query.limit(count, copy=False)
            if rank.offset:
                plan.query = plan.query.offset(rank.offset, copy=False)
                plan.how.append(f"number {rank.offset + 1} only")
            else:
                plan.how.append(
                    f"the first {count} only, ties in the order of {keys[0].name.replace('_', ' ') if keys else 'the rows'}"
                    if count > 1
                    else "the first one only"
                )
        return plan

    def _best_of_each(
        self, plan: Plan, items: list[Item], per: list[Item], number: OutputColumn, rank: RankSketch
    ) -> Plan:
        """Keep the first of each group by their rank within it."""
        count = rank.count if rank.count is not None else 1
        names = [exp.column(identifier(column.name)) for column in plan.columns]
        inside = {column.name for item in per for _, column in item.shown}
        keys = [exp.column(identifier(column.name)) for column in plan.columns if column.name in inside]
        others = [exp.column(identifier(c.name)) for c in plan.columns if c.name not in inside and c.role != "measure"]
        order = exp.Order(
            expressions=[
                ordered(exp.column(identifier(number.name)), descending=rank.descending),
                *(ordered(other, descending=False) for other in others),
            ]
        )
        place = exp.alias_(
            exp.Window(this=exp.RowNumber(), partition_by=[key.copy() for key in keys], order=order), "place"
        )
        inner = exp.select(*names, place).from_(
            exp.Subquery(this=plan.query, alias=exp.TableAlias(this=exp.to_identifier("grouped")))
        )
        outer = exp.select(*(name.copy() for name in names), exp.column("place")).from_(
            exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier("ranked")))
        )
        kept = exp.LTE(this=exp.column("place"), expression=literal(count + rank.offset))
        outer = outer.where(kept, copy=False)
        if rank.offset:
            outer = outer.where(exp.GT(this=exp.column("place"), expression=literal(rank.offset)), copy=False)
        plan.query = outer.order_by(*(key.copy() for key in keys), exp.column("place"), copy=False)
        plan.columns = (*plan.columns, OutputColumn("place", "dimension", "", "place"))
        plan.how.append(
            f"the {'highest' if rank.descending else 'lowest'} {count if count > 1 else 'one'} of each {' and '.join(item.title for item in per)} by {number.title}"
        )
        return plan
