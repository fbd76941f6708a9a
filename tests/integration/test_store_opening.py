"""Opening and closing the embedded store: checks, migrations, keys, the lock."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from services.memory.domain.memory import ExternalIdTaken, MemoryNotFound
from services.memory.stores.embedded import (
    EmbeddedMemoryStore,
    FolderUnusable,
    IntegrityCheck,
    SchemaTooNew,
    StoreLocked,
)
from services.memory.stores.embedded.database import DATABASE_NAME, connect, migrate, schema_version
from services.memory.stores.embedded.rows import read_own, read_visible
from services.memory.stores.embedded.schema import MIGRATIONS
from services.mesh.errors import BackendUnavailable, DataLoss
from tests.support.memories import (
    ANN,
    BOB,
    EAST,
    NOW,
    ROLE,
    apply,
    creation,
    deletion,
    fill,
    found,
    hybrid_search,
    keyword_search,
    revised,
)

SECOND = timedelta(seconds=1)


async def prepared(folder: Path) -> None:
    """Make a store that holds memory ``m``."""
    store = await EmbeddedMemoryStore.open(folder)
    await fill(store, creation("m", "green tea"))
    await store.close()


def execute(folder: Path, *statements: str) -> None:
    """Change a closed store's rows behind its back."""
    connection = apsw.Connection(str(folder / DATABASE_NAME))
    for statement in statements:
        connection.execute(statement)
    connection.close()


async def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    store = await EmbeddedMemoryStore.open(tmp_path / "new" / "folder")
    (first,) = await apply(store, ANN, creation("m", "green tea", external_id="x"))
    (second,) = await apply(store, ANN, revised(first, content="black tea"))
    (gone,) = await apply(store, ANN, creation("gone", "tea"))
    await apply(store, ANN, deletion(gone))
    before = await store.search(ANN, hybrid_search("black tea", EAST))
    secrets = store.secrets
    await store.close()

    store = await EmbeddedMemoryStore.open(tmp_path / "new" / "folder")

    assert await store.get(ANN, "m", NOW) == second
    assert await store.search(ANN, hybrid_search("black tea", EAST)) == before
    assert store.secrets == secrets
    await store.close()


async def test_data_folder_is_for_its_user_alone(tmp_path: Path) -> None:
    await prepared(tmp_path / "data")

    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


async def test_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(FolderUnusable, match=str(folder)):
            await EmbeddedMemoryStore.open(folder)


async def test_second_opening_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    store = await EmbeddedMemoryStore.open(tmp_path)

    with pytest.raises(StoreLocked):
        await EmbeddedMemoryStore.open(tmp_path)

    await store.close()
    await (await EmbeddedMemoryStore.open(tmp_path)).close()


async def test_closed_store_refuses_calls(tmp_path: Path) -> None:
    store = await EmbeddedMemoryStore.open(tmp_path)
    await store.close()
    await store.close()

    with pytest.raises(BackendUnavailable):
        await store.count(ANN, NOW)
    with pytest.raises(BackendUnavailable):
        await fill(store, creation("m"))


async def test_failed_opening_frees_the_folder(tmp_path: Path) -> None:
    await prepared(tmp_path)
    execute(tmp_path, "DELETE FROM vectors")

    for _ in range(2):
        with pytest.raises(DataLoss):
            await EmbeddedMemoryStore.open(tmp_path)


async def test_newer_schema_is_refused_by_number(tmp_path: Path) -> None:
    await prepared(tmp_path)
    execute(tmp_path, "INSERT INTO migrations VALUES (99)")

    with pytest.raises(SchemaTooNew, match=f"schema 99, this version knows {len(MIGRATIONS)}"):
        await EmbeddedMemoryStore.open(tmp_path)


