"""FROM and its joins: logical tables as common table expressions, each relationship followed once, no row ever doubled."""

from dataclasses import dataclass, field

from sqlglot import exp

from services.analyst.domain.language.schema import Join, Ref, Schema
from services.analyst.domain.semantic_model.logical import cte_name, identifier, rows


class Unresolved(Exception):
    """The question cannot be answered over this root, for a reason that a person understands. *weight* ranks reasons."""

    def __init__(self, reason: str, weight: int = 1, options: tuple[str, ...] = (), noun: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.weight = weight
        self.options = options  # words that would be clear
        self.noun = noun  # in the place of these words


@dataclass(slots=True)
class Tables:
    """The logical tables that a statement reads, with the columns it needs of each."""

    schema: Schema
    columns: dict[str, dict[str, None]] = field(default_factory=dict)

    def need(self, table: str, *columns: str) -> None:
        """Note columns that the statement reads; none for the rows alone."""
        self.columns.setdefault(table, {}).update(dict.fromkeys(columns))

    def attach(self, query: exp.Query) -> exp.Query:
        """Put the tables in front of a query."""
        ctes = []
        for name in sorted(self.columns):
            table = self.schema.table(name)
            needed = list(self.columns[name]) or [column.name for column in table.columns[:1]]
            ctes.append(exp.CTE(this=rows(table, needed), alias=exp.TableAlias(this=cte_name(table))))
        query.set("with_", exp.With(expressions=ctes))
        return query


class Scope:
    """One FROM over a root table. Columns are asked for by ``Ref``; what they need is joined."""

    def __init__(self, tables: Tables, root: str, name: str = "") -> None:
        self.tables = tables
        self.schema = tables.schema
        self.root = root
        self._name = name or root.lower()
        self.lenient = False  # while set, joins keep rows that find nothing
        self._needed: dict[tuple[str, ...], dict[str, None]] = {}
        self._optional: dict[tuple[str, ...], bool] = {}

    def column(self, ref: Ref, *, optional: bool = False) -> exp.Column:
        """Return a column; *optional* ones only describe a row and do not drop it when the join finds nothing."""
        self.tables.need(ref.table, ref.column)
        for length in range(1, len(ref.steps) + 1):
            steps = ref.steps[:length]
            self._needed.setdefault(steps, {})
            self._optional[steps] = self._optional.get(steps, True) and (optional or self.lenient)
            relation = self.schema.relationships[steps[-1]]
            self.tables.need(relation.left_table, *(left for left, _ in relation.columns))
            self.tables.need(relation.right_table, *(right for _, right in relation.columns))
        if ref.steps:
            self._needed[ref.steps][ref.column] = None
        else:
            self.tables.need(ref.table, ref.column)
        self.check(ref.steps)
        return exp.column(identifier(ref.column), table=self.alias(ref.steps))

    def check(self, steps: tuple[str, ...]) -> None:
        """Raise when following the relationships would multiply rows."""
        for length in range(1, len(steps) + 1):
            relation = self.schema.relationships[steps[length - 1]]
            columns = tuple(self._needed.get(steps[:length], ()))
            if self.schema.join(relation.name, columns) is Join.NEVER:
                key = ", ".join(right for _, right in relation.columns)
                raise Unresolved(
                    f"{key} repeats in {relation.right_table}, so joining it to {relation.left_table} would count rows more than once",
                    weight=9,
                )

    def alias(self, steps: tuple[str, ...]) -> exp.Identifier:
        """Return the name of the table at the end of the steps."""
        if not steps:
            return identifier(self._name)
        right = self.schema.relationships[steps[-1]].right_table
        sharing = [relation for relation in self.schema.relationships.values() if relation.right_table == right]
        return identifier((right if len(sharing) == 1 else steps[-1]).lower())

    def from_(self, select: exp.Select) -> exp.Select:
        """Add FROM and the joins that columns asked for."""
        self.tables.need(self.root)
        root = exp.Table(this=cte_name(self.schema.table(self.root)), alias=exp.TableAlias(this=identifier(self._name)))
        select = select.from_(root, copy=False)
        for steps in sorted(self._needed, key=lambda each: (len(each), each)):
            select = self._joined(select, steps)
        return select

    def _joined(self, select: exp.Select, steps: tuple[str, ...]) -> exp.Select:
        relation = self.schema.relationships[steps[-1]]
        right = cte_name(self.schema.table(relation.right_table))
        alias = self.alias(steps)
        if self.schema.join(relation.name, tuple(self._needed[steps])) is Join.DISTINCT:
            names = dict.fromkeys([*(pair[1] for pair in relation.columns), *self._needed[steps]])
            pairs = exp.select(*(identifier(name) for name in names)).distinct().from_(exp.Table(this=right))
            source: exp.Expr = exp.Subquery(this=pairs, alias=exp.TableAlias(this=alias))
        else:
            source = exp.Table(this=right, alias=exp.TableAlias(this=alias))
        on = exp.and_(
            *(
                exp.EQ(
                    this=exp.column(identifier(left), table=self.alias(steps[:-1])),
                    expression=exp.column(identifier(key), table=alias),
                )
                for left, key in relation.columns
            )
        )
        kind = "left" if self._optional[steps] or "left" in relation.join_type else "inner"
        return select.join(source, on=on, join_type=kind, copy=False)

    def is_distinct_join(self) -> bool:
        """Tell whether a join was made on distinct pairs because its key repeats."""
        return any(
            self.schema.join(steps[-1], tuple(needed)) is Join.DISTINCT for steps, needed in self._needed.items()
        )

    def inner_tables(self) -> list[str]:
        """Return the tables that drop rows of the root which find nothing there."""
        return [
            self.schema.relationships[steps[-1]].right_table
            for steps in self._needed
            if not self._optional[steps] and "left" not in self.schema.relationships[steps[-1]].join_type
        ]
