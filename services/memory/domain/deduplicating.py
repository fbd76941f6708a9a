"""Finding duplicates: what a request means, and how its pages follow each other."""

from dataclasses import dataclass
from datetime import datetime

from services.memory.domain.duplicates import DuplicateGroup, DuplicatePlan
from services.memory.domain.memories import Clock, bounded, utc_now
from services.memory.domain.memory import Json
from services.memory.domain.paging import Pager
from services.memory.domain.ports import MemoryStore
from services.memory.filter import parse
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, Violation

DEFAULT_GROUPS = 20
MAX_GROUPS = 100


@dataclass(frozen=True, slots=True)
class Likenesses:
    """Duplicates as asked for; zeros and None stand for the defaults."""

    min_score: float | None = None
    visible: bool = False
    bucket: str = ""
    filter_text: str = ""
    page_size: int = 0
    page_token: str = ""

    def binding(self) -> Json:
        """Return what a page token is bound to: everything but the page."""
        return {
            "rpc": "FindDuplicateMemories",
            "min_score": self.min_score,
            "visible": self.visible,
            "bucket": self.bucket,
            "filter": self.filter_text,
        }


@dataclass(frozen=True, slots=True)
class GroupPage:
    """One page of groups and the token of the next, '' at the end."""

    groups: tuple[DuplicateGroup, ...]
    next_page_token: str


class Duplicates:
    """The use case of finding duplicates."""

    def __init__(self, store: MemoryStore, clock: Clock = utc_now) -> None:
        self._store = store
        self._pager = Pager(store.secrets.token_key)
        self._clock = clock

    async def find(self, caller: Caller, asked: Likenesses) -> GroupPage:
        """Return one page of groups among what holds now. Raises ``InvalidInput``, ``InvalidFilter``, ``InvalidPageToken``."""
        limit = bounded("page_size", asked.page_size, DEFAULT_GROUPS, MAX_GROUPS)
        if asked.min_score is not None and not -1.0 <= asked.min_score <= 1.0:  # not a number fails too
            description = f"must be -1 to 1, got {asked.min_score}"
            raise InvalidInput(f"min_score {description}", violations=[Violation("min_score", description)])
        now = self._clock()
        state = self._pager.open(asked.page_token, caller, asked.binding(), now) if asked.page_token else {}
        plan = DuplicatePlan(
            limit,
            now,
            min_score=asked.min_score,
            visible=asked.visible,
            bucket=asked.bucket or None,
            filter=parse(asked.filter_text),
            valid_at=datetime.fromisoformat(state["valid_at"]) if state else now,
            after=state.get("after", 0),
            snapshot=state.get("snapshot"),
        )
        page = await self._store.duplicates(caller, plan)
        if page.after is None:
            return GroupPage(page.groups, "")
        valid_at = plan.valid_at and plan.valid_at.isoformat()
        state = {"after": page.after, "snapshot": page.snapshot, "valid_at": valid_at}
        return GroupPage(page.groups, self._pager.seal(caller, asked.binding(), state, now))
