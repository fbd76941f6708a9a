"""Statements that callers wrote themselves, over the base tables of a semantic model."""

import asyncio
from dataclasses import dataclass

from services.analyst.domain.models import SemanticModels
from services.analyst.domain.statements import Statements
from services.analyst.domain.warehouse import Rows
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, Violation

DIALECTS = frozenset({"", "duckdb", "snowflake"})


@dataclass(frozen=True, slots=True)
class Executed:
    """What ran, and its rows."""

    statement: str
    rows: Rows


class Executing:
    """Runs statements within what a model allows."""

    def __init__(self, models: SemanticModels, statements: Statements) -> None:
        self._models = models
        self._statements = statements

    async def execute(self, caller: Caller, name: str, owner_user: str, statement: str, dialect: str) -> Executed:
        """Return the rows. Raises ``SemanticModelNotFound``, ``StatementRefused``, ``StatementFailed``, ``StatementTooLarge``."""
        if dialect not in DIALECTS:
            description = "must be duckdb or snowflake"
            raise InvalidInput(f"dialect {description}", violations=[Violation("dialect", description)])
        model = await self._models.load(caller, name, owner_user)
        prepared = await asyncio.to_thread(self._statements.prepare, statement, model.allowed, dialect=dialect)
        return Executed(prepared.shown, await self._statements.run(prepared))
