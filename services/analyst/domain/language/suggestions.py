"""Questions that do work: offered when one does not."""

from collections.abc import Iterator, Sequence

from services.analyst.domain.language.schema import Schema
from services.analyst.domain.language.vocabulary import table_words
from services.analyst.domain.language.words import name_words, phrase, spoken, words
from services.analyst.domain.semantic_model.model import LogicalTable

_SILENT = words("the a an of in by for is are what which how many show me list and to with number average total most")


def candidates(schema: Schema) -> list[str]:
    """Return questions that a model should be able to answer, those that people verified first."""
    model = schema.model
    verified = sorted(model.verified_queries, key=lambda query: not query.use_as_onboarding_question)
    return list(dict.fromkeys([*(query.question for query in verified), *_made(schema)]))


def _made(schema: Schema) -> Iterator[str]:
    for table in schema.model.tables:
        thing = _plural(" ".join(table_words(table)))
        yield f"How many {thing} are there?"
        groups = _groups(schema, table)
        for group in groups[:4]:
            yield f"number of {thing} by {group}"
        for metric in table.metrics[:6]:
            yield f"{spoken(metric.name)}"
            yield from (f"{spoken(metric.name)} by {group}" for group in groups[:3])
        for fact in table.facts[:8]:
            function = {"avg": "average", "sum": "total"}.get(schema.aggregation(table.name, fact) or "avg", "average")
            name = spoken(fact.name)
            yield from (f"{function} {name} by {group}" for group in groups[:3])
            yield f"{function} {name}"


def _groups(schema: Schema, table: LogicalTable) -> list[str]:
    names = [
        spoken(column.name)
        for column in table.dimensions
        if not column.private
        and not column.unique
        and not schema.is_number(table.name, column)
        and name_words(column.name)[-1] != "id"
    ]
    joined = [
        " ".join(table_words(schema.table(relation.right_table)))
        for relation in schema.relationships.values()
        if relation.left_table == table.name and schema.label(relation.right_table)
    ]
    return list(dict.fromkeys([*joined, *names]))


def _plural(text: str) -> str:
    return text if text.endswith("s") else f"{text[:-1]}ies" if text.endswith("y") else f"{text}s"


def nearest(question: str, known: Sequence[str], limit: int) -> list[str]:
    """Return the questions that share most words with one, in a stable order."""
    asked = set(phrase(question)) - _SILENT
    scored = [
        (-len(asked & set(phrase(text))) / (len(asked | set(phrase(text)) - _SILENT) or 1), at, text)
        for at, text in enumerate(known)
    ]
    return [text for _, _, text in sorted(scored)[:limit]]
