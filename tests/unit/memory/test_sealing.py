"""Sealing with an owner's key, and the keys themselves as they lie on the disk."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from services.memory.domain.backups import BackupKeysMissing
from services.memory.domain.sealing import OwnerKey, SealBroken, derive, open_alone, seal_alone
from services.memory.stores.embedded.keyring import MASTER_NAME, OWNERS_NAME, Keyring, KeysInUse

ROOT = Path(__file__).parents[3]
KEY = OwnerKey(b"i" * 16, b"s" * 32)
PLAIN = b"marzipan" * 3


def test_what_was_sealed_opens_with_the_same_key_and_purpose_only() -> None:
    sealed = seal_alone(KEY, b"export", PLAIN)

    assert open_alone(KEY, b"export", sealed) == PLAIN
    assert PLAIN[:8] not in sealed
    for key, purpose, data in (
        (OwnerKey(KEY.key_id, b"t" * 32), b"export", sealed),
        (OwnerKey(b"j" * 16, KEY.secret), b"other", sealed),
        (KEY, b"export", sealed[:-1]),
        (KEY, b"export", bytes([sealed[0] ^ 1]) + sealed[1:]),
        (KEY, b"export", b""),
    ):
        with pytest.raises(SealBroken):
            open_alone(key, purpose, data)


def test_no_two_messages_are_sealed_under_the_same_key_and_nonce() -> None:
    assert len({seal_alone(KEY, b"export", PLAIN)[17:33] for _ in range(100)}) == 100


def test_derived_keys_tell_their_purposes_apart_by_length() -> None:
    assert derive(KEY.secret, b"ab", b"c") != derive(KEY.secret, b"a", b"bc")


def test_keys_are_there_again_after_reopening_and_no_other_user_may_read_them(tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    first = Keyring(folder)
    made = {owner: first.of(owner) for owner in ("ann", "bob", "")}
    first.sync()
    first.close()

    again = Keyring(folder)

    assert {owner: again.of(owner) for owner in made} == made
    assert again.find(made["ann"].key_id) == made["ann"]
    assert len({key.secret for key in made.values()}) == 3
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder / MASTER_NAME, folder / OWNERS_NAME)}
    assert modes == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert b"ann" not in (folder / OWNERS_NAME).read_bytes()


def test_shredded_key_is_gone_from_the_file_and_from_every_reader(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    key = ring.of("ann")
    before = (tmp_path / OWNERS_NAME).read_bytes()

    assert ring.shred("ann", "op1") == 1

    after = (tmp_path / OWNERS_NAME).read_bytes()
    assert len(after) == len(before) == 128
    assert after[53:] != before[53:]
    assert after[65:] == bytes(63), "the wrapped key and what follows are overwritten"
    assert ring.find(key.key_id) is None
    assert Keyring(tmp_path, read_only=True).find(key.key_id) is None
    assert ring.of("ann").key_id != key.key_id, "who comes back gets a new key"


def test_repeated_shredding_counts_what_its_own_operation_did(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    ring.of("ann")

    assert [ring.shred("ann", "op1"), ring.shred("ann", "op1"), ring.shred("ann", "op2")] == [1, 1, 0]
    ring.close()
    assert Keyring(tmp_path).shred("ann", "op1") == 1, "also after a crash before the operation knew"


def test_key_that_never_was_here_is_missing_not_shredded(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    ring.of("ann")

    with pytest.raises(BackupKeysMissing):
        ring.find(b"x" * 16)


def test_lost_master_key_is_not_replaced_by_a_new_one(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    ring.of("ann")
    ring.close()
    (tmp_path / MASTER_NAME).unlink()

    with pytest.raises(BackupKeysMissing, match="bring it back"):
        Keyring(tmp_path).of("ann")


def test_slot_that_a_power_loss_tore_is_passed_over(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    key = ring.of("ann")
    ring.close()
    with (tmp_path / OWNERS_NAME).open("ab") as file:
        file.write(b"MBOK" + b"\x01" * 50)

    again = Keyring(tmp_path)

    assert again.of("ann") == key
    assert again.of("bob") == Keyring(tmp_path, read_only=True).of("bob")


def test_one_process_at_a_time_has_the_keys_and_others_may_read_them(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    key = ring.of("ann")

    with pytest.raises(KeysInUse, match=f"process {os.getpid()}") as refused:
        Keyring(tmp_path).of("bob")
    assert refused.value.retry_after_s
    with pytest.raises(KeysInUse):
        Keyring(tmp_path).shred("ann", "op")
    assert Keyring(tmp_path, read_only=True).of("ann") == key

    ring.close()
    assert Keyring(tmp_path).shred("ann", "op") == 1


_RACE = """
import sys
from pathlib import Path
from services.memory.stores.embedded.keyring import Keyring, KeysInUse

print("ready", flush=True)
sys.stdin.readline()
try:
    print(Keyring(Path(sys.argv[1])).of(sys.argv[2]).key_id.hex(), flush=True)
except KeysInUse:
    print("in use", flush=True)
sys.stdin.readline()
"""


def test_processes_that_make_their_first_keys_at_once_do_not_lose_any(tmp_path: Path) -> None:
    command = (sys.executable, "-c", _RACE, str(tmp_path))
    pipe = subprocess.PIPE
    others = [subprocess.Popen((*command, f"user{number}"), stdin=pipe, stdout=pipe, text=True, cwd=ROOT) for number in range(4)]  # fmt: skip
    streams = [(other.stdin, other.stdout) for other in others if other.stdin and other.stdout]
    try:
        assert [answers.readline() for _, answers in streams] == ["ready\n"] * 4
        for asks, _ in streams:
            asks.write("go\n")
            asks.flush()
        told = [answers.readline().strip() for _, answers in streams]
    finally:
        for other in others:
            other.communicate("end\n", timeout=20)

    assert told.count("in use") == 3
    winner = next(number for number, line in enumerate(told) if line != "in use")
    assert Keyring(tmp_path, read_only=True).of(f"user{winner}").key_id.hex() == told[winner]
