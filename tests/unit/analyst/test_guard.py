"""What may run and what may not; the hostile statements stand in a file, each with a word of the reason that it must be given."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlglot import exp

from services.analyst.domain.guard import (
    Place,
    StatementRefused,
    TableName,
    check,
    confine,
    limited,
    parse_statement,
    render,
)

HOSTILE = [json.loads(line) for line in (Path(__file__).parent / "hostile_statements.jsonl").read_text().splitlines()]
STAFF = TableName("staff", "main", "warehouse")
ALLOWED = {STAFF: frozenset({"name", "base"})}
PLACES = {STAFF: Place(exp.to_table("main.staff"), ["name", "base", "salary"])}


def guarded(statement: str, dialect: str = "duckdb") -> str:
    tree = parse_statement(statement, dialect)
    check(tree, ALLOWED)
    return render(confine(tree, ALLOWED, PLACES), "duckdb")


def test_there_are_two_hundred_hostile_statements_of_every_kind() -> None:
    assert len({item["statement"] for item in HOSTILE}) >= 200
    assert len({item["kind"] for item in HOSTILE}) == 10


@pytest.mark.parametrize("item", HOSTILE, ids=[f"{item['kind']}-{at}" for at, item in enumerate(HOSTILE)])
def test_hostile_statement_is_refused_with_a_reason(item: dict[str, Any]) -> None:
    with pytest.raises(StatementRefused) as refused:
        guarded(item["statement"], item["dialect"])

    assert item["because"] in refused.value.message
    assert len(refused.value.message) > len("the statement")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT name, count(*) FROM staff GROUP BY 1 ORDER BY 2 DESC LIMIT 5",
        "SELECT * FROM warehouse.main.STAFF",
        "WITH s AS (SELECT base FROM staff) SELECT base, count(*) AS n FROM s GROUP BY base HAVING count(*) > 1",
        "SELECT base FROM staff UNION SELECT name FROM staff",
        "SELECT a.name FROM staff AS a LEFT JOIN staff AS b ON a.base = b.base",
        "SELECT name, rank() OVER (PARTITION BY base ORDER BY name) AS r FROM staff QUALIFY r = 1",
        "SELECT CASE WHEN base IN ('JFK', 'LGA') THEN 'NY' ELSE upper(base) END AS place FROM staff",
        "SELECT date_trunc('month', current_date) AS m",
        "SELECT n FROM range(10) AS t(n)",
    ],
)
def test_reading_statement_is_let_through(statement: str) -> None:
    assert guarded(statement)


def test_what_runs_reads_only_the_allowed_columns() -> None:
    assert guarded("SELECT * FROM staff") == 'SELECT * FROM (SELECT "name", "base" FROM main.staff) AS staff'


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM (staff AS a JOIN staff AS b ON a.name = b.name)",
        "SELECT * FROM (staff AS a CROSS JOIN (staff AS b JOIN staff AS c USING (name)))",
        "SELECT * FROM staff, staff AS b, LATERAL (SELECT * FROM staff AS c WHERE c.name = b.name) AS d",
        "SELECT * FROM staff WHERE name IN (SELECT name FROM staff AS s WHERE EXISTS (SELECT * FROM staff))",
        "SELECT (SELECT max(name) FROM staff) FROM staff UNION ALL SELECT base FROM (SELECT * FROM staff)",
        "WITH a AS (SELECT * FROM staff), b AS (SELECT * FROM a JOIN staff USING (name)) SELECT * FROM b",
        "WITH a AS (WITH b AS (SELECT * FROM staff) SELECT * FROM b) SELECT * FROM a",
        "SELECT * FROM staff AS s(x, y)",
    ],
)
def test_no_table_escapes_its_projection(statement: str) -> None:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE staff AS SELECT 'ann' AS name, 'JFK' AS base, 'secret' AS salary")

    rows = connection.execute(guarded(statement)).fetchall()

    assert rows
    assert not any("secret" in row for row in rows)


def test_what_runs_is_rendered_from_the_tree_without_comments() -> None:
    assert guarded("select /* x */ 1 -- y") == "SELECT 1"


def test_cte_is_found_whatever_its_case() -> None:
    text = guarded('WITH STAFF AS (SELECT 1 AS name) SELECT name FROM "Staff"')

    assert duckdb.execute(text).fetchall() == [(1,)]


def test_cte_of_a_tables_name_is_told_from_the_table() -> None:
    text = guarded("WITH staff AS (SELECT name FROM staff) SELECT name FROM staff")

    assert text == (
        'WITH "q__staff" AS (SELECT name FROM (SELECT "name", "base" FROM main.staff) AS staff)'
        ' SELECT name FROM "q__staff" AS staff'
    )


@pytest.mark.parametrize(
    ("statement", "bounded"),
    [
        ("SELECT 1", "SELECT 1 LIMIT 11"),
        ("SELECT 1 LIMIT 5", "SELECT 1 LIMIT 5"),
        ("SELECT 1 LIMIT 500", "SELECT 1 LIMIT 11"),
        ("SELECT 1 LIMIT 500 OFFSET 3", "SELECT 1 LIMIT 11 OFFSET 3"),
        ("SELECT 1 LIMIT 2 + 3", "SELECT * FROM (SELECT 1 LIMIT 2 + 3) AS limited LIMIT 11"),
        ("SELECT 1 UNION SELECT 2", "SELECT 1 UNION SELECT 2 LIMIT 11"),
    ],
)
def test_rows_are_bounded_and_a_lower_limit_stays(statement: str, bounded: str) -> None:
    assert render(limited(parse_statement(statement, "duckdb"), 11), "duckdb") == bounded


def test_what_a_dialect_cannot_say_is_refused_rather_than_left_out() -> None:
    with pytest.raises(StatementRefused, match="cannot be said in duckdb"):
        guarded("SELECT TO_CHAR(base, 'YYYY-MM') FROM staff", "snowflake")
