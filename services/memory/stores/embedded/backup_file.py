"""A backup as files: rows in sealed boxes, and a manifest by which every byte of them is known.

``rows`` is a sequence of boxes. A box holds consecutive rows of one table and one owner, sealed by AES-256-GCM under a key derived from
the owner's and the backup's id. Its nonce is its number in the backup, and its header (table, place of the first row, count) is bound to it: no
nonce comes twice under one key, and no box can be moved, left out or brought from elsewhere. ``manifest.json`` has the SHA-256 of every
few megabytes of boxes, and a MAC made with the master key.
"""

import hashlib
import hmac
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.memory.domain.backups import BackupDamaged
from services.memory.domain.sealing import KEY_ID_BYTES, OwnerKey, derive, nonce_of
from services.memory.stores.embedded.keyring import Keyring
from services.mesh.files import sync_folder, write_private

FORMAT = 1
ROWS_NAME, MANIFEST_NAME = "rows", "manifest.json"
NOBODYS = bytes(KEY_ID_BYTES)  # the key id of rows that are nobody's; their key comes from the master key
CHUNK_BYTES = 4 << 20
_BOX_BYTES, _BOX_ROWS = 64 << 10, 256
_HEADER = struct.Struct(
    ">I16sHQI"
)  # sealed bytes that follow, key id, table, place of the first row in its table, rows
_MAX_BOX_BYTES = 64 << 20  # far beyond any row: a content has 1 MiB
_CACHED_KEYS = 1024

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a backup."""

    name: str
    columns: tuple[str, ...]
    row_count: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself; times are ISO 8601, UTC."""

    backup_id: str
    created_at: str
    schema: int
    last_seq: int  # number of the last change in it
    tables: tuple[Table, ...]
    chunks: tuple[tuple[int, str], ...]  # size in bytes and SHA-256 of each stretch of the rows
    format: int = FORMAT

    @property
    def size_bytes(self) -> int:
        """Size of the rows."""
        return sum(size for size, _ in self.chunks)

    def count(self, table: str) -> int:
        """Return how many rows of *table* there are."""
        return next((item.row_count for item in self.tables if item.name == table), 0)


@dataclass(frozen=True, slots=True)
class Box:
    """Some rows of a table; *rows* is None when the key of their owner was shredded."""

    table: int
    key_id: bytes
    row_count: int
    rows: list[Row] | None


class _Ciphers:
    """The ciphers of one backup, by key; a bounded number is kept."""

    def __init__(self, backup_id: str, keyring: Keyring) -> None:
        self._backup_id = backup_id.encode()
        self._keyring = keyring
        self._known: dict[bytes, AESGCM | None] = {}

    def of(self, key: OwnerKey) -> AESGCM:
        return AESGCM(derive(key.secret, b"backup", self._backup_id))

    def by_id(self, key_id: bytes) -> AESGCM | None:
        """Return a cipher, None if its key was shredded."""
        if key_id not in self._known:
            if len(self._known) == _CACHED_KEYS:
                self._known.clear()
            key = OwnerKey(NOBODYS, self._keyring.master) if key_id == NOBODYS else self._keyring.find(key_id)
            self._known[key_id] = None if key is None else self.of(key)
        return self._known[key_id]


