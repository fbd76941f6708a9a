"""All readings of a question over one model, and the choice among them: one that clearly leads, or none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from sqlglot import exp

from services.analyst.domain.language.cursor import NotUnderstood
from services.analyst.domain.language.grammar import Grammar
from services.analyst.domain.language.lexemes import UNKNOWN, Lexeme, Path, paths
from services.analyst.domain.language.plan import Plan
from services.analyst.domain.language.planner import Planner
from services.analyst.domain.language.schema import Schema
from services.analyst.domain.language.scope import Unresolved
from services.analyst.domain.language.sketch import Sketch
from services.analyst.domain.language.vocabulary import Vocabulary
from services.analyst.domain.language.words import MAX_TOKENS, tokenize

_MARGIN = 0.2  # two readings closer than this in cost are equally likely
_BEYOND = 1.2  # ways to cut the question that cost so much more than the best one that works are not looked at
_UNKNOWN = 40.0  # a cut that costs more has words in it that nothing is known about


class NoReading(Exception):
    """Why there is no reading; *options* would be clear in the place of *noun*."""

    def __init__(self, reason: str, options: tuple[str, ...] = (), noun: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.options = options
        self.noun = noun


@dataclass(slots=True)
class Reading:
    """A sketch, the root that answers it, and what it cost to read it so."""

    sketch: Sketch
    plan: Plan
    cost: float
    notes: tuple[str, ...] = ()

    def key(self) -> str:
        """Return how it is said: readings that are said alike are one."""
        return self.plan.sentence()


class Readings:
    """Reads questions over one model; knows nothing of verified queries and conversations."""

    def __init__(self, schema: Schema, vocabulary: Vocabulary) -> None:
        self.schema = schema
        self.vocabulary = vocabulary

    def read(self, question: str, today: date, previous: Sketch | None = None) -> Reading:
        """Return the one reading of a question, or of a fragment that refines *previous*. Raises ``NoReading``."""
        tokens = tokenize(question)
        if not tokens:
            raise NoReading("the question is empty")
        if len(tokens) > MAX_TOKENS:
            raise NoReading(f"a question has at most {MAX_TOKENS} words")
        found, problems = list[Reading](), _Problems()
        for path in paths(tokens, self.vocabulary, today):
            if path.cost > _UNKNOWN and path.unknown:
                problems.unknown(path)
                if problems.has_tried:
                    break
            if found and path.cost > min(reading.cost for reading in found) + _BEYOND:
                break
            for reading in self._of_path(path, today, previous, problems):
                found.append(reading)
        if not found:
            raise problems.worst()
        return self._choose(found)

    def _of_path(self, path: Path, today: date, previous: Sketch | None, problems: "_Problems") -> Iterator[Reading]:
        grammar = Grammar(path.lexemes, self.schema)
        try:
            sketch = grammar.parse()
        except NotUnderstood as error:
            problems.stuck(path.lexemes, error)
            return
        if previous is not None:
            from services.analyst.domain.language.follow_up import merged  # noqa: PLC0415

            sketch = merged(previous, sketch, self.schema)
        notes = tuple(f"{lexeme.text!r} was read as {lexeme.mended!r}" for lexeme in path.lexemes if lexeme.mended)
        for table in self.schema.model.tables:
            try:
                plan = Planner(self.schema, sketch.copy(), table.name, today).plan()
            except Unresolved as error:
                problems.unresolved(error, path.cost)
                continue
            plan.notes.extend(notes)
            yield Reading(sketch, plan, path.cost + plan.cost, notes)

    def _choose(self, found: Sequence[Reading]) -> Reading:
        best = min(found, key=lambda reading: reading.cost)
        rivals = {reading.key(): reading for reading in found if reading.cost - best.cost < _MARGIN}
        rivals.pop(best.key(), None)
        if rivals:
            other = next(iter(rivals.values()))
            raise NoReading(
                f"the question may be read in more than one way: {best.plan.sentence()} Or: {other.plan.sentence()}"
            )
        return best


class _Problems:
    """What went wrong with each way to read the question; the most telling is given as the reason."""

    def __init__(self) -> None:
        self._words: tuple[str, ...] = ()
        self._stuck: tuple[int, float, str] | None = None
        self._reasons: list[tuple[int, float, Unresolved]] = []

    @property
    def has_tried(self) -> bool:
        """Tell whether a cut with unknown words was seen already."""
        return bool(self._words)

    def unknown(self, path: Path) -> None:
        if not self._words or len(path.unknown) < len(self._words):
            self._words = path.unknown

    def stuck(self, lexemes: Sequence[Lexeme], error: NotUnderstood) -> None:
        lexeme = lexemes[min(error.at, len(lexemes) - 1)]
        place = (lexeme.start, 0.0, lexeme.text)
        if lexeme.kind != UNKNOWN and (self._stuck is None or place[0] > self._stuck[0]):
            self._stuck = place

    def unresolved(self, error: Unresolved, cost: float) -> None:
        self._reasons.append((-error.weight, cost, error))

    def worst(self) -> NoReading:
        if self._words:
            words = ", ".join(repr(word) for word in dict.fromkeys(self._words))
            return NoReading(f"the model has no words for {words}")
        if self._reasons:
            error = min(self._reasons, key=lambda reason: reason[:2])[2]
            return NoReading(error.reason, error.options, error.noun)
        if self._stuck:
            return NoReading(f"it is unclear what {self._stuck[2]!r} means at its place in the question")
        return NoReading("the question is not understood")


def settled(query: exp.Query, today: date) -> exp.Query:
    """Return a query in which the current date is *today*: the clock of whoever asked."""

    def fixed(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.CurrentDate):
            return exp.cast(exp.Literal.string(today.isoformat()), "DATE")
        if isinstance(node, exp.CurrentTimestamp | exp.CurrentDatetime | exp.Localtimestamp):
            return exp.cast(exp.Literal.string(f"{today.isoformat()} 00:00:00"), "TIMESTAMP")
        return node

    return query.transform(fixed)  # type: ignore[return-value]
