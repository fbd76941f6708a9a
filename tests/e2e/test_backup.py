"""Backing up and restoring as an operator does: by the command line, with the mesh up, down, and gone."""

import json
import shutil
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.support.backups import places_of
from tests.support.mesh import Mesh, wait_until
from tests.support.parts import Part, make_keys

WORD = "marzipan"


def mesh_in(folder: Path) -> Mesh:
    """Return a mesh whose keys and backups do not lie in its data folder."""
    where = {"MEMORYBOX_KEYS_DIR": str(folder / "keys"), "MEMORYBOX_BACKUP_DIR": str(folder / "backups")}
    return Mesh(folder / "data", where)


def said(mesh: Mesh, *arguments: str) -> Any:
    """Return what a command that succeeds prints as JSON."""
    done = mesh.command(*arguments, "--json")
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return json.loads(done.stdout)


def keep(mesh: Mesh, content: str, user: str = "ann") -> None:
    """Keep *content*, as soon as somebody answers."""
    wait_until(lambda: mesh.call("POST", "/v1/memories", {"content": content}, user=user)[0] == 200, 30, "kept")


def contents(mesh: Mesh, user: str = "ann") -> set[str]:
    """Return what *user* sees, as soon as somebody answers."""
    answers: list[tuple[int, Any]] = []

    def listed() -> bool:
        answers.append(mesh.call("GET", "/v1/memories?pageSize=1000", user=user))
        return answers[-1][0] == 200

    wait_until(listed, 30, "a list")
    return {memory["content"] for memory in answers[-1][1]["memories"]}


def finding(document: Any, check: str) -> dict[str, str]:
    """Return what doctor says of *check*."""
    found: dict[str, str] = next(item for item in document["findings"] if item["check"] == check)
    return found


def test_restore_in_place_under_a_running_mesh_and_from_nothing_without_one(tmp_path: Path) -> None:
    mesh = mesh_in(tmp_path)
    with mesh.up() as up:
        keep(mesh, "tea")
        keep(mesh, f"{WORD} of Bob", user="bob")
        made = said(mesh, "backup")
        keep(mesh, "coffee")
        pid = up.service("memory")

        report = said(mesh, "restore", made["backupId"], "--in-place")

        assert (report["inPlace"], report["memoryCount"]) == (True, "2")
        assert contents(mesh) == {"tea"}
        assert up.service("memory") == pid, "it starts again in its own place"
        assert not any("ended" in message for message in up.messages()), "and nobody takes it for a crash"
        keep(mesh, "cocoa")
        healthy = said(mesh, "doctor")
        status, erasing = mesh.call("POST", "/v1/owners/bob:erase", {}, user="bob")
        assert status == 200
        wait_until(lambda: mesh.call("GET", f"/v1/{erasing['name']}", user="bob")[1].get("response"), 30, "erased")
        final = said(mesh, "backup")

    assert healthy["healthy"]
    assert {item["verdict"] for item in healthy["findings"]} == {"right"}
    offline = said(mesh, "backup", "list")["backups"]
    assert [backup["backupId"] for backup in offline] == [final["backupId"], made["backupId"]]
    assert said(mesh, "backup", "verify", made["backupId"])["shreddedOwnerCount"] == 1
    assert places_of(WORD, tmp_path) == []

    shutil.rmtree(mesh.data_dir)  # all is lost but keys and backups
    again = said(mesh, "restore", made["backupId"], "--in-place")
    aside = said(mesh, "restore", "latest", "--aside", str(tmp_path / "aside"))

    assert (again["memoryCount"], again["shreddedOwnerCount"]) == ("1", "1")
    assert aside["memoryCount"] == "2"
    with mesh.up():
        assert contents(mesh) == {"tea"}
        assert contents(mesh, "bob") == set()
        keep(mesh, "water")
    sick = mesh.command("doctor", "--json")
    assert sick.returncode == 1
    assert finding(json.loads(sick.stdout), "services")["detail"] == "none runs"


# What appears in the store's folder while live data are replaced.
PREPARED, DECIDED, REPLACED = "restoring", "replace.json", "before-restore-*"


@pytest.mark.slow
def test_kill_at_any_moment_of_a_replacement_leaves_one_state_whole(tmp_path: Path) -> None:
    mesh, folder = mesh_in(tmp_path), tmp_path / "data" / "memory"
    make_keys(mesh)
    old, new = {f"tea {number}" for number in range(30)}, {"coffee"}
    answers = []

    def ask() -> None:
        answers.append(mesh.command("restore", backup, "--in-place").returncode)

    with Part("embedding", mesh), Part("gateway", mesh), Part("memory", mesh) as memory:
        for content in sorted(old):
            keep(mesh, content)
        backup = said(mesh, "backup")["backupId"]
        for moment in (PREPARED, DECIDED, REPLACED) * 3:
            keep(mesh, "coffee")
            before = set(folder.glob(moment))
            asking = Thread(target=ask)
            asking.start()
            wait_until(lambda: set(folder.glob(moment)) - before, 60, moment, every_s=0.001)  # noqa: B023
            memory.kill()
            decided = moment != PREPARED or (folder / DECIDED).exists()
            memory.start()
            seen = contents(mesh)
            assert seen == old if decided else seen in (old, old | new), f"never a mix, killed at {moment}"
            asking.join()
            assert contents(mesh) == old, "whoever asked is told when it is done, also by the next process"
            assert not any((folder / name).exists() for name in (PREPARED, DECIDED))
    assert answers == [0] * 9
