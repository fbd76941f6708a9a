"""Whose every row is must be said: a backup seals rows by it, and an erasure reaches restored copies by it."""

from pathlib import Path

import apsw

from services.memory.stores.embedded.database import connect, migrate
from services.memory.stores.embedded.ownership import DERIVED, OWNERS, strip, tables

PEOPLE = ("owner_user", "user")


def database(tmp_path: Path) -> apsw.Connection:
    connection = connect(tmp_path / "memories.sqlite", None)
    migrate(connection)
    return connection


def test_every_table_says_whose_its_rows_are(tmp_path: Path) -> None:
    connection = database(tmp_path)

    assert set(tables(connection)) == set(OWNERS)
    assert not DERIVED & set(OWNERS)


def test_every_table_that_names_people_belongs_to_them(tmp_path: Path) -> None:
    connection = database(tmp_path)

    for table in tables(connection):
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        named = [column for column in columns if column in PEOPLE]
        assert not named or OWNERS[table] == f"t.{named[0]}", table


def test_rows_can_be_taken_out_in_the_order_that_is_given(tmp_path: Path) -> None:
    connection = database(tmp_path)
    connection.execute("INSERT INTO partitions VALUES (7, 'PRIVATE', 'ann', '[]')")
    connection.execute("INSERT INTO partition_roles VALUES ('NURSE', 7)")
    connection.execute("INSERT INTO owner_quotas VALUES ('ann', 1, 1), ('bob', 1, 1)")

    strip(connection, "ann")

    assert connection.execute("SELECT count(*) FROM partition_roles").get == 0
    assert connection.execute("SELECT owner_user FROM owner_quotas").get == "bob"
