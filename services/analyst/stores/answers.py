"""Conversations and feedback in the analyst's database."""

from datetime import datetime
from typing import Any

import apsw

from services.analyst.domain.language import Turn
from services.analyst.domain.ports import KeptAnswer
from services.analyst.stores.database import Database, time_us, us_time

_TURNS = """
  SELECT question FROM answers WHERE owner_user = ? AND conversation_id = ? ORDER BY asked_at DESC LIMIT ?
"""
_SURPLUS = """
  DELETE FROM answers WHERE owner_user = :owner AND conversation_id = :conversation AND asked_at < (
    SELECT asked_at FROM answers WHERE owner_user = :owner AND conversation_id = :conversation
    ORDER BY asked_at DESC LIMIT 1 OFFSET :kept)
"""


class EmbeddedAnswerStore:
    """Keeps what each user was answered, for them alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def turns(self, owner_user: str, conversation_id: str, limit: int) -> list[Turn]:
        """Return the last turns, oldest first."""
        rows = await self._database.read(
            lambda connection: connection.execute(_TURNS, (owner_user, conversation_id, limit)).fetchall()
        )
        return [Turn(question) for (question,) in reversed(rows)]

    async def keep(self, answer: KeptAnswer, max_turns: int, oldest: datetime) -> None:
        """Keep an answer; forget what is beyond *max_turns* of its conversation, or older than *oldest*."""
        row = (
            *(answer.answer_id, answer.owner_user, answer.conversation_id, answer.model_id),
            *(answer.question, answer.statement, answer.dialect, time_us(answer.asked_at)),
        )
        surplus = {"owner": answer.owner_user, "conversation": answer.conversation_id, "kept": max_turns - 1}

        def work(connection: apsw.Connection) -> None:
            connection.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            connection.execute(_SURPLUS, surplus)
            connection.execute("DELETE FROM answers WHERE asked_at < ?", (time_us(oldest),))

        await self._database.write(work)

    async def answer(self, owner_user: str, answer_id: str) -> KeptAnswer | None:
        """Return an answer that *owner_user* was given."""
        row: tuple[Any, ...] | None = await self._database.read(
            lambda connection: connection.execute(
                "SELECT * FROM answers WHERE answer_id = ? AND owner_user = ?", (answer_id, owner_user)
            ).fetchone()
        )
        if row is None:
            return None
        answer_id, owner, conversation, model_id, question, statement, dialect, asked_at = row
        return KeptAnswer(answer_id, owner, conversation, model_id, question, statement, dialect, us_time(asked_at))

    async def judge(self, answer: KeptAnswer, comment: str, at: datetime, *, positive: bool) -> None:
        """Keep feedback, in place of earlier feedback to the same answer."""
        row = (answer.answer_id, answer.owner_user, answer.model_id, int(positive), comment, time_us(at))
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?, ?)", row
            ).fetchall()
        )