@pytest.mark.parametrize("number", range(len(MIGRATIONS) + 1))
async def test_every_earlier_schema_is_migrated(tmp_path: Path, number: int) -> None:
    connection = connect(tmp_path / DATABASE_NAME, None)
    migrate(connection, MIGRATIONS[:number])
    connection.close()

    store = await EmbeddedMemoryStore.open(tmp_path)
    await fill(store, creation("m"))
    await store.close()

    connection = connect(tmp_path / DATABASE_NAME, None)
    assert schema_version(connection) == len(MIGRATIONS)
    connection.close()


def test_failing_migration_leaves_the_schema_before_it(tmp_path: Path) -> None:
    connection = connect(tmp_path / DATABASE_NAME, None)

    with pytest.raises(apsw.SQLError):
        migrate(connection, [*MIGRATIONS, "CREATE TABLE half (a); CREATE TABLE half (a);"])

    assert schema_version(connection) == len(MIGRATIONS)
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").get == 0
    connection.close()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("DELETE FROM vectors", id="no vector"),
        pytest.param("UPDATE vectors SET vector = zeroblob(12)", id="vector not of length 1"),
        pytest.param("UPDATE vectors SET vector = zeroblob(8)", id="vector of another dimension"),
        pytest.param("UPDATE memories SET embedding_space = 'other'", id="vector of another space"),
        pytest.param("DELETE FROM terms", id="no terms"),
        pytest.param("UPDATE terms SET terms = 'tea'", id="terms that do not fit their counts"),
        pytest.param("UPDATE memories SET access_level = 'PUBLIC'", id="access level not of the partition"),
        pytest.param("UPDATE memories SET owner_user = 'bob'", id="owner not of the partition"),
        pytest.param("UPDATE memories SET partition_id = 77", id="no partition"),
        pytest.param("DELETE FROM changes", id="younger than the last change"),
    ],
)
async def test_broken_row_is_named(tmp_path: Path, fault: str) -> None:
    await prepared(tmp_path)
    execute(tmp_path, fault)

    with pytest.raises(DataLoss, match="memory 'm'"):
        await EmbeddedMemoryStore.open(tmp_path)


async def test_damaged_file_is_refused(tmp_path: Path) -> None:
    await prepared(tmp_path)
    file = tmp_path / DATABASE_NAME
    content = bytearray(file.read_bytes())
    content[4096:8192] = bytes(4096)
    file.write_bytes(content)

    with pytest.raises(DataLoss):
        await EmbeddedMemoryStore.open(tmp_path)


async def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATABASE_NAME).write_text("not a database " * 1000)

    with pytest.raises(DataLoss):
        await EmbeddedMemoryStore.open(tmp_path)


async def test_full_check_finds_an_index_that_lacks_a_row(tmp_path: Path) -> None:
    await prepared(tmp_path)
    execute(
        tmp_path,
        "CREATE TABLE kept AS SELECT * FROM sqlite_schema",
        "PRAGMA writable_schema = ON",
        "DELETE FROM sqlite_schema WHERE name = 'memories_listed'",
        "PRAGMA writable_schema = RESET",
        "UPDATE memories SET bucket = 'moved'",
        "PRAGMA writable_schema = ON",
        "INSERT INTO sqlite_schema SELECT * FROM kept WHERE name = 'memories_listed'",
        "DROP TABLE kept",
    )

    with pytest.raises(DataLoss, match="memories_listed"):
        await EmbeddedMemoryStore.open(tmp_path, integrity=IntegrityCheck.FULL)


async def test_terms_of_another_tokenizer_are_derived_anew(tmp_path: Path) -> None:
    await prepared(tmp_path)
    execute(
        tmp_path,
        "UPDATE terms SET terms = 'old' || char(10) || 'kind'",
        "UPDATE settings SET value = 0 WHERE name = 'tokenizer'",
    )

    store = await EmbeddedMemoryStore.open(tmp_path)

    assert await found(store, ANN, keyword_search("tea")) == ["m"]
    assert await found(store, ANN, keyword_search("old")) == []
    await store.close()


