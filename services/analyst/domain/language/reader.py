"""Reads a question over one model: an answer with its SQL, or a refusal with its reason."""

from collections.abc import Sequence
from datetime import date

from services.analyst.domain.language.answer import Answer, Refusal, Similarities, Turn, Values
from services.analyst.domain.semantic_model.model import SemanticModel


class Reader:
    """Reads questions over one model and its data. Making one indexes names and values: keep it as long as both stay."""

    def __init__(self, model: SemanticModel, values: Values) -> None:
        self._model = model
        self._values = values

    def read(
        self,
        question: str,
        *,
        today: date,
        history: Sequence[Turn] = (),
        similar: Similarities | None = None,
    ) -> Answer | Refusal:
        """Return the one reading of *question*, or why there is none. Takes no time outside the CPU; run it in a thread."""
        return Refusal("the language is not built yet")


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
