"""Tables of the local warehouse over real gRPC: what becomes of files, and who may replace whose."""

import asyncio
import gzip
import io
import zipfile
from pathlib import Path

import duckdb
import pytest

from memorybox.analyst.v1 import analyst_service_pb2 as pb
from services.cli.grants import standard_keys
from tests.support.analyst import STAFF_CSV, World, analyst_world, load_messages, rows
from tests.support.clients import Deployment, refusal

OPERATOR = "MEMORYBOX_OPERATOR"


def zipped(*files: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return packed.getvalue()


def parquet(folder: Path) -> bytes:
    path = folder / "x.parquet"
    duckdb.execute(f"COPY (SELECT 1 AS a, 'x' AS b) TO '{path}' (FORMAT parquet)")
    return path.read_bytes()


async def test_csv_becomes_a_table_with_types(world: World) -> None:
    table = await world.ann.load("trips", b"day,km,note\n2024-01-02,1.5,a\n2024-01-03,,b\n")

    assert (table.name, table.owner_user, table.row_count) == ("trips", "ann", 2)
    assert [(column.name, column.type) for column in table.columns] == [
        ("day", "DATE"),
        ("km", "DOUBLE"),
        ("note", "VARCHAR"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"a,b\n1,x\n", id="csv"),
        pytest.param(gzip.compress(b"a,b\n1,x\n"), id="gzip"),
        pytest.param(zipped(("t.csv", b"a,b\n1,x\n")), id="zip"),
        pytest.param(b'[{"a": 1, "b": "x"}]', id="json"),
        pytest.param(b'{"a": 1, "b": "x"}\n', id="json-lines"),
    ],
)
async def test_format_is_told_by_the_first_bytes(world: World, data: bytes) -> None:
    table = await world.ann.load("t", data)

    assert [(column.name, column.type) for column in table.columns] == [("a", "BIGINT"), ("b", "VARCHAR")]
    assert table.row_count == 1


async def test_parquet_becomes_a_table(world: World, tmp_path: Path) -> None:
    table = await world.ann.load("t", parquet(tmp_path))

    assert [column.type for column in table.columns] == ["INTEGER", "VARCHAR"]


async def test_na_is_missing_where_numbers_remain_without_it(world: World) -> None:
    table = await world.ann.load("t", b"a,b\n1,x\nNA,NA\n")

    assert [column.type for column in table.columns] == ["BIGINT", "VARCHAR"]


async def test_na_is_a_text_where_no_numbers_would_remain(world: World) -> None:
    await world.ann.load("staff", STAFF_CSV.replace(b"LGA", b"NA"))

    events = await world.ann.execute("SELECT count(*) FROM staff WHERE base = 'NA'")

    assert rows(events) == [[1]]


async def test_times_with_a_zone_become_times_in_utc(world: World) -> None:
    table = await world.ann.load("t", b"at\n2024-01-02T03:04:05+02:00\n")

    assert [column.type for column in table.columns] == ["TIMESTAMP"]


async def test_table_is_replaced_by_whoever_loaded_it(world: World) -> None:
    table = await world.ann.load("STAFF", b"name,base\nzoe,EWR\n")

    assert (table.name, table.row_count) == ("STAFF", 1)
    assert rows(await world.ann.execute("SELECT name FROM staff")) == [["zoe"]]


async def test_table_of_someone_else_is_not_replaced_but_by_operators(world: World) -> None:
    refused = await refusal(world.bob.LoadTable(load_messages("staff", b"a\n1\n")))
    table = await world.user("olga", OPERATOR).load("staff", b"a\n1\n")

    assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "NOT_TABLE_OWNER")
    assert table.owner_user == "olga"


async def test_tables_are_readable_by_every_user(world: World) -> None:
    await world.bob.put("mine")

    assert rows(await world.bob.execute("SELECT count(*) FROM staff", "mine")) == [[3]]


async def test_table_may_be_called_by_database_and_schema(world: World) -> None:
    await world.ann.load("hr.public.staff", b"name,base\nzoe,EWR\n")

    assert rows(await world.ann.execute("SELECT name FROM staff")) == [["zoe"]]


