"""A memory, its access levels, and the errors that speak of it."""

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from services.mesh.errors import AlreadyExists, Conflict, InvalidInput, NotFound, PermissionDenied

Json = dict[str, Any]
Vector = npt.NDArray[np.float32]  # (d,), length 1
TEXT_OVERHEAD_BYTES = 5  # tag and length of a text on the wire, at most


class AccessLevel(StrEnum):
    """Who besides the owner may read a memory. Only the owner may ever write it."""

    PRIVATE = "PRIVATE"  # nobody
    ROLE = "ROLE"  # whoever holds one of ``reader_roles``
    PUBLIC = "PUBLIC"  # every user of the account


@dataclass(frozen=True, slots=True)
class Source:
    """Where a memory came from; lineage."""

    uri: str = ""
    kind: str = ""
    parent_memory_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """One statement an owner asked us to keep. Times are aware, UTC, whole microseconds; an unset text is ''."""

    memory_id: str
    owner_user: str
    content: str
    created_at: datetime
    updated_at: datetime
    external_id: str = ""
    content_type: str = "text/plain"
    bucket: str = "default"
    access_level: AccessLevel = AccessLevel.PRIVATE
    reader_roles: tuple[str, ...] = ()
    event_time: datetime | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    superseded_by: str = ""
    expires_at: datetime | None = None
    delete_time: datetime | None = None
    metadata: Json = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    source: Source | None = None
    embedding_space: str = ""
    revision: int = 1

    @property
    def size_bytes(self) -> int:
        """Upper bound of what this memory takes in an answer, but for what the server sets (some 400 bytes).

        Metadata count three times: a Struct spends 11 bytes on a number that is 4 in JSON.
        """
        source = self.source or Source()
        texts = (
            *(self.content, self.external_id, self.content_type, self.owner_user, self.bucket, source.uri, source.kind),
            *(*self.reader_roles, *self.tags, *source.parent_memory_ids),
        )
        return sum(len(text.encode()) + TEXT_OVERHEAD_BYTES for text in texts) + 3 * len(orjson.dumps(self.metadata))

    def holds_at(self, moment: datetime) -> bool:
        """Tell whether what it says holds at *moment*: from ``valid_from`` on, before ``valid_until``."""
        begun = self.valid_from is None or self.valid_from <= moment
        return begun and (self.valid_until is None or moment < self.valid_until)

    @property
    def etag(self) -> str:
        """Opaque form of the revision; equal etags mean the same state of the same memory."""
        digest = hashlib.sha256(f"{self.memory_id}:{self.revision}".encode()).digest()
        return base64.urlsafe_b64encode(digest[:12]).decode()


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a content, from code point *start* up to *end*, and its vector."""

    start: int
    end: int
    vector: Vector


@dataclass(frozen=True, slots=True)
class Embedding:
    """A content's pooled vector and the space it lives in; vectors of two spaces are never compared.

    *parts* are those of a content too long for the model to read at once, in order; they may overlap. *twin* is the same content's
    embedding in the space that a re-embedding fills.
    """

    space: str
    vector: Vector
    parts: tuple[Part, ...] = ()
    twin: "Embedding | None" = None


class MemoryNotFound(NotFound):
    """Absent, deleted, expired or not visible: the caller cannot tell which."""

    reason = "MEMORY_NOT_FOUND"


class NotOwner(PermissionDenied):
    """The caller may read this memory but only its owner may change it."""

    reason = "NOT_OWNER"


class EtagMismatch(Conflict):
    """The memory changed since the caller read the etag it sent."""

    reason = "ETAG_MISMATCH"


class ExternalIdTaken(AlreadyExists):
    """The same owner already has a memory with this external id."""

    reason = "EXTERNAL_ID_TAKEN"


class RequestIdReused(InvalidInput):
    """The same request id came before with another body."""

    reason = "REQUEST_ID_REUSED"
