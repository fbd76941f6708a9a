"""Statements that Snowflake documents as right give the documented rows, through the real connector."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector
import yaml

from services.emulator.sql.functions.registry import CATALOGUE
from tests.support.emulator import Emulator

HERE = Path(__file__).parent
ACCEPTED = yaml.safe_load((HERE / "accepted.yaml").read_text())
REFUSED = yaml.safe_load((HERE / "refused.yaml").read_text())
SETUP = (
    "create table t (id int not null, name varchar(5), v variant, e vector(float, 3), n number(5, 2), d date)",
    "create view w as select id from t",
)


@pytest.fixture(scope="module")
def prepared(running: Emulator) -> Iterator[Any]:
    """Give a cursor where SETUP has run, once for all: what is refused changes nothing."""
    with running.connect() as connection:
        found = connection.cursor()
        for statement in ("CREATE OR REPLACE DATABASE refusals", *SETUP):
            found.execute(statement)
        yield found


@pytest.mark.parametrize(("statement", "rows"), [pytest.param(item[0], item[1], id=item[0][:60]) for item in ACCEPTED])
def test_documented_statement_gives_the_documented_rows(cursor: Any, statement: str, rows: list[list[str]]) -> None:
    found = cursor.execute(statement).fetchall()

    assert [[str(cell) for cell in row] for row in found] == rows


@pytest.mark.parametrize(("statement", "code"), [pytest.param(item[0], item[1], id=item[0][:60]) for item in REFUSED])
def test_what_snowflake_refuses_is_refused(prepared: Any, statement: str, code: int) -> None:
    with pytest.raises(snowflake.connector.errors.Error) as refusal:
        prepared.execute(statement)

    assert refusal.value.errno == code


@pytest.mark.slow
def test_every_function_of_the_engine_that_the_catalogue_lacks_is_unknown(running: Emulator, cursor: Any) -> None:
    names = running.account.store.cursor().execute(
        "SELECT DISTINCT upper(function_name) FROM duckdb_functions() WHERE function_name SIMILAR TO '[a-z_][a-z0-9_]*' "
        "AND function_type IN ('scalar', 'aggregate', 'macro') ORDER BY 1"
    )
    foreign = [name for (name,) in names.fetchall() if name not in CATALOGUE and name not in SPECIAL_FORMS]

    answers = {}
    for name in foreign:
        try:
            cursor.execute(f"SELECT {name}(1)").fetchall()
        except snowflake.connector.errors.ProgrammingError as error:
            answers[name] = error.errno
        else:
            answers[name] = 0

    assert len(foreign) > 400
    assert {name: code for name, code in answers.items() if code not in {2140, 1003}} == {}


SPECIAL_FORMS = {"CAST", "TRY_CAST", "EXTRACT", "EXISTS"}
