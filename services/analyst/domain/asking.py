"""A question on its way to rows: read, checked, run, described, kept."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from services.analyst.domain.conversations import Asked, Conversations, check_asked
from services.analyst.domain.events import Done, Event, Result, Sql, Status, Step, Suggestions
from services.analyst.domain.guard import StatementRefused, render
from services.analyst.domain.models import SemanticModels
from services.analyst.domain.ports import Analyst, Describer, LoadedModel, Question, Statement
from services.analyst.domain.statements import Prepared, Statements, TableNotLoaded
from services.analyst.domain.verifying import VERIFIED_DIALECT, logical_form
from services.analyst.domain.warehouse import Rows, StatementFailed, StatementTooLarge
from services.mesh.caller import Caller

NOT_READ = "this question cannot be answered from the semantic model"


class Asking:
    """Answers questions; what cannot be answered gets a reason instead of rows."""

    def __init__(
        self,
        models: SemanticModels,
        analyst: Analyst,
        statements: Statements,
        conversations: Conversations,
        describer: Describer | None = None,
    ) -> None:
        self._models = models
        self._analyst = analyst
        self._statements = statements
        self._conversations = conversations
        self._describer = describer

    async def ask(self, caller: Caller, asked: Asked) -> AsyncGenerator[Event, None]:
        """Yield the answer. Raises ``SemanticModelNotFound`` and ``InvalidInput`` before the first event."""
        today = check_asked(asked)
        model = await self._models.load(caller, asked.semantic_model, asked.owner_user)
        yield Status(Step.READING)
        history = await self._conversations.history(caller, asked)
        statement: Statement | None = None
        suggestions: Suggestions | None = None
        async with aclosing(self._analyst.read(Question(asked.question, today, history), model)) as readings:
            async for reading in readings:
                match reading:
                    case Statement():
                        statement = reading
                    case Suggestions():
                        suggestions = reading
                    case _:
                        yield reading
        answered: Prepared | None = None
        rows = Rows((), ())
        if statement is None:
            yield suggestions or Suggestions(NOT_READ)
        else:
            async with aclosing(self._answer(asked.question, statement, model)) as events:
                async for event in events:
                    match event:
                        case Prepared():
                            answered = event
                            continue
                        case Result():
                            # It took a while to get here: whoever may not see the model any more gets no rows of it.
                            await self._models.load(caller, asked.semantic_model, asked.owner_user)
                            rows = event.rows
                    yield event
        text = verifiable(answered, model) if answered else ""
        kept = await self._conversations.keep(caller, asked, model.kept.model_id, text, VERIFIED_DIALECT)
        yield Done(kept.answer_id, kept.conversation_id, len(rows.rows), rows.truncated)

    async def _answer(
        self, question: str, statement: Statement, model: LoadedModel
    ) -> AsyncGenerator[Event | Prepared, None]:
        """Yield what comes of a statement, and the statement itself when it has run."""
        try:
            prepared = await asyncio.to_thread(self._statements.prepare, statement.query, model.allowed)
            yield Sql(prepared.shown, statement.verified_query, self._statements.dialect)
            yield Status(Step.RUNNING)
            rows = await self._statements.run(prepared)
        except (StatementRefused, TableNotLoaded, StatementFailed, StatementTooLarge) as error:
            yield Suggestions(error.message)
            return
        yield Result(rows)
        if self._describer is not None:
            described = await asyncio.to_thread(
                self._describer.describe, question, statement.columns, prepared.tree, rows
            )
            for event in described:
                if event is not None:
                    yield event
        yield prepared


def verifiable(prepared: Prepared, model: LoadedModel) -> str:
    """Return the statement as a verified query of *model* would have it; '' when it cannot be said so."""
    try:
        return render(logical_form(prepared.tree, model.model), VERIFIED_DIALECT)
    except StatementRefused:
        return ""
