"""The pool of sessions, through the real connector, over an emulated Snowflake that fails on demand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from services.emulator.engine.faults import Fault
from services.emulator.engine.history import Record
from services.snowflake.errors import (
    LoginRefused,
    SnowflakeUnavailable,
    StatementTimeout,
    TooManyWriters,
    WarehouseUnavailable,
)
from services.snowflake.session import Session, Tag
from services.snowflake.sessions import Sessions
from tests.support.emulator import Emulator, emulator

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # the connector's own, at each connection

TAG = Tag("memory", "SearchMemories", "abc")
PATIENCE_S = 60.0  # far beyond what any statement here needs
CANCELLED, OUT_OF_TIME = 604, 630


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with emulator() as found:
        with found.connect() as connection:
            connection.cursor().execute("CREATE DATABASE trial")
            connection.cursor().execute("CREATE TABLE t AS SELECT 1::INT a")
        yield found


@pytest.fixture
async def pool(running: Emulator) -> AsyncIterator[Sessions]:
    made = pool_of(running)
    yield made
    running.account.faults.clear()
    await made.close()


def pool_of(running: Emulator, **more: Any) -> Sessions:
    options = {
        "host": "127.0.0.1",
        "port": running.port,
        "protocol": "http",
        "account": "test",
        "user": "TEST",
        "password": "test",
        "database": "TRIAL",
        "schema": "PUBLIC",
        **more,
    }
    return Sessions(lambda: options, size=1, login_timeout_s=PATIENCE_S, statement_timeout_s=PATIENCE_S)


def asked(statement: str) -> Any:
    return lambda session: session.rows(statement)


def identity(session: Session) -> int:
    return int(session.rows("SELECT CURRENT_SESSION()")[0][0])


def records(running: Emulator, text: str) -> list[Record]:
    return [record for record in running.account.history.all() if text in record.text]


async def until(ready: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S / 2):
        while not ready():
            await asyncio.sleep(0.02)


async def test_a_query_brings_its_rows_and_tells_who_asked(running: Emulator, pool: Sessions) -> None:
    assert await pool.run(asked("SELECT CURRENT_USER(), 'tagged'"), TAG) == [("TEST", "tagged")]

    assert records(running, "'tagged'")[-1].tag == str(TAG)


async def test_a_caller_who_leaves_ends_the_statement_in_snowflake(running: Emulator, pool: Sessions) -> None:
    before = await pool.run(identity, TAG)
    left = asyncio.create_task(pool.run(asked("SELECT SYSTEM$WAIT(50), 'left'"), TAG))
    await until(lambda: records(running, "'left'"))

    left.cancel()
    record = records(running, "'left'")[-1]
    await until(record.done.is_set)

    assert record.error is not None
    assert record.error.code == CANCELLED
    assert await pool.run(identity, TAG) != before


async def test_a_deadline_ends_the_statement_in_snowflake(running: Emulator, pool: Sessions) -> None:
    await pool.run(identity, TAG)

    with pytest.raises(StatementTimeout):
        await pool.run(asked("SELECT SYSTEM$WAIT(50), 'late'"), TAG, timeout_s=1.5)

    record = records(running, "'late'")[-1]
    await until(record.done.is_set)
    assert record.error is not None
    assert record.error.code in {CANCELLED, OUT_OF_TIME}


async def test_a_session_whose_tokens_ended_is_replaced_in_flight(running: Emulator, pool: Sessions) -> None:
    before = await pool.run(identity, TAG)
    running.credentials.expire(sessions=True, masters=True)

    assert await pool.run(identity, TAG) != before


async def test_a_session_token_that_ended_is_renewed_in_the_same_session(running: Emulator, pool: Sessions) -> None:
    before = await pool.run(identity, TAG)
    running.credentials.expire(sessions=True)

    assert await pool.run(identity, TAG) == before


async def test_a_full_queue_for_a_table_may_be_tried_again(running: Emulator, pool: Sessions) -> None:
    running.account.faults.arm(Fault("statement_error", 1, {"code": 625, "sqlstate": "57014", "match": "UPDATE t"}))

    with pytest.raises(TooManyWriters):
        await pool.run(asked("UPDATE t SET a = 1"), TAG)

    assert await pool.run(asked("UPDATE t SET a = 1"), TAG) == [(1, 0)]


async def test_a_refused_login_is_told(running: Emulator, pool: Sessions) -> None:
    running.account.faults.arm(Fault("login_refused", 1, {"code": 390100}))

    with pytest.raises(LoginRefused):
        await pool.run(identity, TAG)


async def test_a_login_with_a_token_that_grew_old_is_done_again(running: Emulator, pool: Sessions) -> None:
    running.account.faults.arm(Fault("login_refused", 1, {"code": 390318}))

    assert await pool.run(asked("SELECT 1"), TAG) == [(1,)]


async def test_a_suspended_warehouse_is_told(running: Emulator) -> None:
    with running.connect() as connection:
        connection.cursor().execute("CREATE WAREHOUSE asleep INITIALLY_SUSPENDED = TRUE AUTO_RESUME = FALSE")
    pool = pool_of(running, warehouse="ASLEEP")

    with pytest.raises(WarehouseUnavailable):
        await pool.run(asked("SELECT * FROM t"), TAG)

    await pool.close()


async def test_an_answer_that_breaks_off_is_told_and_its_session_given_up(running: Emulator, pool: Sessions) -> None:
    before = await pool.run(identity, TAG)
    running.account.faults.arm(Fault("drop_before_result", 1, {"match": "INSERT INTO t"}))

    with pytest.raises(SnowflakeUnavailable):
        await pool.run(asked("INSERT INTO t VALUES (2)"), TAG)

    assert await pool.run(identity, TAG) != before
    assert await pool.run(asked("SELECT COUNT(*) FROM t WHERE a = 2"), TAG) == [(1,)]