async def test_every_change_is_recorded_with_its_write(tmp_path: Path) -> None:
    store = await EmbeddedMemoryStore.open(tmp_path)
    (first,) = await apply(store, ANN, creation("m", request_hash=b"h"))
    await apply(store, ANN, creation("m", request_hash=b"h"))
    (second,) = await apply(store, ANN, revised(first))
    await apply(store, ANN, deletion(second))
    await store.close()

    connection = apsw.Connection(str(tmp_path / DATABASE_NAME))
    changes = list(connection.execute("SELECT seq, memory_id, revision, kind FROM changes"))
    connection.close()

    assert changes == [(1, "m", 1, "CREATED"), (2, "m", 2, "UPDATED"), (3, "m", 3, "DELETED")]


async def test_hidden_and_absent_ids_take_the_same_steps(tmp_path: Path) -> None:
    store = await EmbeddedMemoryStore.open(tmp_path)
    await fill(store, creation("private"), creation("role", access_level=ROLE, reader_roles=("A", "B")))
    await fill(store, creation("expired", expires_at=NOW), creation("long", "tea " * 50_000))
    (gone,) = await apply(store, ANN, creation("deleted"))
    await apply(store, ANN, deletion(gone))
    await store.close()
    connection = connect(tmp_path / DATABASE_NAME, None)
    runs: list[tuple[str, int]] = []

    def note(event: dict[str, object]) -> None:
        status = event["stmt_status"]
        assert isinstance(status, dict)
        runs.append((str(event["sql"]), int(status["SQLITE_STMTSTATUS_VM_STEP"])))

    connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, note)
    for memory_id in ("absent", "private", "role", "long", "expired", "deleted"):
        with pytest.raises(MemoryNotFound):
            read_visible(connection, BOB, memory_id, NOW)
    connection.close()

    statements = {sql for sql, _ in runs}
    steps = [steps for _, steps in runs]
    assert len(runs) == 6
    assert len(statements) == 1
    assert max(steps) - min(steps) <= 0.1 * min(steps)


async def test_ids_of_others_and_unknown_ids_take_the_writer_the_same_steps(tmp_path: Path) -> None:
    store = await EmbeddedMemoryStore.open(tmp_path)
    await fill(store, creation("private"), creation("long", "tea " * 50_000), creation("his", owner="bob"))
    await store.close()
    connection = connect(tmp_path / DATABASE_NAME, None)
    steps: list[int] = []

    def note(event: dict[str, object]) -> None:
        status = event["stmt_status"]
        assert isinstance(status, dict)
        steps.append(int(status["SQLITE_STMTSTATUS_VM_STEP"]))

    connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, note)
    for memory_id in ("absent", "private", "long"):
        assert read_own(connection, "bob", memory_id) is None
    connection.close()

    assert len(steps) == 3
    assert len(set(steps)) == 1


async def test_log_stays_short_under_steady_writes(tmp_path: Path) -> None:
    limit = 128 << 10
    store = await EmbeddedMemoryStore.open(tmp_path, checkpoint_bytes=limit)
    longest = 0

    for number in range(400):
        await fill(store, creation(f"m{number}", "tea " * 4000))
        longest = max(longest, (tmp_path / f"{DATABASE_NAME}-wal").stat().st_size)
    written = await store.count(ANN, NOW) * 16_000
    await store.close()

    assert written > 40 * limit
    assert longest < 24 * limit


async def test_external_id_stays_with_its_new_holder_when_the_clock_goes_back(tmp_path: Path) -> None:
    store = await EmbeddedMemoryStore.open(tmp_path)
    (old,) = await apply(store, ANN, creation("old", external_id="x", expires_at=NOW + SECOND))
    (new,) = await apply(store, ANN, creation("new", external_id="x", at=NOW + SECOND))

    await apply(store, ANN, replace(revised(new), memory=replace(revised(new).memory, updated_at=NOW)))
    with pytest.raises(ExternalIdTaken):
        await apply(store, ANN, replace(revised(old), memory=replace(revised(old).memory, updated_at=NOW)))

    await store.close()
