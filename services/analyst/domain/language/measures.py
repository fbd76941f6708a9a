"""Numbers over a root's rows: counts, sums, averages, metrics; each at the grain of its own table."""

from dataclasses import dataclass

from sqlglot import exp

from services.analyst.domain.language.resolver import Resolver
from services.analyst.domain.language.schema import Ref
from services.analyst.domain.language.scope import Unresolved
from services.analyst.domain.language.sketch import MeasureSketch, Noun
from services.analyst.domain.language.words import name_words, spoken
from services.analyst.domain.semantic_model.model import Metric

_FUNCTIONS: dict[str, type[exp.Func]] = {
    "sum": exp.Sum,
    "avg": exp.Avg,
    "min": exp.Min,
    "max": exp.Max,
    "median": exp.Median,
    "stddev": exp.Stddev,
}
_TITLES = {
    "sum": "total",
    "avg": "average",
    "min": "lowest",
    "max": "highest",
    "median": "median",
    "stddev": "standard deviation of",
}
_ANY_GRAIN = {"min", "max"}  # rows that come several times do not change these


@dataclass(frozen=True, slots=True)
class Measure:
    """An aggregate over the rows of the root. *argument* is what is summed or averaged per row, None for others."""

    sql: exp.Expr
    title: str
    unit: str = ""
    func: str = ""
    argument: exp.Expr | None = None


