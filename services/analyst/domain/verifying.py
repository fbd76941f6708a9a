"""Verified queries from use: an answer that somebody approved becomes part of the model's next version."""

import asyncio
import re
from dataclasses import dataclass

from sqlglot import exp

from services.analyst.domain.conversations import MAX_QUESTION, AnswerNotFound, Conversations
from services.analyst.domain.models import Clock, ModelChanged, NotModelOwner, SemanticModels, etag_of, utc_now
from services.analyst.domain.ports import LoadedModel
from services.analyst.domain.semantic_model import SemanticModel, VerifiedQuery, expand, with_verified_query
from services.analyst.domain.semantic_model.logical import PREFIX
from services.analyst.domain.statements import Statements
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, Violation

VERIFIED_DIALECT = "snowflake"  # verified queries are Snowflake SQL over logical tables
MAX_NAME = 128


@dataclass(frozen=True, slots=True)
class Approval:
    """What a caller approves: an answer that they were given, or a question with its statement."""

    name: str
    owner_user: str = ""
    answer_id: str = ""
    question: str = ""
    statement: str = ""
    query_name: str = ""
    use_as_onboarding_question: bool = False
    etag: str = ""


class Verifying:
    """Adds verified queries to models."""

    def __init__(
        self,
        models: SemanticModels,
        conversations: Conversations,
        statements: Statements,
        governor_role: str,
        clock: Clock = utc_now,
    ) -> None:
        self._models = models
        self._conversations = conversations
        self._statements = statements
        self._governor_role = governor_role
        self._clock = clock

    async def approve(self, caller: Caller, approval: Approval) -> LoadedModel:
        """Return the model with the query. Raises ``NotModelOwner``, ``AnswerNotFound``, ``StatementRefused``, ``StatementFailed``."""
        model = await self._models.load(caller, approval.name, approval.owner_user)
        if caller.user != model.kept.owner_user and self._governor_role not in caller.roles:
            raise NotModelOwner("only the model's owner and governors approve its verified queries")
        if approval.etag and etag_of(approval.etag) != model.kept.etag:
            raise ModelChanged("the semantic model has changed since this etag was read; read it again")
        question, statement = await self._what(caller, approval, model)
        same = [query for query in model.model.verified_queries if _plain(query.question) == _plain(question)]
        if any(query.sql.strip() == statement.strip() for query in same):
            return model
        await self._try(statement, model)
        query = VerifiedQuery(
            name=approval.query_name or _name_of(question, model.model),
            question=question,
            sql=statement,
            verified_at=int(self._clock().timestamp()),
            # A governor who helps out leaves no name in what belongs to somebody else.
            verified_by=caller.user if caller.user == model.kept.owner_user else self._governor_role,
            use_as_onboarding_question=approval.use_as_onboarding_question,
        )
        yaml = await asyncio.to_thread(with_verified_query, model.kept.yaml, query)
        return await self._models.amend(model, yaml)

    async def _what(self, caller: Caller, approval: Approval, model: LoadedModel) -> tuple[str, str]:
        """Return the question and its statement."""
        if not approval.answer_id:
            _check(approval)
            return approval.question.strip(), approval.statement.strip()
        if approval.question or approval.statement:
            raise _wrong("answer_id", "must come without question and statement")
        answer = await self._conversations.answer(caller, approval.answer_id)
        if answer.model_id != model.kept.model_id:
            raise AnswerNotFound("there is no such answer of this model")
        if not answer.statement:
            raise _wrong("answer_id", "must be of a question that was answered")
        return answer.question, answer.statement

    async def _try(self, statement: str, model: LoadedModel) -> None:
        query = await asyncio.to_thread(expand, model.model, statement)
        prepared = await asyncio.to_thread(self._statements.prepare, query, model.allowed, max_rows=1)
        await self._statements.run(prepared, max_rows=1)


def logical_form(tree: exp.Query, model: SemanticModel) -> exp.Query:
    """Return a query over base tables as one over logical ones: without the CTEs that stand for those."""
    tree = tree.copy()
    with_ = tree.args.get("with_")
    if with_ is None:
        return tree
    standing = {PREFIX + table.name.casefold() for table in model.tables}
    own = [cte for cte in with_.expressions if cte.alias.casefold() not in standing]
    if own:
        with_.set("expressions", own)
    else:
        tree.set("with_", None)
    return tree


def _check(approval: Approval) -> None:
    if not 1 <= len(approval.question.strip()) <= MAX_QUESTION:
        raise _wrong("question", f"must be 1 to {MAX_QUESTION} characters, or answer_id be given")
    if not approval.statement.strip():
        raise _wrong("statement", "must be given with a question")
    if len(approval.query_name) > MAX_NAME:
        raise _wrong("query_name", f"must be up to {MAX_NAME} characters")


def _wrong(field: str, description: str) -> InvalidInput:
    return InvalidInput(f"{field} {description}", violations=[Violation(field, description)])


def _plain(question: str) -> str:
    return " ".join(re.findall(r"\w+", question.casefold()))


def _name_of(question: str, model: SemanticModel) -> str:
    """Return a name made of the question's first words that no query of *model* has."""
    words = "_".join(re.findall(r"[a-z0-9]+", question.lower())[:8])[: MAX_NAME - 8] or "query"
    taken = {query.name.casefold() for query in model.verified_queries}
    return next(
        name
        for number in range(1, len(taken) + 3)
        if (name := words if number == 1 else f"{words}_{number}") not in taken
    )
