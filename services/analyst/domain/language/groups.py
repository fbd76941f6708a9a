"""What rows are put together by: a thing with its key and name, a column, or a grain of time."""

from dataclasses import dataclass, field

from sqlglot import exp

from services.analyst.domain.language.answer import OutputColumn
from services.analyst.domain.language.date_conditions import WEEKDAY_NAMES
from services.analyst.domain.language.literals import literal
from services.analyst.domain.language.names import STEP
from services.analyst.domain.language.resolver import Resolver
from services.analyst.domain.language.schema import Join, Ref, Schema
from services.analyst.domain.language.scope import Unresolved
from services.analyst.domain.language.sketch import Group, Noun
from services.analyst.domain.language.words import name_words

_PARTS = {"weekday", "hour_of_day", "month_of_year", "quarter_of_year", "day_of_month"}


@dataclass(slots=True)
class Item:
    """Columns of the result that go together; *keys* decide what is one group, the others only describe it."""

    keys: list[exp.Expr]
    shown: list[tuple[exp.Expr, OutputColumn]]
    title: str
    is_time: bool = False
    refs: list[Ref] = field(default_factory=list)


class Groups:
    """Reads what to group by, or to list, over one root."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._schema: Schema = resolver.schema

    def read(self, group: Group, role: str = "") -> Item:
        """Return the columns of a group."""
        if group.grain:
            if named := self._grain_column(group):
                return self.column(named)
            return self.grain(group.grain, self._resolver.time(group.noun))
        if group.noun is None:
            raise Unresolved("nothing to group by")
        return self.noun(group.noun, role)

    def _grain_column(self, group: Group) -> Ref | None:
        """Return the root's own column of that name: a model that has a month by itself means that one."""
        if group.noun is not None:
            return None
        for column in self._schema.table(self._resolver.root).dimensions:
            if name_words(column.name) == (group.grain,) and not column.private:
                return Ref((), self._resolver.root, column.name)
        return None

    def noun(self, noun: Noun, role: str = "") -> Item:
        """Return the columns of a thing or a column, whichever is nearer."""
        resolver = self._resolver
        choices = resolver.choices(noun, role)
        tables = noun.of("table")
        ways = {meaning.table: self._schema.paths(resolver.root, meaning.table) for meaning in tables}
        reached = [meaning for meaning in tables if ways[meaning.table]]
        table = min(reached, key=lambda meaning: meaning.cost + STEP * len(ways[meaning.table][0]), default=None)
        if table is not None:
            price = table.cost + STEP * len(ways[table.table][0])
            if not choices or price <= choices[0].cost + (0.0 if table.table == resolver.root else -0.05):
                return self.entity(table.table, resolver.entity(table, noun, role), noun)
        ref = resolver.ref(noun, role)
        entry = resolver.entry(ref)
        if (
            self._schema.is_time(ref.table, entry)
            and self._schema.is_number(ref.table, entry) is False
            and entry.data_type != "DATE"
        ):
            return self.column(ref)
        return self.column(ref)

    def entity(self, table: str, steps: tuple[str, ...], noun: Noun) -> Item:
        """Return a thing by its key, with its name beside."""
        resolver = self._resolver
        key = self._schema.key(table)
        label = self._schema.label(table)
        if not key and label is None:
            raise Unresolved(f"nothing tells one of {noun.text} from another", weight=4)
        if not key:
            item = self.column(Ref(steps, table, label or ""))
            item.title = noun.text.lower()
            return item
        refs = [resolver.reduced(Ref(steps, table, part)) for part in key]
        shown = [self.shown(ref) for ref in refs]
        keys: list[exp.Expr] = [resolver.scope.column(ref) for ref in refs]
        if label is not None:
            ref = Ref(steps, table, label)
            shown.insert(0, self.shown(ref, optional=all(each.steps != steps or not steps for each in refs)))
            refs.append(ref)
        resolver.used.extend(refs)
        return Item(keys, shown, noun.text.lower(), refs=refs)

    def shown(self, ref: Ref, *, optional: bool = False) -> tuple[exp.Expr, OutputColumn]:
        resolver = self._resolver
        is_time = self._schema.is_time(ref.table, resolver.entry(ref))
        title = resolver.title(ref)
        role = "time" if is_time else "dimension"
        unit = self._schema.unit(ref.table, ref.column)
        return resolver.scope.column(ref, optional=optional), OutputColumn(title.replace(" ", "_"), role, unit, title)

    def column(self, ref: Ref) -> Item:
        """Return a column; one that points to a thing with a name brings the name along."""
        resolver = self._resolver
        shown = [self.shown(ref)]
        refs = [ref]
        for relation in self._schema.foreign(ref.table, ref.column):
            label = self._schema.label(relation.right_table)
            if label and self._schema.join(relation.name, (label,)) is Join.PLAIN:
                named = Ref((*ref.steps, relation.name), relation.right_table, label)
                shown.append(self.shown(named, optional=True))
                refs.append(named)
                resolver.used.append(named)
                break
        is_time = self._schema.is_time(ref.table, resolver.entry(ref))
        return Item([resolver.scope.column(ref)], shown, resolver.title(ref), is_time, refs)

    def grain(self, grain: str, ref: Ref) -> Item:
        """Return a time cut to a grain, or a part of it such as the weekday."""
        resolver = self._resolver
        column = resolver.time_column(ref)
        resolver.used.append(ref)
        if grain in _PARTS:
            return self._part(grain, column)
        if grain == "hour":
            if (resolver.entry(ref).data_type or "").startswith("DATE"):
                raise Unresolved(f"{resolver.title(ref)} has no hours", weight=4)
            sql: exp.Expr = exp.TimestampTrunc(this=column, unit=exp.var("HOUR"))
        elif grain == "day":
            sql = exp.cast(column, "DATE")
        else:
            sql = exp.cast(exp.TimestampTrunc(this=column, unit=exp.var(grain.upper())), "DATE")
        return Item([sql], [(sql, OutputColumn(grain, "time", "", grain, grain))], grain, is_time=True, refs=[ref])

    def _part(self, grain: str, column: exp.Expr) -> Item:
        part = {
            "hour_of_day": "HOUR",
            "month_of_year": "MONTH",
            "quarter_of_year": "QUARTER",
            "day_of_month": "DAY",
        }.get(grain)
        title = grain.replace("_", " ")
        if part:
            sql: exp.Expr = exp.Extract(this=exp.var(part), expression=column)
            return Item([sql], [(sql, OutputColumn(grain, "dimension", "", title))], title)
        number = exp.DayOfWeekIso(this=column)
        name = exp.Case(this=number.copy(), ifs=[
            exp.If(this=literal(at), true=exp.Literal.string(text)) for at, text in enumerate(WEEKDAY_NAMES, 1)
        ])  # fmt: skip
        shown = [
            (name, OutputColumn("weekday", "dimension", "", "weekday")),
            (number, OutputColumn("weekday_number", "dimension", "", "weekday number")),
        ]
        return Item([number], [(sql, column_) for sql, column_ in shown], title)
