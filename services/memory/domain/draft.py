"""What a caller may say of a memory, and the rules it must pass."""

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from services.memory.domain.memory import AccessLevel, Json, Memory, Source
from services.mesh.errors import InvalidInput, Violation

MAX_CONTENT_BYTES = 1 << 20
MAX_METADATA_BYTES = 64 << 10
MAX_METADATA_DEPTH = 8
MAX_EXACT_INTEGER = 2**53  # beyond it a double is no longer exact
MAX_TAGS = 64
MAX_TAG_LENGTH = 128
MAX_BUCKET_LENGTH = 128
MAX_EXTERNAL_ID_LENGTH = 256
MAX_READER_ROLES = 64
MAX_ROLE_LENGTH = 255
MAX_PARENTS = 64
MAX_URI_LENGTH = 2048
MAX_KIND_LENGTH = 64
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,63}")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Draft:
    """The fields that a caller sets; defaults are those of a new memory."""

    content: str = ""
    external_id: str = ""
    content_type: str = "text/plain"
    bucket: str = "default"
    access_level: AccessLevel = AccessLevel.PRIVATE
    reader_roles: tuple[str, ...] = ()
    event_time: datetime | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    expires_at: datetime | None = None
    metadata: Json = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    source: Source | None = None

    @classmethod
    def of(cls, memory: Memory) -> "Draft":
        """Return what the owner of *memory* has said of it."""
        return cls(**{name: getattr(memory, name) for name in FIELDS})

    def fingerprint(self) -> bytes:
        """Return a digest that equal drafts share."""
        return hashlib.sha256(orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)).digest()

    def applied_to(self, memory: Memory) -> Memory:
        """Return *memory* with this draft's fields."""
        return replace(memory, **{name: getattr(self, name) for name in FIELDS})


FIELDS = tuple(Draft.__dataclass_fields__)


def check(draft: Draft, prefix: str = "memory.") -> None:
    """Return if *draft* is within every rule, else raise ``InvalidInput`` with one violation for each fault."""
    violations = list(_violations(draft, prefix))
    if violations:
        first = violations[0]
        raise InvalidInput(f"{first.field} {first.description}", violations=violations)


def check_request_id(request_id: str, prefix: str = "") -> None:
    """Return if *request_id* is empty or well formed, else raise ``InvalidInput``."""
    if request_id and not _REQUEST_ID.fullmatch(request_id):
        description = "must be 1 to 128 printable ASCII characters without spaces"
        raise InvalidInput(f"request_id {description}", violations=[Violation(f"{prefix}request_id", description)])


def _violations(draft: Draft, prefix: str) -> Iterator[Violation]:
    rules: Sequence[tuple[str, Callable[[Draft], str | None]]] = (
        ("content", _content),
        ("external_id", lambda d: _text(d.external_id, 0, MAX_EXTERNAL_ID_LENGTH)),
        (
            "content_type",
            lambda d: None if _MEDIA_TYPE.fullmatch(d.content_type) else "must be a media type such as text/plain",
        ),
        ("bucket", lambda d: _text(d.bucket, 1, MAX_BUCKET_LENGTH)),
        ("reader_roles", _reader_roles),
        ("valid_until", _validity),
        ("metadata", lambda d: _metadata(d.metadata)),
        ("tags", lambda d: _distinct(d.tags, MAX_TAGS, MAX_TAG_LENGTH)),
        ("source.uri", lambda d: _text(d.source.uri, 0, MAX_URI_LENGTH) if d.source else None),
        ("source.kind", lambda d: _text(d.source.kind, 0, MAX_KIND_LENGTH) if d.source else None),
        (
            "source.parent_memory_ids",
            lambda d: _distinct(d.source.parent_memory_ids, MAX_PARENTS, 64) if d.source else None,
        ),
    )
    for name, rule in rules:
        description = rule(draft)
        if description is not None:
            yield Violation(prefix + name, description)


def _content(draft: Draft) -> str | None:
    size = len(draft.content.encode())
    return None if 1 <= size <= MAX_CONTENT_BYTES else f"must be 1 to {MAX_CONTENT_BYTES} bytes of UTF-8, got {size}"


def _text(value: str, low: int, high: int) -> str | None:
    return None if low <= len(value) <= high else f"must be {low} to {high} code points, got {len(value)}"


def _distinct(values: Sequence[str], count: int, length: int) -> str | None:
    if len(values) > count:
        return f"must be at most {count}, got {len(values)}"
    if any(not 1 <= len(value) <= length for value in values):
        return f"must each be 1 to {length} code points"
    if len(set(values)) != len(values):
        return "must not repeat"
    return None


def _reader_roles(draft: Draft) -> str | None:
    if draft.access_level is AccessLevel.ROLE and not draft.reader_roles:
        return "must name at least one role with access level ROLE"
    if draft.access_level is not AccessLevel.ROLE and draft.reader_roles:
        return f"must be empty with access level {draft.access_level}"
    return _distinct(draft.reader_roles, MAX_READER_ROLES, MAX_ROLE_LENGTH)


def _validity(draft: Draft) -> str | None:
    if draft.valid_from and draft.valid_until and draft.valid_until <= draft.valid_from:
        return "must be after valid_from"
    return None


def _metadata(metadata: Json) -> str | None:
    fault = _json_fault(metadata, 1)
    if fault is not None:
        return fault
    size = len(orjson.dumps(metadata))
    return None if size <= MAX_METADATA_BYTES else f"must be at most {MAX_METADATA_BYTES} bytes as JSON, got {size}"


def _json_fault(value: Any, depth: int) -> str | None:
    match value:
        case dict() | list() if depth > MAX_METADATA_DEPTH:
            return f"must be at most {MAX_METADATA_DEPTH} levels deep"
        case dict() | list():
            children = value.values() if isinstance(value, dict) else value
            return next((fault for child in children if (fault := _json_fault(child, depth + 1))), None)
        case float() if not math.isfinite(value):
            return "must hold finite numbers only"
        case float() if value.is_integer() and abs(value) > MAX_EXACT_INTEGER:
            return "must not hold whole numbers beyond 2^53, which a double would round; send them as text"
        case _:
            return None
