"""What the grammar makes of a question: its parts and how they belong together, names still open to what they may mean."""

from dataclasses import dataclass, field

from services.analyst.domain.language.dates import Period
from services.analyst.domain.language.vocabulary import Found, Meaning


@dataclass(frozen=True, slots=True)
class Noun:
    """Words that name something of the model. *owner* is whose it is: "the name of the airline"."""

    text: str
    meanings: tuple[Meaning, ...]
    owner: "Noun | None" = None
    plural: bool = False
    loose: bool = False
    role: str = ""  # from or to: what stood before it

    def of(self, *kinds: str) -> tuple[Meaning, ...]:
        """Return the meanings of these kinds."""
        return tuple(meaning for meaning in self.meanings if meaning.kind in kinds)


class Cond:
    """What rows must meet; one of the classes below."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ValueCond(Cond):
    """A column has one of these values; which column is open when *noun* is None. *role* is ``from``, ``to`` or another word before it."""

    values: tuple[tuple[Found, ...], ...]
    texts: tuple[str, ...]
    noun: Noun | None = None
    role: str = ""
    negated: bool = False


@dataclass(frozen=True, slots=True)
class NumberCond(Cond):
    """A column compares to a number; *op* is gt, ge, lt, le, eq, ne or between. A noun of None is found by the unit."""

    op: str
    number: float
    noun: Noun | None = None
    unit: str = ""
    upper: float | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class DateCond(Cond):
    """A time lies in one of the periods; *cue* is a word before them that may name the column: "created", "shipped"."""

    periods: tuple[Period, ...]
    texts: tuple[str, ...]
    noun: Noun | None = None
    negated: bool = False
    cue: str = ""


@dataclass(frozen=True, slots=True)
class WeekdayCond(Cond):
    """A time lies on one of these ISO weekdays."""

    days: tuple[int, ...]
    text: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class FlagCond(Cond):
    """A named filter or a boolean column holds."""

    noun: Noun
    negated: bool = False


@dataclass(frozen=True, slots=True)
class NullCond(Cond):
    """A column has no value, or has one when negated."""

    noun: Noun
    negated: bool = False


@dataclass(frozen=True, slots=True)
class TextCond(Cond):
    """A text column starts with, ends with or contains something."""

    op: str
    text: str
    noun: Noun | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class AverageCond(Cond):
    """A column or a measure compares to its average."""

    op: str
    noun: Noun | None = None


@dataclass(frozen=True, slots=True)
class ColumnCond(Cond):
    """A column compares to another."""

    op: str
    noun: Noun
    other: Noun


@dataclass(frozen=True, slots=True)
class NoneCond(Cond):
    """There is no such row: "with no flights to Boston"."""

    noun: Noun
    conds: tuple[Cond, ...] = ()
    role: str = ""  # from or to: "no flights to them"


@dataclass(frozen=True, slots=True)
class OrCond(Cond):
    """One of these holds."""

    conds: tuple[Cond, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """What rows are put together by: a name, or a grain of time. *each* when every one of them gets its own ranking."""

    noun: Noun | None = None
    grain: str = ""
    each: bool = False


@dataclass(frozen=True, slots=True)
class MeasureSketch:
    """A number asked for. *func* is '' when the question named none; *outer* is an aggregate over the groups of *over*."""

    func: str
    noun: Noun | None = None
    distinct: bool = False
    outer: str = ""
    over: Group | None = None
    share: str = ""  # '', part: rows that meet the conditions after it; total: of the whole
    unit: str = ""  # names the column when there is no noun: "the most miles"


@dataclass(frozen=True, slots=True)
class HavingSketch:
    """A group's measure compares to a number, to the average, or to the same measure under other conditions."""

    measure: MeasureSketch
    op: str
    number: float | None = None
    unit: str = ""
    upper: float | None = None
    average: bool = False
    than: ValueCond | None = None


@dataclass(frozen=True, slots=True)
class RankSketch:
    """What comes first. Exactly one of *measure*, *noun*, *adjective* and *common* says by what."""

    descending: bool
    count: int | None = None
    offset: int = 0
    measure: MeasureSketch | None = None
    adjective: str = ""
    common: bool = False
    every: bool = False  # an order only, nothing is cut
    busy: bool = False


@dataclass(slots=True)
class Sketch:
    """All parts of a question."""

    ask: str = ""
    targets: list[Noun] = field(default_factory=list)
    measures: list[MeasureSketch] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    conds: list[Cond] = field(default_factory=list)  # all must hold
    parts: list[Cond] = field(default_factory=list)  # of a share: what the part meets beyond the whole
    havings: list[HavingSketch] = field(default_factory=list)
    rank: RankSketch | None = None
    compare: bool = False
    more: str = ""  # gt or lt: which of two compared is asked for
    diff: str = ""  # difference, more, fewer, change, percent, previous
    distinct: bool = False
    previous_grain: str = ""
    alphabetical: bool = False
    notes: list[str] = field(default_factory=list)

    def copy(self) -> "Sketch":
        """Return a sketch that may be changed without changing this one."""
        return Sketch(
            self.ask, list(self.targets), list(self.measures), list(self.groups), list(self.conds), list(self.parts), list(self.havings),
            self.rank, self.compare, self.more, self.diff, self.distinct, self.previous_grain, self.alphabetical, list(self.notes),
        )  # fmt: skip
