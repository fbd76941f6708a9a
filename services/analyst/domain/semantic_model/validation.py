"""What can be said of a semantic model only with its data: keys that repeat, joins that multiply rows, queries that do not run."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from sqlglot import exp

from services.analyst.domain.language.answer import Values
from services.analyst.domain.semantic_model.finding import Finding, Severity
from services.analyst.domain.semantic_model.logical import NotExpandable, expand
from services.analyst.domain.semantic_model.model import SemanticModel

# Runs a query over base tables without keeping its rows; returns why it does not run, or None.
Run: TypeAlias = Callable[[exp.Query], str | None]


def check_data(model: SemanticModel, values: Values) -> tuple[Finding, ...]:
    """Return what the data say against the model's keys and joins; paths name the place in the model."""
    return (*_keys(model, values), *_joins(model, values))


def check_verified_queries(model: SemanticModel, run: Run | None = None) -> tuple[Finding, ...]:
    """Return which verified queries do not parse over the model, or do not run."""
    findings = []
    for at, query in enumerate(model.verified_queries):
        path = f"verified_queries[{at}].sql"
        try:
            problem = run(expand(model, query.sql)) if run else (expand(model, query.sql), None)[1]
        except NotExpandable as error:
            problem = error.message
        if problem:
            findings.append(Finding(Severity.ERROR, f"verified query {query.name!r}: {problem}", path))
    return tuple(findings)


def _keys(model: SemanticModel, values: Values) -> Iterator[Finding]:
    for at, table in enumerate(model.tables):
        for key in (table.primary_key, *table.unique_keys):
            if key and values.is_unique(table.name, key) is False:
                message = f"{', '.join(key)} is declared a key of {table.name} but repeats in the data"
                yield Finding(Severity.ERROR, message, f"tables[{at}].primary_key")
        for column in table.columns:
            if column.unique and values.is_unique(table.name, (column.name,)) is False:
                message = f"{table.name}.{column.name} is declared unique but repeats in the data"
                yield Finding(Severity.WARNING, message, f"tables[{at}]")


def _joins(model: SemanticModel, values: Values) -> Iterator[Finding]:
    for at, relationship in enumerate(model.relationships):
        joined = tuple(right for _, right in relationship.columns)
        if values.is_unique(relationship.right_table, joined) is False:
            message = (
                f"the join to {relationship.right_table} multiplies rows: {', '.join(joined)} repeats there; "
                "questions that need it are refused"
            )
            yield Finding(Severity.ERROR, message, f"relationships[{at}]")
