"""Sessions, transactions, locks, rights, policies, time travel, faults and REST, through the real connector."""

import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector

from tests.support.emulator import Emulator, emulator

Error = snowflake.connector.errors.Error


def ask(running: Emulator, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(  # noqa: S310 - the emulator's own address
        running.url + path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the same
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.loads(refusal.read())


def arm(running: Emulator, kind: str, **facts: Any) -> None:
    assert ask(running, "/_control/faults", {"kind": kind, **facts})[0] == 200


def test_wrong_password_is_refused(running: Emulator) -> None:
    with pytest.raises(Error) as refusal:
        running.connect(password="wrong")

    assert refusal.value.errno == 390100


def test_transaction_is_seen_by_others_only_after_commit(running: Emulator, cursor: Any) -> None:
    cursor.execute("create table t (a int)")
    with running.connect(database="TRIAL", schema="PUBLIC") as second:
        other = second.cursor()
        cursor.execute("begin")
        cursor.execute("insert into t values (1)")

        before = other.execute("select count(*) from t").fetchone()
        own = cursor.execute("select count(*) from t").fetchone()
        cursor.execute("commit")
        after = other.execute("select count(*) from t").fetchone()

    assert (before, own, after) == ((0,), (1,), (1,))


def test_rollback_undoes_insert_update_and_delete(cursor: Any) -> None:
    cursor.execute("create table t as select column1::int a from values (1), (2), (3)")
    cursor.execute("begin")
    cursor.execute("insert into t values (4)")
    cursor.execute("update t set a = 20 where a = 2")
    cursor.execute("delete from t where a = 1")
    assert cursor.execute("select a from t order by a").fetchall() == [(3,), (4,), (20,)]

    cursor.execute("rollback")

    assert cursor.execute("select a from t order by a").fetchall() == [(1,), (2,), (3,)]


def test_twenty_first_waiter_is_refused_with_000625(running: Emulator, cursor: Any) -> None:
    cursor.execute("create table t as select 1::int a")
    cursor.execute("begin")
    cursor.execute("update t set a = 2")
    codes: list[int | None] = []
    connections = [running.connect(database="TRIAL", schema="PUBLIC") for _ in range(21)]

    def write(connection: Any) -> None:
        try:
            connection.cursor().execute("update t set a = a + 1")
            codes.append(None)
        except Error as error:
            codes.append(error.errno)

    threads = [threading.Thread(target=write, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while not codes and time.monotonic() < deadline:
        time.sleep(0.02)
    refused = list(codes)
    cursor.execute("commit")
    for thread in threads:
        thread.join()
    for connection in connections:
        connection.close()

    assert refused == [625]
    assert codes.count(None) == 20
    assert cursor.execute("select a from t").fetchone() == (22,)


def test_duplicate_primary_key_is_accepted(cursor: Any) -> None:
    cursor.execute("create table t (a int primary key)")

    cursor.execute("insert into t values (1), (1)")

    assert cursor.execute("select count(*) from t").fetchone() == (2,)


def test_rows_can_be_read_as_they_were_before_a_statement(cursor: Any) -> None:
    cursor.execute("create table t as select 1::int a")
    gone = cursor.execute("delete from t").sfqid

    then = cursor.execute("select a from t before (statement => %s)", (gone,)).fetchall()
    cursor.execute(f"create table back clone t before (statement => '{gone}')")

    assert then == [(1,)]
    assert cursor.execute("select a from back").fetchall() == [(1,)]
    assert cursor.execute("select a from t").fetchall() == []


def test_dropped_table_comes_back(cursor: Any) -> None:
    cursor.execute("create table t as select 1::int a")
    cursor.execute("drop table t")

    cursor.execute("undrop table t")

    assert cursor.execute("select a from t").fetchall() == [(1,)]


def test_role_without_a_grant_sees_nothing(running: Emulator, cursor: Any) -> None:
    cursor.execute("create table t as select 1::int a")
    cursor.execute("create or replace role reader")
    cursor.execute(
        "create or replace user bob password = 'secret' default_role = reader default_warehouse = compute_wh"
    )
    cursor.execute("grant role reader to user bob")
    with running.connect(user="BOB", password="secret") as connection:
        bob = connection.cursor()
        with pytest.raises(Error) as refusal:
            bob.execute("select * from trial.public.t")
        cursor.execute("grant usage on database trial to role reader")
        cursor.execute("grant usage on schema trial.public to role reader")
        with pytest.raises(Error) as second:
            bob.execute("select * from trial.public.t")
        cursor.execute("grant select on table t to role reader")

        assert refusal.value.errno == second.value.errno == 2003
        assert bob.execute("select * from trial.public.t").fetchall() == [(1,)]
        with pytest.raises(Error) as third:
            bob.execute("insert into trial.public.t values (2)")
        assert third.value.errno == 3001


def test_row_access_policy_holds_for_every_reader_and_writer(cursor: Any) -> None:
    cursor.execute("create table t as select column1 owner from values ('TEST'), ('ANN')")
    cursor.execute("create row access policy p as (o varchar) returns boolean -> o = current_user()")
    cursor.execute("alter table t add row access policy p on (owner)")

    seen = cursor.execute("select owner from t").fetchall()
    changed = cursor.execute("update t set owner = owner").fetchone()

    assert seen == [("TEST",)]
    assert changed[0] == 1


def test_session_token_that_ends_is_renewed_unseen(running: Emulator, cursor: Any) -> None:
    assert ask(running, "/_control/expire", {})[1]["expired"] >= 1

    assert cursor.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("kind", ["http_503", "http_429"])
def test_busy_server_is_asked_again(running: Emulator, cursor: Any, kind: str) -> None:
    arm(running, kind)

    assert cursor.execute("select 1").fetchone() == (1,)


def test_login_can_be_refused(running: Emulator) -> None:
    arm(running, "login_refused", code=390318)

    with pytest.raises(Error) as refusal:
        running.connect()

    assert refusal.value.errno == 390318


def test_slow_statement_meets_its_timeout(running: Emulator, cursor: Any) -> None:
    cursor.execute("alter session set statement_timeout_in_seconds = 1")

    with pytest.raises(Error) as refusal:
        cursor.execute("select system$wait(5)")

    assert refusal.value.errno == 630


def test_suspended_warehouse_refuses_queries_of_tables(cursor: Any) -> None:
    cursor.execute("create table t as select 1::int a")
    cursor.execute("create or replace warehouse asleep initially_suspended = true auto_resume = false")
    cursor.execute("use warehouse asleep")

    with pytest.raises(Error) as refusal:
        cursor.execute("select * from t")

    assert refusal.value.errno == 606


def test_service_and_caller_sign_in_with_their_tokens(running: Emulator, cursor: Any) -> None:
    service = ask(running, "/_control/tokens", {"service": "MEMORY", "role": "SYSADMIN"})[1]["token"]
    caller = ask(running, "/_control/tokens", {"user": "TEST"})[1]["token"]
    cursor.execute("create table t as select 1::int a")

    with running.connect(authenticator="oauth", token=service) as connection:
        who = connection.cursor().execute("select current_user(), current_role()").fetchone()
    with running.connect(authenticator="oauth", token=f"{service}.{caller}") as connection:
        whose = connection.cursor().execute("select current_user()").fetchone()
        with pytest.raises(Error) as refusal:
            connection.cursor().execute("select * from trial.public.t")

    assert who == ("MEMORY", "SYSADMIN")
    assert whose == ("TEST",)
    assert refusal.value.errno == 2003


def test_binds_in_bulk_arrive_as_rows(running: Emulator, cursor: Any) -> None:
    cursor.execute("create table t (a int, b varchar)")
    with running.connect(paramstyle="qmark", database="TRIAL", schema="PUBLIC") as connection:
        connection.cursor().executemany("insert into t values (?, ?)", [[1, "x"], [2, None]])

    assert cursor.execute("select * from t order by a").fetchall() == [(1, "x"), (2, None)]


def test_large_result_comes_in_parts(cursor: Any) -> None:
    rows = cursor.execute("select seq4() a from table(generator(rowcount => 70000)) order by a").fetchall()

    assert [row[0] for row in rows] == list(range(70_000))


def test_data_survive_a_restart(tmp_path: Path) -> None:
    with emulator(tmp_path) as first, first.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("create database kept")
        cursor.execute("create table t (a int, e vector(float, 2))")
        cursor.execute("insert into t select 1, [1, 2]::vector(float, 2)")

    with emulator(tmp_path) as second, second.connect() as connection:
        found = connection.cursor().execute("select * from kept.public.t").fetchall()

    assert found == [(1, [1.0, 2.0])]


def test_sql_api_and_cortex_take_an_access_token(running: Emulator, cursor: Any) -> None:
    token = cursor.execute("alter user test add programmatic access token rest").fetchone()[1]
    headers = {"Authorization": f"Bearer {token}", "X-Snowflake-Authorization-Token-Type": "PROGRAMMATIC_ACCESS_TOKEN"}

    right = ask(running, "/api/v2/statements", {"statement": "select 1 a"}, **headers)
    wrong = ask(running, "/api/v2/statements", {"statement": "select nothing"}, **headers)
    nobody = ask(running, "/api/v2/statements", {"statement": "select 1"})
    embedded = ask(running, "/api/v2/cortex/inference:embed", {"model": "e5-base-v2", "text": ["tea"]}, **headers)

    assert (right[0], right[1]["data"], right[1]["code"]) == (200, [["1"]], "090001")
    assert (wrong[0], wrong[1]["code"]) == (422, "000904")
    assert nobody[0] == 401
    assert len(embedded[1]["data"][0]["embedding"][0]) == 768


def test_only_its_user_ends_a_statement(running: Emulator, cursor: Any) -> None:
    cursor.execute("create or replace user eve password = 'secret'")
    query_id = cursor.execute_async("select system$wait(20)")["queryId"]
    session_id = cursor.connection.session_id
    cancels = (f"select system$cancel_query('{query_id}')", f"select system$cancel_all_queries({session_id})")

    with running.connect(user="EVE", password="secret") as stranger:
        refused = [stranger.cursor().execute(statement).fetchone()[0] for statement in cancels]
    with running.connect() as owner:
        ended = owner.cursor().execute(cancels[0]).fetchone()[0]

    assert refused == ["Identified SQL statement is not currently executing.", "0 cancelled."]
    assert ended == f"query [{query_id}] terminated."