@pytest.mark.parametrize(
    ("table", "data", "reason"),
    [
        pytest.param("t", zipped(("a", b"1"), ("b", b"2")), "FILE_UNREADABLE", id="archive-of-two"),
        pytest.param("t", zipped(("a", b"a\n1\n"))[:-20], "FILE_UNREADABLE", id="broken-zip"),
        pytest.param("t", gzip.compress(b"a\n1\n" * 999)[:-9], "FILE_UNREADABLE", id="broken-gzip"),
        pytest.param("t", b"PAR1nonsense", "FILE_UNREADABLE", id="broken-parquet"),
        pytest.param("t", b'[{"a": 1', "FILE_UNREADABLE", id="broken-json"),
        pytest.param("t", b"", "INVALID_INPUT", id="empty"),
        pytest.param("a;b", b"a\n1\n", "INVALID_INPUT", id="bad-name"),
        pytest.param("a.b.c.d", b"a\n1\n", "INVALID_INPUT", id="four-parts"),
    ],
)
async def test_file_that_makes_no_table_is_refused_and_leaves_none(
    world: World, table: str, data: bytes, reason: str
) -> None:
    refused = await refusal(world.ann.LoadTable(load_messages(table, data)))

    listed = (await world.ann.ListTables(pb.ListTablesRequest())).tables
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", reason)
    assert [item.name for item in listed] == ["staff"]
    assert list((world.folder / "staging").iterdir()) == []


async def test_replacing_by_a_broken_file_leaves_the_table_as_it_was(world: World) -> None:
    await refusal(world.ann.LoadTable(load_messages("staff", b"PAR1nonsense")))

    assert rows(await world.ann.execute("SELECT count(*) FROM staff")) == [[3]]


async def test_file_that_broke_off_is_refused(world: World) -> None:
    refused = await refusal(world.ann.LoadTable(load_messages("t", b"a\n1\n", size_bytes=400)))

    assert refused.fields == ("config.size_bytes",)


async def test_upload_that_its_client_leaves_makes_no_table(world: World) -> None:
    async def messages() -> object:
        for message in load_messages("t", b"a\n1\n"):
            yield message
        await asyncio.Event().wait()

    call = asyncio.ensure_future(world.ann.LoadTable(messages()))
    await asyncio.sleep(0.2)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await asyncio.sleep(0.2)

    assert [item.name for item in (await world.ann.ListTables(pb.ListTablesRequest())).tables] == ["staff"]


async def test_dropped_table_is_gone(world: World) -> None:
    refused = await refusal(world.bob.DropTable(pb.DropTableRequest(name="staff")))
    await world.ann.DropTable(pb.DropTableRequest(name="staff"))

    again = await refusal(world.ann.DropTable(pb.DropTableRequest(name="staff")))
    assert (refused.reason, again.reason) == ("NOT_TABLE_OWNER", "TABLE_NOT_FOUND")


async def test_tables_survive_a_restart(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, standard_keys("ann"))
    async with analyst_world(deployment) as world:
        await world.ann.load("staff", STAFF_CSV)
    async with analyst_world(deployment) as world:
        tables = (await world.bob.ListTables(pb.ListTablesRequest())).tables

    assert [(table.name, table.row_count, table.owner_user) for table in tables] == [("staff", 3, "ann")]


async def test_draft_of_a_table_is_a_model_that_answers(world: World) -> None:
    draft = await world.ann.DraftSemanticModel(pb.DraftSemanticModelRequest(tables=["staff"]))
    await world.ann.put("drafted", draft.yaml)

    events = await world.ann.execute("SELECT count(*), sum(salary) FROM staff", "drafted")

    assert rows(events) == [[3, 270]]


async def test_draft_joins_tables_by_their_keys(world: World) -> None:
    await world.ann.load("bases", b"base,city\nJFK,New York\nLGA,New York\nBOS,Boston\n")

    draft = await world.ann.DraftSemanticModel(pb.DraftSemanticModelRequest(tables=["staff", "bases"]))

    assert "left_table: staff" in draft.yaml
    assert "right_table: bases" in draft.yaml


async def test_draft_of_a_table_that_is_not_there_is_refused(world: World) -> None:
    refused = await refusal(world.ann.DraftSemanticModel(pb.DraftSemanticModelRequest(tables=["nosuch"])))

    assert refused.reason == "TABLE_NOT_FOUND"
