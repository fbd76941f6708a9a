"""The pool of sessions, over connections of our own making."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from snowflake.connector import DatabaseError, OperationalError, ProgrammingError

from services.mesh.errors import MemoryBoxError
from services.snowflake.errors import LoginRefused, StatementFailed, StatementTimeout, TooManyWriters
from services.snowflake.login import Options
from services.snowflake.session import Tag
from services.snowflake.sessions import Sessions, SessionsBusy

TAG = Tag("memory", "SearchMemories", "abc")
CANCEL = "SELECT SYSTEM$CANCEL_ALL_QUERIES(?)"


class Server:
    """Stands for Snowflake: counts logins, answers statements, holds those that are told to wait."""

    def __init__(self) -> None:
        self.logins: list[Options] = []
        self.refusals: list[Exception] = []
        self.failures: list[Exception] = []
        self.cancelled: list[int] = []
        self.statements: list[tuple[int, str]] = []
        self.closed: list[int] = []
        self.release = threading.Event()
        self.waiting = threading.Semaphore(0)

    def open(self, options: Options, timeout_s: float) -> Any:
        self.logins.append(options)
        if self.refusals:
            raise self.refusals.pop(0)
        return OpenSession(self, len(self.logins))


class OpenSession:
    def __init__(self, server: Server, number: int) -> None:
        self.server = server
        self.session_id = str(number)
        self.tags: list[tuple[str, float]] = []

    def bound(self, tag: Tag, timeout_s: float) -> None:
        self.tags.append((str(tag), timeout_s))

    def rows(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        server = self.server
        server.statements.append((int(self.session_id), statement))
        if statement == CANCEL:
            server.cancelled.append(parameters[0])
            server.release.set()
        if server.failures:
            raise server.failures.pop(0)
        if statement == "wait":
            server.waiting.release()
            assert server.release.wait(10)
            raise ProgrammingError("cancelled", errno=604)
        return [(statement,)]

    def close(self) -> None:
        self.server.closed.append(int(self.session_id))


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.release.set()


@pytest.fixture
async def pool(server: Server) -> Any:
    made = pool_of(server, 2)
    yield made
    await made.close()


def pool_of(server: Server, size: int, options: Callable[[], Options] = dict) -> Sessions:
    return Sessions(options, size=size, login_timeout_s=5, statement_timeout_s=5, open_session=server.open)


async def test_work_gets_a_session_and_its_answer_comes_back(server: Server, pool: Sessions) -> None:
    assert await pool.run(lambda session: session.rows("a"), TAG) == [("a",)]


async def test_a_session_is_used_again(server: Server, pool: Sessions) -> None:
    for _ in range(5):
        await pool.run(lambda session: session.rows("a"), TAG)

    assert len(server.logins) == 1


async def test_no_more_sessions_are_opened_than_the_pool_may_have(server: Server, pool: Sessions) -> None:
    await asyncio.gather(*(pool.run(lambda session: session.rows("a"), TAG) for _ in range(50)))

    assert len(server.logins) <= 2


async def test_an_expired_session_is_replaced_in_flight_once(server: Server, pool: Sessions) -> None:
    await pool.run(lambda session: session.rows("a"), TAG)
    server.failures = [ProgrammingError("expired", errno=390114)]

    assert await pool.run(lambda session: session.rows("b"), TAG) == [("b",)]
    assert len(server.logins) == 2
    assert server.closed == [1]


async def test_a_second_expiry_in_a_row_is_told(server: Server, pool: Sessions) -> None:
    server.failures = [ProgrammingError("expired", errno=390114), ProgrammingError("expired", errno=390114)]

    with pytest.raises(MemoryBoxError) as failure:
        await pool.run(lambda session: session.rows("a"), TAG)

    assert failure.value.code == "UNAVAILABLE"


async def test_a_login_with_a_stale_token_reads_the_token_anew(server: Server) -> None:
    tokens = iter(["old", "new"])
    pool = pool_of(server, 1, lambda: {"token": next(tokens)})
    server.refusals = [DatabaseError("expired", errno=390318)]

    await pool.run(lambda session: session.rows("a"), TAG)

    assert [login["token"] for login in server.logins] == ["old", "new"]
    await pool.close()


async def test_a_wrong_password_is_not_tried_twice(server: Server, pool: Sessions) -> None:
    server.refusals = [DatabaseError("no", errno=390100)]

    with pytest.raises(LoginRefused):
        await pool.run(lambda session: session.rows("a"), TAG)

    assert len(server.logins) == 1


async def test_a_refused_statement_keeps_its_session(server: Server, pool: Sessions) -> None:
    server.failures = [ProgrammingError("syntax 'secret'", errno=1003)]

    with pytest.raises(StatementFailed) as failure:
        await pool.run(lambda session: session.rows("a"), TAG)

    assert "secret" not in str(failure.value)
    await pool.run(lambda session: session.rows("b"), TAG)
    assert len(server.logins) == 1


async def test_a_broken_connection_costs_its_session(server: Server, pool: Sessions) -> None:
    server.failures = [OperationalError("gone", errno=4)]

    with pytest.raises(MemoryBoxError) as failure:
        await pool.run(lambda session: session.rows("a"), TAG)

    assert failure.value.reason == "SNOWFLAKE_UNAVAILABLE"
    assert failure.value.retry_after_s
    assert server.closed == [1]


async def test_too_many_writers_says_when_to_come_again(server: Server, pool: Sessions) -> None:
    server.failures = [ProgrammingError("20 waiters", errno=625)]

    with pytest.raises(TooManyWriters) as failure:
        await pool.run(lambda session: session.rows("a"), TAG)

    assert failure.value.retry_after_s


async def test_work_whose_caller_leaves_is_cancelled_in_snowflake(server: Server, pool: Sessions) -> None:
    task = asyncio.create_task(pool.run(lambda session: session.rows("wait"), TAG))
    await asyncio.to_thread(server.waiting.acquire)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await pool.run(lambda session: session.rows("a"), TAG)

    assert server.cancelled == [1]
    assert (1, "a") not in server.statements


async def test_work_at_its_deadline_is_cancelled_in_snowflake(server: Server, pool: Sessions) -> None:
    with pytest.raises(StatementTimeout):
        await pool.run(lambda session: session.rows("wait"), TAG, 0.05)

    await asyncio.to_thread(server.release.wait, 5)
    assert server.cancelled == [1]


async def test_a_full_queue_turns_callers_away(server: Server) -> None:
    pool = pool_of(server, 1)
    holder = asyncio.create_task(pool.run(lambda session: session.rows("wait"), TAG))
    await asyncio.to_thread(server.waiting.acquire)
    queue = [asyncio.create_task(pool.run(lambda session: session.rows("a"), TAG)) for _ in range(32)]
    await asyncio.sleep(0)

    with pytest.raises(SessionsBusy) as failure:
        await pool.run(lambda session: session.rows("a"), TAG)

    assert failure.value.retry_after_s
    server.release.set()
    await asyncio.gather(holder, *queue, return_exceptions=True)
    await pool.close()


async def test_closing_logs_out_everywhere(server: Server) -> None:
    pool = pool_of(server, 2)
    await asyncio.gather(*(pool.run(lambda session: session.rows("a"), TAG) for _ in range(8)))

    await pool.close()

    assert sorted(server.closed) == list(range(1, len(server.logins) + 1))


def test_a_tag_is_short_json() -> None:
    assert str(TAG) == '{"svc":"memory","rpc":"SearchMemories","trace_id":"abc"}'
    assert len(str(Tag("memory", "x" * 3000))) == 2000
