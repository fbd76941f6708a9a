"""Lists and look-ups: rows of a table, or the values of some of its columns."""

from sqlglot import exp

from services.analyst.domain.language import lexicon
from services.analyst.domain.language.answer import OutputColumn
from services.analyst.domain.language.groups import Item
from services.analyst.domain.language.names import Choice
from services.analyst.domain.language.plan import Plan
from services.analyst.domain.language.planner import Planner
from services.analyst.domain.language.planning import keys_known, ordered
from services.analyst.domain.language.schema import Ref
from services.analyst.domain.language.scope import Unresolved
from services.analyst.domain.language.sketch import MeasureSketch, Noun, NullCond, RankSketch
from services.analyst.domain.language.words import name_words
from services.analyst.domain.semantic_model.logical import identifier

_MAX_COLUMNS = 30


class Listings:
    """Plans a list over the planner's root."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._resolver = planner.resolver
        self._schema = planner.schema

    def plan(self) -> Plan:
        """Return the plan of a list. Things are listed once each; values of columns without repetitions."""
        sketch = self._planner.sketch
        nouns = [*(measure.noun for measure in sketch.measures if measure.noun), *sketch.targets]
        entity = next((noun for noun in nouns if self._is_root(noun)), None)
        if entity is not None and entity is not nouns[0] and sketch.ask in {"which", "who", "what"}:
            nouns.remove(entity)  # "which countries have hotels with ...": only the countries are asked for
            entity = None
        items = [self._item(noun, entity) for noun in nouns]
        distinct = entity is None
        where, said = self._resolver.conditions(sketch.conds)
        if entity is None:
            self._refuse_denial(items)
            self._refuse_open_rank(items)
        rank = sketch.rank
        by = self._ranked_by(rank) if rank else None
        if entity is None and rank is not None and not rank.every and by is not None:
            distinct = False
        if entity is not None:
            items += list(self._beside(items))
        elif len(items) == 1 and sketch.ask in {"which", "list", "who"}:
            where += keys_known(items[0])
        if by is not None and rank is not None:
            items.append(self._planner.groups.column(by))
            where += keys_known(items[-1]) if not rank.every else []
        return self._query(items, where, said, by, distinct=distinct)

    def _refuse_open_rank(self, items: list[Item]) -> None:
        """Raise on "which industry has the highest revenue": of a single row, or of the industry's rows together."""
        rank = self._planner.sketch.rank
        if rank is None or rank.every or rank.measure is None or rank.measure.noun is None:
            return
        root = self._planner.root
        known = {self._schema.label(root), *self._schema.key(root)}
        if not any(ref.column in known and not ref.steps for item in items for ref in item.refs):
            text = rank.measure.noun.text
            options = (f"total {text}", f"average {text}")
            raise Unresolved(
                f"say whether the total, the average or a single {text} is meant", weight=6, options=options, noun=text
            )

    def _refuse_denial(self, items: list[Item]) -> None:
        """Raise when rows would be denied though things are asked for: the rows of a thing differ."""
        own = {ref for item in items for ref in item.refs}
        for cond in self._planner.sketch.conds:
            if getattr(cond, "negated", False) and not isinstance(cond, NullCond):
                refs = self._resolver.refs_of(cond)
                if not refs <= own and not all(ref.table in {each.table for each in own} and ref.steps for ref in refs):
                    raise Unresolved(
                        'say "with no ...": a condition is denied of some rows, or of all of them', weight=7
                    )

    def _query(
        self, items: list[Item], where: list[exp.Expr], said: list[str], by: Ref | None, *, distinct: bool
    ) -> Plan:
        planner, sketch = self._planner, self._planner.sketch
        rank = sketch.rank
        shown: dict[str, tuple[OutputColumn, exp.Expr]] = {}
        for item in items:
            for sql, column in item.shown:
                if sql.sql() not in shown:
                    shown[sql.sql()] = (planner.names.unique(column), sql)
        columns = [column for column, _ in shown.values()][:_MAX_COLUMNS]
        query = exp.select(
            *(exp.alias_(sql.copy(), identifier(column.name)) for column, sql in list(shown.values())[:_MAX_COLUMNS])
        )
        query = planner.scope.from_(query)
        if where:
            query = query.where(*where, copy=False)
        if distinct:
            query = query.distinct(copy=False)
        what = " and ".join(dict.fromkeys(item.title for item in items[: max(1, len(sketch.targets))]))
        plan = Plan(query, tuple(columns), f"{'the different values of ' if distinct else 'list of '}{what}", said)
        order: list[exp.Expr] = []
        if by is not None and rank is not None:
            key = planner.scope.column(by)
            name = shown[key.sql()][0].name if key.sql() in shown else ""
            order.append(ordered(exp.column(identifier(name)) if name else key, descending=rank.descending))
            plan.how.append(f"{'highest' if rank.descending else 'lowest'} {self._resolver.title(by)} first")
        descending = bool(rank and rank.every and rank.measure is None and rank.descending)
        order += [ordered(exp.column(identifier(column.name)), descending=descending) for column in columns]
        plan.query = query.order_by(*order, copy=False)
        if rank is not None and not rank.every:
            count = rank.count if rank.count is not None else planner.single()
            plan.query = query.limit(count, copy=False)
            if rank.offset:
                plan.query = query.offset(rank.offset, copy=False)
                plan.how.append(f"number {rank.offset + 1} only")
            else:
                plan.how.append(
                    f"the first {count} only; ties are cut in the order of the columns"
                    if count > 1
                    else "the first one only"
                )
        return plan

    def _is_root(self, noun: Noun) -> bool:
        table = next((meaning for meaning in noun.of("table") if meaning.table == self._planner.root), None)
        if table is None:
            return False
        return all(choice.cost >= table.cost for choice in self._resolver.choices(noun))

    def _item(self, noun: Noun, entity: Noun | None) -> Item:
        if noun is entity:
            return self._entity(noun)
        metrics = noun.of("metric")
        if metrics and not noun.of("column", "table"):
            raise Unresolved(f"{noun.text} belongs to another table", weight=2)
        return self._planner.groups.noun(noun)

    def _entity(self, noun: Noun) -> Item:
        """Return the columns that show a row of the root: its name and key, or all of them when it has no name."""
        root = self._planner.root
        label, key = self._schema.label(root), self._schema.key(root)
        if label is not None or (key and len(self._planner.sketch.targets) > 1):
            return self._planner.groups.entity(root, (), noun)
        public = [column for column in self._schema.table(root).columns if not column.private][:_MAX_COLUMNS]
        shown = [self._planner.groups.shown(Ref((), root, column.name)) for column in public]
        return Item([sql for sql, _ in shown[:1]], shown, noun.text.lower())

    def _beside(self, items: list[Item]) -> list[Item]:
        """Return the columns that conditions used, shown beside a thing so that its row can be checked."""
        refs = [ref for ref in dict.fromkeys(self._resolver.used) if not any(ref in item.refs for item in items)]
        return [self._plain(ref) for ref in refs if not self._resolver.entry(ref).private]

    def _plain(self, ref: Ref) -> Item:
        sql, column = self._planner.groups.shown(ref)
        return Item([sql], [(sql, column)], column.title, refs=[ref])

    def _ranked_by(self, rank: RankSketch) -> Ref | None:
        if rank.measure is not None:
            ref = self._planner.measures.row_column(rank.measure)
            if ref is None:
                return self._row_key(rank.measure)
            return self._resolver.ref(rank.measure.noun, numeric=True) if rank.measure.noun else ref
        if rank.adjective:
            return self._adjective(rank.adjective)
        if rank.every:
            return None
        raise Unresolved("say by what to rank", weight=5)

    def _row_key(self, measure: MeasureSketch) -> Ref:
        if measure.noun is None:
            raise Unresolved("say by what to rank", weight=5)
        return self._resolver.ref(measure.noun)

    def _adjective(self, adjective: str) -> Ref:
        """Return the one column that an adjective such as "oldest" ranks by."""
        stems = set(lexicon.ADJECTIVES[adjective][0].split())
        root = self._planner.root
        for target in self._planner.sketch.targets:
            tables = {meaning.table for meaning in target.of("table") if meaning.cost < 1}
            if tables and root not in tables:
                raise Unresolved(f"{adjective} is said of {target.text}, not of {root}", weight=2)
        if adjective in {"latest", "earliest"}:
            return self._resolver.time()
        choices = []
        for column in self._schema.table(root).columns:
            words = name_words(column.name)
            numeric = self._schema.is_number(root, column) or self._schema.is_time(root, column)
            if numeric and not column.private and stems & self._resolver.column_words(root, column.name):
                if (adjective == "youngest" and "birth" in words) or (adjective == "oldest" and "age" in words):
                    raise Unresolved(f"{adjective} is not read for {column.name}; say highest or lowest", weight=5)
                choices.append(Choice(Ref((), root, column.name), 0.0 if stems & set(words) else 0.2))
        try:
            return self._resolver.one(choices, adjective, f"nothing in {root} says what {adjective} means")
        except Unresolved as error:
            raise Unresolved(f"{error.reason}; say by which", weight=error.weight) from None
