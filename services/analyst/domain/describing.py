"""What a result says, in words and in a picture, worked out from its rows alone."""

from collections.abc import Sequence

from sqlglot import exp

from services.analyst.domain.chart import draw
from services.analyst.domain.events import Chart, Explanation
from services.analyst.domain.explanation import explain
from services.analyst.domain.language import OutputColumn
from services.analyst.domain.result_fields import fields_of
from services.analyst.domain.warehouse import Rows


class RowsDescriber:
    """Describes a result without a language model."""

    def describe(
        self, question: str, columns: Sequence[OutputColumn], query: exp.Query, result: Rows
    ) -> tuple[Explanation | None, Chart | None]:
        """Return what the rows say, and a chart where there is something to see."""
        fields = fields_of(columns, result, query)
        return explain(fields, result), draw(question, fields, result)
