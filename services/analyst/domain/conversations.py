"""What a user asks is checked and remembered for a while, so that the next question may go on from it."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from services.analyst.domain.language import Turn
from services.analyst.domain.models import Clock, utc_now
from services.analyst.domain.ports import AnswerStore, KeptAnswer
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, NotFound, Violation

MAX_QUESTION = 2048
MAX_TURNS = 20
KEPT = timedelta(days=7)
MAX_COMMENT = 2048
_CONVERSATION = re.compile(r"[\x20-\x7e]{1,128}")


class AnswerNotFound(NotFound):
    """No such answer was given to the caller."""

    reason = "ANSWER_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came in."""

    question: str
    semantic_model: str
    owner_user: str = ""
    as_of: str = ""
    conversation_id: str = ""
    history: Sequence[Turn] = ()


def check_asked(asked: Asked) -> date:
    """Return what "today" means. Raises ``InvalidInput`` naming every fault."""
    faults = []
    if not asked.question.strip() or len(asked.question) > MAX_QUESTION:
        faults.append(Violation("question", f"must be 1 to {MAX_QUESTION} characters"))
    if not asked.semantic_model:
        faults.append(Violation("semantic_model", "must be given"))
    if asked.conversation_id and not _CONVERSATION.fullmatch(asked.conversation_id):
        faults.append(Violation("conversation_id", "must be 1 to 128 printable ASCII characters"))
    if len(asked.history) > MAX_TURNS or any(len(turn.question) > MAX_QUESTION for turn in asked.history):
        faults.append(Violation("history", f"must be up to {MAX_TURNS} turns of up to {MAX_QUESTION} characters"))
    today = datetime.now(UTC).date()
    if asked.as_of:
        try:
            today = datetime.strptime(asked.as_of, "%Y-%m-%d").replace(tzinfo=UTC).date()
        except ValueError:
            faults.append(Violation("as_of", "must be a day, YYYY-MM-DD"))
    if faults:
        raise InvalidInput(f"{faults[0].field} {faults[0].description}", violations=faults)
    return today


class Conversations:
    """Keeps what was asked and answered, for whoever asked."""

    def __init__(self, store: AnswerStore, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def history(self, caller: Caller, asked: Asked) -> Sequence[Turn]:
        """Return the turns before a question: the caller's, else those kept."""
        if asked.history or not asked.conversation_id:
            return asked.history
        return await self._store.turns(caller.user, asked.conversation_id, MAX_TURNS)

    async def keep(self, caller: Caller, asked: Asked, model_id: str, statement: str, dialect: str) -> KeptAnswer:
        """Keep an answer; return it with the ids that it got."""
        now = self._clock()
        answer = KeptAnswer(
            answer_id=str(uuid.uuid4()),
            owner_user=caller.user,
            conversation_id=asked.conversation_id or str(uuid.uuid4()),
            model_id=model_id,
            question=asked.question,
            statement=statement,
            dialect=dialect,
            asked_at=now,
        )
        await self._store.keep(answer, MAX_TURNS, now - KEPT)
        return answer

    async def answer(self, caller: Caller, answer_id: str) -> KeptAnswer:
        """Return an answer that *caller* was given. Raises ``AnswerNotFound``."""
        found = await self._store.answer(caller.user, answer_id)
        if found is None:
            raise AnswerNotFound("there is no such answer")
        return found

    async def judge(self, caller: Caller, answer_id: str, comment: str, *, positive: bool) -> None:
        """Keep what *caller* says of an answer. Raises ``AnswerNotFound``."""
        if len(comment) > MAX_COMMENT:
            description = f"must be up to {MAX_COMMENT} characters"
            raise InvalidInput(f"comment {description}", violations=[Violation("comment", description)])
        answer = await self.answer(caller, answer_id)
        await self._store.judge(answer, comment, self._clock(), positive=positive)
