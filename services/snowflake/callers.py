"""Sessions with the rights of callers: never shared between two, few, and not kept for long."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from services.mesh.config import Secret
from services.snowflake.login import Login
from services.snowflake.session import Session, Tag
from services.snowflake.sessions import Sessions
from services.snowflake.settings import SnowflakeSettings

T = TypeVar("T")
MAX_CALLERS = 64  # with open sessions at a time
SESSIONS_A_CALLER = 4
IDLE_S = 60.0  # a caller's token lives for two minutes by default


@dataclass(slots=True)
class _Pool:
    sessions: Sessions
    used_at: float


class CallerSessions:
    """Runs work as the caller whose token the ingress gave us; the token is kept for as long as the sessions are."""

    def __init__(
        self, settings: SnowflakeSettings, login: Login, open_sessions: Callable[..., Sessions] = Sessions
    ) -> None:
        self._settings = settings
        self._login = login
        self._open_sessions = open_sessions
        self._pools: OrderedDict[tuple[str, bytes], _Pool] = OrderedDict()  # the longest unused first
        self._closing: set[asyncio.Task[None]] = set()

    async def run(
        self, user: str, token: Secret, work: Callable[[Session], T], tag: Tag, timeout_s: float | None = None
    ) -> T:
        """Return what *work* does with a session of *user*; raises as ``Sessions.run``, and ``CallerRefused``."""
        return await self._pool(user, token).run(work, tag, timeout_s)

    async def close(self) -> None:
        """Log out everywhere."""
        self._drop(list(self._pools))
        await asyncio.gather(*self._closing)

    def _pool(self, user: str, token: Secret) -> Sessions:
        key = (user, hashlib.sha256(token.value.encode()).digest())
        now = time.monotonic()
        pool = self._pools.get(key) or _Pool(self._opened(token), now)
        pool.used_at = now
        self._pools[key] = pool
        self._pools.move_to_end(key)
        too_many = len(self._pools) - MAX_CALLERS
        self._drop(
            [
                other
                for number, (other, kept) in enumerate(self._pools.items())
                if number < too_many or now - kept.used_at > IDLE_S
            ]
        )
        return pool.sessions

    def _opened(self, token: Secret) -> Sessions:
        return self._open_sessions(
            lambda: self._login.caller(token),
            size=SESSIONS_A_CALLER,
            login_timeout_s=self._settings.login_timeout_s,
            statement_timeout_s=self._settings.statement_timeout_s,
            of_caller=True,
        )

    def _drop(self, keys: list[tuple[str, bytes]]) -> None:
        for key in keys:
            task = asyncio.create_task(self._pools.pop(key).sessions.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