class BackupWriter:
    """Writes the boxes of a new backup in *folder*, which must be empty, and at the end its manifest."""

    def __init__(self, folder: Path, backup_id: str, keyring: Keyring) -> None:
        self._folder = folder
        self.backup_id = backup_id
        self._keyring = keyring
        self._ciphers = _Ciphers(backup_id, keyring)
        self._key_ids: dict[str, bytes] = {"": NOBODYS}
        descriptor = os.open(folder / ROWS_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._chunks: list[tuple[int, str]] = []
        self._digest, self._chunk_bytes, self._boxes = hashlib.sha256(), 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, table: int, first: int, owner: str, rows: Sequence[Row]) -> None:
        """Seal *rows*, which begin at place *first* of their table."""
        key_id, number = self._key_id(owner), self._boxes
        cipher = self._ciphers.by_id(key_id)
        if cipher is None:
            raise BackupDamaged("a key was shredded while it was used")
        plain = _pack(rows)
        header = _HEADER.pack(len(plain) + 16, key_id, table, first, len(rows))
        sealed = cipher.encrypt(nonce_of(number), plain, _binding(self.backup_id, header))
        for part in (header, sealed):
            self._file.write(part)
            self._digest.update(part)
        self._boxes += 1
        self._chunk_bytes += len(header) + len(sealed)
        if self._chunk_bytes >= CHUNK_BYTES:
            self._end_chunk()

    def finish(self, manifest: Manifest) -> Manifest:
        """Make all durable, the manifest last; return it with what only the writer knows."""
        self._end_chunk()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._keyring.sync()
        whole = Manifest(**{**_fields(manifest), "chunks": tuple(self._chunks)})
        write_private(self._folder / MANIFEST_NAME, signed(whole, self._keyring))
        sync_folder(self._folder)
        return whole

    def _key_id(self, owner: str) -> bytes:
        key_id = self._key_ids.get(owner)
        if key_id is None:
            if len(self._key_ids) == _CACHED_KEYS:
                self._key_ids = {"": NOBODYS}
            key_id = self._key_ids[owner] = self._keyring.of(owner).key_id
        return key_id

    def _end_chunk(self) -> None:
        if self._chunk_bytes:
            self._chunks.append((self._chunk_bytes, self._digest.hexdigest()))
            self._digest, self._chunk_bytes = hashlib.sha256(), 0


class BackupReader:
    """A backup in *folder*, whose manifest is checked at once. Raises ``BackupDamaged``, ``BackupKeysMissing``."""

    def __init__(self, folder: Path, keyring: Keyring) -> None:
        self._path = folder / ROWS_NAME
        self._name = folder.name
        self.manifest = _read_manifest(folder, keyring)
        self._ciphers = _Ciphers(self.manifest.backup_id, keyring)

    @property
    def is_of_its_size(self) -> bool:
        """Whether the rows are all there, as far as their size tells."""
        return self._path.is_file() and self._path.stat().st_size == self.manifest.size_bytes

    def boxes(self) -> Iterator[Box]:
        """Yield everything in order, checked on the way and counted at the end; a few megabytes are held at a time."""
        seen = [0] * len(self.manifest.tables)
        number = 0
        for chunk in self._chunks():
            for header, sealed in self._split(chunk):
                _, key_id, table, first, row_count = _HEADER.unpack(header)
                if table >= len(seen) or seen[table] != first:
                    raise self._damaged("has boxes out of order")
                seen[table] += row_count
                yield Box(table, key_id, row_count, self._open(key_id, number, header, sealed, row_count))
                number += 1
        if seen != [table.row_count for table in self.manifest.tables]:
            raise self._damaged("lacks rows")

    def _open(self, key_id: bytes, number: int, header: bytes, sealed: bytes, row_count: int) -> list[Row] | None:
        cipher = self._ciphers.by_id(key_id)
        if cipher is None:
            return None
        try:
            plain = cipher.decrypt(nonce_of(number), sealed, _binding(self.manifest.backup_id, header))
        except InvalidTag:
            raise self._damaged("has a box that its key does not open") from None
        rows = _unpack(plain)
        if len(rows) != row_count:
            raise self._damaged("has a box of another size")
        return rows

    def _chunks(self) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as file:
                for size, digest in self.manifest.chunks:
                    chunk = file.read(size)
                    if not hmac.compare_digest(hashlib.sha256(chunk).hexdigest(), digest):
                        raise self._damaged("is not what was written")
                    yield chunk
                if file.read(1):
                    raise self._damaged("is longer than what was written")
        except FileNotFoundError:
            raise self._damaged("has lost its rows") from None

    def _split(self, chunk: bytes) -> Iterator[tuple[bytes, bytes]]:
        place = 0
        while place < len(chunk):
            header = chunk[place : place + _HEADER.size]
            length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else _MAX_BOX_BYTES + 1
            place += _HEADER.size + length
            if length > _MAX_BOX_BYTES or place > len(chunk):
                raise self._damaged("has a box that is cut off")
            yield header, chunk[place - length : place]

    def _damaged(self, what: str) -> BackupDamaged:
        return BackupDamaged(f"backup {self._name!r} {what}; use another one", backup_id=self._name)


