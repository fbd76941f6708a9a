"""Sealing with an owner's key, and the keys themselves as they lie on the disk."""

import stat
from pathlib import Path

import pytest

from services.memory.domain.backups import BackupKeysMissing
from services.memory.domain.sealing import OwnerKey, SealBroken, derive, open_alone, seal_alone
from services.memory.stores.embedded.keyring import MASTER_NAME, OWNERS_NAME, Keyring

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
    assert Keyring(tmp_path).find(key.key_id) is None
    assert ring.of("ann").key_id != key.key_id, "who comes back gets a new key"


def test_repeated_shredding_counts_what_its_own_operation_did(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    ring.of("ann")

    assert [ring.shred("ann", "op1"), ring.shred("ann", "op1"), ring.shred("ann", "op2")] == [1, 1, 0]
    assert Keyring(tmp_path).shred("ann", "op1") == 1, "also after a crash before the operation knew"


def test_key_that_never_was_here_is_missing_not_shredded(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    ring.of("ann")

    with pytest.raises(BackupKeysMissing):
        ring.find(b"x" * 16)


def test_lost_master_key_is_not_replaced_by_a_new_one(tmp_path: Path) -> None:
    Keyring(tmp_path).of("ann")
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
    assert again.of("bob") == Keyring(tmp_path).of("bob")
