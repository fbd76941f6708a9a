"""`memorybox doctor` names what is wrong and what to do, and nothing else."""

import asyncio
import os
from pathlib import Path

import pytest

from services.cli.doctor import Finding, Verdict, examine
from services.memory.stores.embedded import EmbeddedMemoryStore
from tests.support.backups import deployment_in
from tests.support.crashes import back_up
from tests.support.memories import creation, fill


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return the settings of a deployment that was used and is down."""
    deployment = deployment_in(tmp_path)

    async def use() -> None:
        store = await EmbeddedMemoryStore.open(tmp_path / "memory")
        await fill(store, creation("m", "tea"))
        await store.close()

    asyncio.run(use())
    back_up(tmp_path)
    return {**deployment.environ, "MEMORYBOX_HTTP_PORT": "18099"}


def wrong(environ: dict[str, str]) -> dict[str, Finding]:
    """Return what is wrong, but that nothing runs."""
    found = [finding for finding in examine(environ) if finding.verdict is Verdict.WRONG]
    return {finding.check: finding for finding in found if finding.check != "services"}


def test_nothing_is_wrong_with_what_is_right(environ: dict[str, str]) -> None:
    assert wrong(environ) == {}


def test_every_fault_has_an_advice(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "keys" / "registry.json").chmod(0o644)
    (tmp_path / "memory").chmod(0o755)
    (tmp_path / "backups" / "second" / "rows").write_bytes(b"")
    environ |= {"MEMORYBOX_BACKUP_EVRY": "24h", "MEMORYBOX_BACKUP_EVERY": "1h"}

    found = wrong(environ)

    assert set(found) == {"variables", "keys", "data folder", "backups", "newest backup"}
    assert found["variables"].advice == "did you mean MEMORYBOX_BACKUP_EVERY?"
    assert found["keys"].advice == f"chmod 600 {tmp_path / 'keys' / 'registry.json'}"
    assert all(finding.advice for finding in found.values())


async def test_process_that_has_the_data_folder_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    store = await EmbeddedMemoryStore.open(tmp_path / "memory")
    found = {finding.check: finding for finding in await asyncio.to_thread(lambda: list(examine(environ)))}
    await store.close()
    free = {finding.check: finding for finding in await asyncio.to_thread(lambda: list(examine(environ)))}

    assert found["folder lock"].detail == f"process {os.getpid()} has the data folder"
    assert found["services"].detail == f"none answers at these ports, yet process {os.getpid()} has the data folder"
    assert free["folder lock"].detail == "no process has the data folder"
    assert free["services"].detail == "none runs"


def test_settings_of_every_service_are_known(environ: dict[str, str]) -> None:
    # Of a package that `up` does not start, and of the transcoder's options.
    known = {"MEMORYBOX_SNOWFLAKE_SESSIONS": "2", "MEMORYBOX_GATEWAY_UNKNOWN_JSON": "ignore"}

    assert wrong(environ | known) == {}


def test_damage_of_the_database_is_found(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "memory" / "memories.sqlite"
    data = bytearray(path.read_bytes())
    data[8192:16384] = b"\x55" * 8192
    path.write_bytes(data)

    found = wrong(environ)

    assert "restore latest --in-place" in found["database"].advice


def test_wrong_settings_are_told_before_anything_is_looked_at(environ: dict[str, str]) -> None:
    found = list(examine(environ | {"MEMORYBOX_BACKUP_KEEP": "many"}))

    assert [finding.check for finding in found if finding.verdict is Verdict.WRONG] == ["settings"]
    assert "MEMORYBOX_BACKUP_KEEP" in found[-1].detail
