"""Reads a question over one model: an answer with its SQL, or a refusal with its reason."""

from collections.abc import Sequence
from datetime import date

from sqlglot import exp

from services.analyst.domain.language import suggestions
from services.analyst.domain.language.answer import Answer, OutputColumn, Refusal, Similarities, Turn, Values
from services.analyst.domain.language.follow_up import fragment
from services.analyst.domain.language.reading import NoReading, Reading, Readings, settled
from services.analyst.domain.language.schema import Schema
from services.analyst.domain.language.sketch import Sketch
from services.analyst.domain.language.verified import VerifiedQueries
from services.analyst.domain.language.vocabulary import Vocabulary
from services.analyst.domain.semantic_model.logical import NotExpandable, expand
from services.analyst.domain.semantic_model.model import SemanticModel, VerifiedQuery

MAX_QUESTION = 1000  # characters
_MAX_TURNS = 8  # of a conversation that is replayed
_SUGGESTIONS = 3
_TRIED = 8  # suggestions that are read again to offer so many


class Reader:
    """Reads questions over one model and its data. Making one indexes names and values: keep it as long as both stay."""

    def __init__(self, model: SemanticModel, values: Values) -> None:
        schema, vocabulary = Schema(model, values), Vocabulary(model, values)
        self._model = model
        self._schema = schema
        self._readings = Readings(schema, vocabulary)
        self._verified = VerifiedQueries(model, vocabulary)
        self._candidates = suggestions.candidates(schema)
        self._works: dict[str, bool] = {}

    def read(
        self,
        question: str,
        *,
        today: date,
        history: Sequence[Turn] = (),
        similar: Similarities | None = None,
    ) -> Answer | Refusal:
        """Return the one reading of *question*, or why there is none. Takes no time outside the CPU; run it in a thread."""
        if len(question) > MAX_QUESTION:
            return Refusal(f"a question has at most {MAX_QUESTION} characters", self._suggest(question, (), today))
        verified = self._verified.match(question, today, similar)
        if verified is not None and (answer := self._rests_on(verified, today)):
            return answer
        try:
            reading = self._read(question, today, history)
        except NoReading as problem:
            options = tuple(question.replace(problem.noun, option) for option in problem.options if problem.noun)
            return Refusal(problem.reason, self._suggest(question, options, today))
        return self._answer(reading, today)

    def _read(self, question: str, today: date, history: Sequence[Turn]) -> Reading:
        added = fragment(question) if history else None
        if added is None:
            return self._readings.read(question, today)
        previous = self._replayed(history, today)
        if previous is None:
            return self._readings.read(question, today)
        return self._readings.read(added, today, previous)

    def _replayed(self, history: Sequence[Turn], today: date) -> Sketch | None:
        """Return the sketch that a conversation has come to; questions that were refused left it as it was."""
        sketch: Sketch | None = None
        for turn in history[-_MAX_TURNS:]:
            added = fragment(turn.question[:MAX_QUESTION])
            try:
                if added is not None and sketch is not None:
                    sketch = self._readings.read(added, today, sketch).sketch
                else:
                    sketch = self._readings.read(turn.question[:MAX_QUESTION], today).sketch
            except NoReading:
                continue
        return sketch

    def _answer(self, reading: Reading, today: date) -> Answer:
        plan = reading.plan
        return Answer(plan.sentence(), settled(plan.query, today), None, tuple(plan.warnings), plan.columns)

    def _rests_on(self, verified: VerifiedQuery, today: date) -> Answer | None:
        try:
            query = expand(self._model, verified.sql)
        except NotExpandable:
            return None  # validation says so; the question is read like any other
        by = f" by {verified.verified_by}" if verified.verified_by else ""
        said = f"This is the verified question {verified.question!r}, answered by the SQL that was approved{by}."
        columns = tuple(
            self._column(name, node) for name, node in zip(query.named_selects, query.selects, strict=False)
        )
        return Answer(said, settled(query, today), verified.name, (), columns)

    def _column(self, name: str, node: exp.Expr) -> OutputColumn:
        found = [column for table in self._model.tables if (column := table.column(name))]
        aggregated = node.find(exp.AggFunc, exp.Binary) is not None
        if node.find(exp.TimestampTrunc, exp.DateTrunc) or (found and found[0].kind.value == "time_dimension"):
            role = "time"
        else:
            role = "measure" if aggregated or (found and found[0].kind.value == "fact") else "dimension"
        return OutputColumn(name, role, "", name.replace("_", " ").lower())

    def _suggest(self, question: str, options: Sequence[str], today: date) -> tuple[str, ...]:
        """Return questions that work; each was read to make sure."""
        near = [text for text in suggestions.nearest(question, self._candidates, _TRIED) if text != question]
        works: list[str] = []
        for text in dict.fromkeys([*options, *near]):
            if len(works) == _SUGGESTIONS:
                break
            if self._does_work(text, today):
                works.append(text)
        return tuple(works)

    def _does_work(self, question: str, today: date) -> bool:
        if question not in self._works:
            try:
                self._works[question] = self._verified.match(question, today, None) is not None or bool(
                    self._readings.read(question, today)
                )
            except NoReading:
                self._works[question] = False
        return self._works[question]


def read(
    question: str,
    model: SemanticModel,
    *,
    today: date,
    values: Values,
    history: Sequence[Turn] = (),
    similar: Similarities | None = None,
) -> Answer | Refusal:
    """Read one question; ``Reader`` does the same for many over one model."""
    return Reader(model, values).read(question, today=today, history=history, similar=similar)
