"""Putting a restored database in the place of the live one: one durable note decides, and whoever opens the folder carries it out.

Before the note is there, the old state is the state. From then on it is the new one: every step below may be cut short and is done again by the
next opening, and none is undone.
"""

import secrets
import shutil
from pathlib import Path

import orjson

from services.memory.stores.embedded.database import DATABASE_NAME
from services.mesh.files import sync_folder, write_private

NOTE_NAME = "replace.json"
PREPARED_NAME = "restoring"  # folder of what is being prepared
ASIDE_PREFIX = "before-restore-"  # folder of the state that was replaced


def prepared(folder: Path) -> Path:
    """Return where the database to put in the place of *folder*'s is prepared."""
    return folder / PREPARED_NAME / DATABASE_NAME


def clear_prepared(folder: Path) -> None:
    """Remove what was prepared; what was decided is carried out instead."""
    if not (folder / NOTE_NAME).exists():
        shutil.rmtree(folder / PREPARED_NAME, ignore_errors=True)


def decide(folder: Path) -> None:
    """Make the prepared database the state of *folder* from now on, whatever happens."""
    sync_folder(folder / PREPARED_NAME)
    sync_folder(folder)
    write_private(folder / NOTE_NAME, orjson.dumps({"aside": f"{ASIDE_PREFIX}{secrets.token_hex(8)}"}))


def carry_out(folder: Path) -> None:
    """Do what was decided, if anything was; for whoever has the folder's lock and no connection to its database."""
    note = folder / NOTE_NAME
    if not note.exists():
        clear_prepared(folder)  # of a restore that was cut short
        return
    aside = folder / orjson.loads(note.read_bytes())["aside"]
    new = prepared(folder)
    if new.exists():  # what lies beside the note is the old state still
        aside.mkdir(mode=0o700, exist_ok=True)
        for suffix in ("-shm", "-wal", ""):
            old = folder / f"{DATABASE_NAME}{suffix}"
            if old.exists():
                old.replace(aside / old.name)
        sync_folder(aside)
        new.replace(folder / DATABASE_NAME)
        sync_folder(folder)
    shutil.rmtree(folder / PREPARED_NAME, ignore_errors=True)
    note.unlink()
    sync_folder(folder)


def set_aside(folder: Path) -> list[Path]:
    """Return the databases that restores have replaced."""
    return sorted(folder.glob(f"{ASIDE_PREFIX}*/{DATABASE_NAME}"))
