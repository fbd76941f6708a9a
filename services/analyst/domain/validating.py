"""What the data say against a semantic model, each finding at its line."""

from sqlglot import exp

from services.analyst.domain.language import Values
from services.analyst.domain.ports import LoadedModel
from services.analyst.domain.semantic_model import Finding, check_data, check_verified_queries
from services.analyst.domain.statements import Statements
from services.mesh.errors import MemoryBoxError


def against_data(model: LoadedModel, values: Values, statements: Statements) -> list[Finding]:
    """Return keys that repeat, joins that multiply rows, verified queries that do not run. Blocks; run it on a thread."""

    def run(query: exp.Query) -> str | None:
        try:
            statements.run_blocking(query, model.allowed, 1)
        except MemoryBoxError as error:
            return error.message
        return None

    return [*check_data(model.model, values), *check_verified_queries(model.model, run)]