class Measures:
    """Reads measures over one root."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._schema = resolver.schema

    def read(self, sketch: MeasureSketch) -> Measure:
        """Return a measure. Raises when it is not one of the root's own grain, or when nobody said how to aggregate."""
        if sketch.noun is None:
            return self.by_unit(sketch)
        if sketch.func == "count":
            return self._count(sketch.noun, distinct=sketch.distinct)
        metric = self.metric(sketch.noun)
        if metric is not None and (sketch.func in {"", "sum", "avg"}):
            return self._metric(metric, sketch)
        ref = self._resolver.ref(sketch.noun, numeric=True)
        return self.aggregate(ref, sketch.func, distinct=sketch.distinct)

    def by_unit(self, sketch: MeasureSketch) -> Measure:
        choice = self._resolver.by_unit(sketch.unit)
        return self.aggregate(choice, sketch.func)

    def row_column(self, sketch: MeasureSketch) -> Ref | None:
        """Return the column that a measure without a function names, when it is the root's own and no metric."""
        if sketch.func or sketch.noun is None or self.metric(sketch.noun) is not None:
            return None
        choices = [choice for choice in self._resolver.choices(sketch.noun) if not choice.ref.steps]
        return choices[0].ref if choices else None

    def metric(self, noun: Noun) -> tuple[str, Metric] | None:
        """Return the metric that a noun names at this root, the nearest by name."""
        found: list[tuple[float, str, Metric]] = []
        for meaning in noun.of("metric"):
            if meaning.table == self._resolver.root:
                metrics = self._schema.table(meaning.table).metrics
            elif not meaning.table:
                metrics = self._schema.model.metrics
            else:
                continue
            metric = next(each for each in metrics if each.name == meaning.name)
            found.append((meaning.cost, meaning.table, metric))
        found.sort(key=lambda each: each[0])
        if not found:
            return None
        columns = [choice.cost for choice in self._resolver.choices(noun) if not choice.ref.steps]
        if columns and min(columns) < found[0][0]:
            return None
        if len(found) > 1 and found[0][0] == found[1][0]:
            raise Unresolved(f"{noun.text!r} may mean {found[0][2].name} or {found[1][2].name}", weight=6)
        return found[0][1], found[0][2]

    def _metric(self, named: tuple[str, Metric], sketch: MeasureSketch) -> Measure:
        table, metric = named
        if metric.non_additive_dimensions or metric.using_relationships:
            raise Unresolved(
                f"{metric.name} is not additive, or needs a certain join; ask for its verified questions", weight=7
            )
        sql = self._derived(metric) if not table else self._resolver.expression(metric.expr, table)
        if sketch.func == "avg" and not isinstance(sql, exp.Avg):
            raise Unresolved(f"{metric.name} is an aggregate already; say per what it is averaged", weight=6)
        self._no_query(sql, metric.name)
        return Measure(_safe(sql), spoken(metric.name), func="metric")

    def _derived(self, metric: Metric) -> exp.Expr:
        """Return a metric of the model's top, when all metrics in it belong to the root."""
        from services.analyst.domain.semantic_model.structure import parse_expression  # noqa: PLC0415

        tree = parse_expression(metric.expr)
        if isinstance(tree, str):
            raise Unresolved(f"{metric.name} does not parse", weight=7)
        tables = {column.table.casefold() for column in tree.find_all(exp.Column)}
        if tables != {self._resolver.root.casefold()}:
            raise Unresolved(f"{metric.name} combines several tables", weight=7)
        return self._resolver.expression(metric.expr, self._resolver.root)

    def _no_query(self, sql: exp.Expr, name: str) -> None:
        if sql.find(exp.Query, exp.Window):
            raise Unresolved(f"{name} is computed by a query or a window", weight=7)

    def _count(self, noun: Noun, *, distinct: bool) -> Measure:
        resolver = self._resolver
        tables = list(noun.of("table"))
        columns = resolver.choices(noun)
        metric = self.metric(noun)
        if metric is not None and not tables and not columns:
            return self._metric(metric, MeasureSketch("", noun))
        own = next((meaning for meaning in tables if meaning.table == resolver.root), None)
        lowest = min((choice.cost for choice in columns), default=99.0) + 0.5
        identified = own is not None and (own.cost >= 1 or (distinct and not self._schema.key(resolver.root)))
        if own is not None and identified and columns and name_words(columns[0].ref.column)[-1] == "id":
            return self._count_column(noun)
        if own is not None and own.cost <= lowest:
            if distinct and self._schema.key(resolver.root) == ():
                raise Unresolved(f"{resolver.root} has no key to tell its rows apart", weight=5)
            resolver.cost += own.cost
            return Measure(exp.Count(this=exp.Star()), f"number of {_plural(noun)}", func="count")
        if columns and (not tables or lowest <= min(meaning.cost for meaning in tables) + 1.0):
            return self._count_column(noun)
        if not tables:
            raise Unresolved(f"{noun.text!r} is nothing to count in {resolver.root}", weight=2)
        steps = resolver.entity(tables[0], noun)
        key = self._schema.key(tables[0].table)
        if len(key) != 1 or not steps:
            raise Unresolved(f"{noun.text} cannot be told apart by one key", weight=4)
        resolver.cost += 1.0
        ref = resolver.reduced(Ref(steps, tables[0].table, key[0]))
        resolver.used.append(ref)
        return Measure(
            _distinct(resolver.scope.column(ref)), f"number of different {_plural(noun)}", func="count_distinct"
        )

    def _count_column(self, noun: Noun) -> Measure:
        resolver = self._resolver
        ref = resolver.ref(noun)
        if (
            resolver.entry(ref).kind.value == "fact"
            and not resolver.entry(ref).unique
            and name_words(ref.column)[-1] != "id"
        ):
            return self.aggregate(ref, "")
        resolver.cost += 0.5
        return Measure(
            _distinct(resolver.scope.column(ref)), f"number of different {_plural(noun)}", func="count_distinct"
        )

    def aggregate(self, ref: Ref, func: str, *, distinct: bool = False) -> Measure:
        """Return an aggregate of a column; without a function, the column's own one or none."""
        resolver = self._resolver
        entry = resolver.entry(ref)
        title = resolver.title(ref)
        if not func:
            func = self._schema.aggregation(ref.table, entry)
            if not func:
                options = (f"average {title}", f"total {title}")
                raise Unresolved(
                    f"say whether the average or the total {title} is meant", weight=6, options=options, noun=title
                )
            resolver.notes.append(f"{title} is taken as its {_TITLES.get(func, func.replace('_', ' '))}")
        if func in {"count", "count_distinct"}:
            return Measure(_distinct(resolver.scope.column(ref)), f"number of different {title}", func="count_distinct")
        if ref.steps and func not in _ANY_GRAIN:
            raise Unresolved(
                f"{title} belongs to {ref.table}, and its rows would be counted once for each of {resolver.root}",
                weight=7,
            )
        is_time = self._schema.is_time(ref.table, entry)
        if not resolver.is_number(ref) and not (is_time and func in _ANY_GRAIN):
            raise Unresolved(f"{title} is no number, so it has no {_TITLES.get(func, func)}", weight=4)
        column: exp.Expr = resolver.time_column(ref) if is_time else resolver.scope.column(ref)
        argument = exp.Distinct(expressions=[column]) if distinct else column
        sql = _FUNCTIONS[func](this=argument)
        return Measure(sql, f"{_TITLES[func]} {title}", self._schema.unit(ref.table, ref.column), func, column)


def _distinct(column: exp.Expr) -> exp.Expr:
    return exp.Count(this=exp.Distinct(expressions=[column]))


def _plural(noun: Noun) -> str:
    text = noun.text.lower()
    return (
        text
        if noun.plural or text.endswith("s")
        else f"{text[:-1]}ies"
        if text.endswith("y") and text[-2:-1] not in "aeiou"
        else f"{text}s"
    )


def _safe(sql: exp.Expr) -> exp.Expr:
    """Return a metric's expression with divisions that give NULL by zero, and a fraction of integers."""

    def guarded(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Div) and not isinstance(node.expression, exp.Literal | exp.Nullif):
            right = node.expression
            return exp.Div(
                this=node.this,
                expression=exp.Nullif(this=right, expression=exp.Literal.number(0)),
                typed=False,
                safe=False,
            )
        return node

    return sql.transform(guarded)