class BoxFiller:
    """Gathers consecutive rows of one owner into boxes."""

    def __init__(self, writer: BackupWriter, table: int) -> None:
        self._writer = writer
        self._table = table
        self._owner = ""
        self._rows: list[Row] = []
        self._bytes = 0
        self.count = 0

    def add(self, owner: str, row: Row) -> int:
        """Take one row; return how many were written out for it."""
        written = 0
        if self._rows and (owner != self._owner or self._bytes >= _BOX_BYTES or len(self._rows) == _BOX_ROWS):
            written = self.flush()
        self._owner = owner
        self._rows.append(row)
        self._bytes += sum(len(value) for value in row if isinstance(value, (bytes, str)))
        return written

    def flush(self) -> int:
        """Write what was gathered; return how many rows that were."""
        rows = self._rows
        if rows:
            self._writer.write(self._table, self.count, self._owner, rows)
        self.count += len(rows)
        self._rows, self._bytes = [], 0
        return len(rows)


def _binding(backup_id: str, header: bytes) -> bytes:
    return backup_id.encode() + b"\x00" + header


def _pack(rows: Sequence[Row]) -> bytes:
    """Return rows as JSON, in which ``[n]`` stands for the next n of the bytes behind it."""
    blobs: list[bytes] = []

    def plain(value: object) -> object:
        if isinstance(value, bytes):
            blobs.append(value)
            return [len(value)]
        return value

    head = orjson.dumps([[plain(value) for value in row] for row in rows])
    return b"".join((len(head).to_bytes(4), head, *blobs))


def _unpack(plain: bytes) -> list[Row]:
    place = 4 + int.from_bytes(plain[:4])
    rows: list[Row] = []
    for values in orjson.loads(plain[4:place]):
        for column, value in enumerate(values):
            if isinstance(value, list):
                values[column] = plain[place : place + value[0]]
                place += value[0]
        rows.append(tuple(values))
    return rows


def _fields(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in Manifest.__slots__}


def signed(manifest: Manifest, keyring: Keyring) -> bytes:
    """Return the file of a manifest."""
    document = orjson.dumps(asdict(manifest), option=orjson.OPT_SORT_KEYS)
    return orjson.dumps({"manifest": orjson.Fragment(document), "mac": _mac(document, keyring).hex()})


def _mac(document: bytes, keyring: Keyring) -> bytes:
    return hmac.digest(derive(keyring.master, b"manifest"), document, hashlib.sha256)


def _read_manifest(folder: Path, keyring: Keyring) -> Manifest:
    damaged = BackupDamaged(
        f"the manifest of backup {folder.name!r} is not what these keys signed; use another backup, or bring the keys that made it",
        backup_id=folder.name,
    )
    try:
        signed = orjson.loads((folder / MANIFEST_NAME).read_bytes())
        document = orjson.dumps(signed["manifest"], option=orjson.OPT_SORT_KEYS)
        if not hmac.compare_digest(_mac(document, keyring), bytes.fromhex(signed["mac"])):
            raise damaged
        fields = signed["manifest"]
        if fields["format"] != FORMAT:
            raise BackupDamaged(f"backup {folder.name!r} has format {fields['format']}, this version reads {FORMAT}")
        tables = tuple(Table(item["name"], tuple(item["columns"]), item["row_count"]) for item in fields["tables"])
        chunks = tuple((size, digest) for size, digest in fields["chunks"])
        return Manifest(**{**fields, "tables": tables, "chunks": chunks})
    except (OSError, ValueError, KeyError, TypeError):
        raise damaged from None
