"""INFORMATION_SCHEMA, through the real connector."""

from typing import Any

import pytest
import snowflake.connector

from tests.support.emulator import Emulator


def test_tables_and_columns_are_listed_with_their_facts(cursor: Any) -> None:
    cursor.execute("create table t (id int not null, name varchar(5))")
    cursor.execute("insert into t values (1, 'a'), (2, 'b')")
    cursor.execute("create view w as select id from t")

    tables = cursor.execute(
        "select table_name, table_type, row_count from information_schema.tables where table_schema = 'PUBLIC' order by 1"
    ).fetchall()
    columns = cursor.execute(
        "select column_name, data_type, is_nullable, character_maximum_length from trial.information_schema.columns "
        "where table_name = 'T' order by ordinal_position"
    ).fetchall()

    assert tables == [("T", "BASE TABLE", 2), ("W", "VIEW", None)]
    assert columns == [("ID", "NUMBER", "NO", None), ("NAME", "TEXT", "YES", 5)]


def test_databases_and_schemas_are_listed(cursor: Any) -> None:
    databases = cursor.execute("select database_name from information_schema.databases").fetchall()
    schemas = cursor.execute("select schema_name from information_schema.schemata order by 1").fetchall()

    assert ("TRIAL",) in databases
    assert schemas == [("INFORMATION_SCHEMA",), ("PUBLIC",)]


def test_unknown_view_of_the_schema_does_not_exist(cursor: Any) -> None:
    with pytest.raises(snowflake.connector.errors.ProgrammingError) as refusal:
        cursor.execute("select * from information_schema.nothing")

    assert refusal.value.errno == 2003


def test_history_tells_what_ran_and_how_it_ended(cursor: Any) -> None:
    cursor.execute("alter session set query_tag = 'mine'")
    right = cursor.execute("select 1").sfqid
    with pytest.raises(snowflake.connector.errors.ProgrammingError):
        cursor.execute("select nothing")

    found = cursor.execute(
        "select query_id, query_tag, execution_status, error_code "
        "from table(information_schema.query_history_by_session()) where query_text in ('select 1', 'select nothing') "
        "order by start_time"
    ).fetchall()

    assert found[0] == (right, "mine", "SUCCESS", None)
    assert found[1][1:] == ("mine", "FAILED_WITH_ERROR", "904")


def test_history_has_a_limit_and_hides_what_others_ran(running: Emulator, cursor: Any) -> None:
    cursor.execute("create or replace user eve password = 'secret'")
    with running.connect(user="EVE", password="secret") as connection:
        query = "select user_name from table(snowflake.information_schema.query_history())"
        theirs = connection.cursor().execute(query).fetchall()

    assert set(theirs) == {("EVE",)}
    assert (
        len(cursor.execute("select * from table(information_schema.query_history(result_limit => 3))").fetchall()) == 3
    )
