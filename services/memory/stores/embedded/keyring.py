"""The keys of owners: one file of fixed slots, wrapped by a master key, each shredded in place.

A database would keep copies of a key in its log and in free pages. Here a key has one place, and shredding overwrites it.
"""

import os
import secrets
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import RLock

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.memory.domain.backups import BackupKeysMissing
from services.memory.domain.sealing import KEY_BYTES, KEY_ID_BYTES, OwnerKey, derive
from services.memory.stores.embedded.lock import FolderLock, StoreLocked
from services.mesh.errors import BackendUnavailable
from services.mesh.files import sync_folder, write_private

KEYS = "backup"  # the folder, in that of all keys
MASTER_NAME, OWNERS_NAME = "master.key", "owners.keys"
# Magic, state, key id, tag of the owner, nonce, wrapped key; padded so that no slot crosses a sector, which disks write whole.
_SLOT = struct.Struct(">4sB16s32s12s48s15x")
_MAGIC = b"MBOK"
_LIVE, _SHREDDED = 1, 2
_RETRY_S = 5.0
_MARK_BYTES = 12  # what stands in the nonce's place once shredded: which operation did it


class KeysInUse(BackendUnavailable):
    """Another process has the keys; passing, so that an erasure waits for them instead of failing."""

    reason = "BACKUP_KEYS_IN_USE"


@dataclass(frozen=True, slots=True)
class _Slot:
    place: int
    state: int
    key_id: bytes
    tag: bytes
    nonce: bytes
    wrapped: bytes


class Keyring:
    """``OwnerKeys`` in *folder*, which no backup ever holds; read and made when first needed. For any thread.

    One process at a time has them, from its first use of a key until ``close``; any others read, when *read_only*. Raises ``KeysInUse``, and
    ``BackupKeysMissing`` when *read_only* and there are none, or when the master key was lost.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self._folder = folder
        self._read_only = read_only
        self._lock = RLock()
        self._held: FolderLock | None = None
        self._unsynced = False

    def of(self, owner: str) -> OwnerKey:
        """Return the key of *owner*, made when there is none."""
        tag = self.tag(owner)
        with self._lock:
            slot = self._slots.by_tag.get(tag)
            return self._add(tag) if slot is None else self._unwrap(slot)

    def find(self, key_id: bytes) -> OwnerKey | None:
        """Return a key by its id, None if it was shredded."""
        with self._lock:
            slot = self._slots.by_id.get(key_id)
            if slot is None:
                raise BackupKeysMissing(
                    f"the keys in {self._folder} are not those that sealed this, or older; bring the right ones"
                )
            return None if slot.state == _SHREDDED else self._unwrap(slot)

    def existing(self, owner: str) -> OwnerKey | None:
        """Return the key of *owner* if there is one."""
        with self._lock:
            slot = self._slots.by_tag.get(self.tag(owner))
            return None if slot is None else self._unwrap(slot)

    def sync(self) -> None:
        """Return once every key made so far is durable."""
        with self._lock:
            if self._unsynced:
                os.fsync(self._slots.descriptor)
                self._unsynced = False

    def shred(self, owner: str, operation_id: str) -> int:
        """Overwrite the key of *owner*, durably; return how many *operation_id* has shredded so far, 0 or 1."""
        tag, mark = self.tag(owner), derive(self.master, b"shredded by", operation_id.encode())[:_MARK_BYTES]
        with self._lock:
            slot = self._slots.by_tag.pop(tag, None)
            if slot is None:
                return int(any(slot.state == _SHREDDED and slot.nonce == mark for slot in self._slots.by_id.values()))
            self._write(_Slot(slot.place, _SHREDDED, slot.key_id, bytes(32), mark, bytes(48)))
            os.fsync(self._slots.descriptor)
            return 1

    def tag(self, owner: str) -> bytes:
        """Return what stands for *owner*'s name in the file."""
        return derive(self.master, b"owner", owner.encode())

    @property
    def master(self) -> bytes:
        """The key that wraps all others."""
        with self._lock:
            return self._master

    @cached_property
    def _master(self) -> bytes:
        path = self._folder / MASTER_NAME
        if not path.exists() and not self._read_only:
            self._hold()
            if not path.exists() and not (self._folder / OWNERS_NAME).exists():
                write_private(path, secrets.token_bytes(KEY_BYTES))
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            raise BackupKeysMissing(f"{path} is missing: without it no backup can be read; bring it back") from None
        if len(key) != KEY_BYTES:
            raise BackupKeysMissing(f"{path} is damaged: it must have {KEY_BYTES} bytes; bring it back")
        return key

    def close(self) -> None:
        """Let go of the file, and let the next process in."""
        with self._lock:
            if "_slots" in self.__dict__:
                os.close(self._slots.descriptor)
                del self.__dict__["_slots"]
            if self._held is not None:
                self._held.release()
                self._held = None

    def _hold(self) -> None:
        """Keep every other process from writing here: two that append would take the same slot."""
        if self._held is not None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._held = FolderLock(self._folder)
        except StoreLocked as error:
            raise KeysInUse(
                f"the keys in {self._folder} are in use by process {error.context['pid']}; "
                "stop it, or give each data folder a MEMORYBOX_KEYS_DIR of its own",
                retry_after_s=_RETRY_S,
            ) from error

    @cached_property
    def _slots(self) -> "_Slots":
        path = self._folder / OWNERS_NAME
        if self._read_only:
            return _Slots(os.open(path if path.exists() else os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        self._hold()
        self.master  # noqa: B018  # made first, for without owners' keys a lost one may be made anew
        slots = _Slots(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        sync_folder(self._folder)
        return slots

    def _add(self, tag: bytes) -> OwnerKey:
        key = OwnerKey(secrets.token_bytes(KEY_ID_BYTES), secrets.token_bytes(KEY_BYTES))
        nonce = secrets.token_bytes(12)
        wrapped = self._wrapper.encrypt(nonce, key.secret, key.key_id + tag)
        self._write(_Slot(self._slots.count, _LIVE, key.key_id, tag, nonce, wrapped))
        self._unsynced = True
        return key

    def _write(self, slot: _Slot) -> None:
        data = _SLOT.pack(_MAGIC, slot.state, slot.key_id, slot.tag, slot.nonce, slot.wrapped)
        os.pwrite(self._slots.descriptor, data, slot.place * _SLOT.size)
        self._slots.take(slot)

    def _unwrap(self, slot: _Slot) -> OwnerKey:
        try:
            return OwnerKey(slot.key_id, self._wrapper.decrypt(slot.nonce, slot.wrapped, slot.key_id + slot.tag))
        except InvalidTag:
            raise BackupKeysMissing(f"a key in {self._folder / OWNERS_NAME} is damaged; bring the file back") from None

    @property
    def _wrapper(self) -> AESGCM:
        return AESGCM(derive(self.master, b"wrap"))


class _Slots:
    """What the file has; one that a power loss tore was never used, and is passed over."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.by_tag: dict[bytes, _Slot] = {}
        self.by_id: dict[bytes, _Slot] = {}
        self.count = -(-os.fstat(descriptor).st_size // _SLOT.size)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            for place in range(self.count):
                data = file.read(_SLOT.size)
                if len(data) == _SLOT.size and data.startswith(_MAGIC):
                    _, *fields = _SLOT.unpack(data)
                    self.take(_Slot(place, *fields))

    def take(self, slot: _Slot) -> None:
        self.count = max(self.count, slot.place + 1)
        self.by_id[slot.key_id] = slot
        if slot.state == _LIVE:
            self.by_tag[slot.tag] = slot
