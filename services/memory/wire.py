"""Memories between the wire and the domain; only shapes, no rules."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf import json_format, struct_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from memorybox.memory.v1 import memory_pb2 as pb
from services.memory.domain.draft import FIELDS, Draft
from services.memory.domain.memory import AccessLevel, Embedding, Memory, Source
from services.mesh.errors import InvalidInput, Violation

MAX_NANOS = 999_999_999
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SERVER_FIELDS = frozenset(
    (
        "memory_id",
        "owner_user",
        "created_at",
        "updated_at",
        "superseded_by",
        "delete_time",
        "embedding_space",
        "revision",
        "etag",
    )
)
_TIMES = ("event_time", "valid_from", "valid_until", "expires_at")
_SOURCE_FIELDS = ("uri", "kind", "parent_memory_ids")
_DEFAULT = Draft()


def draft_from_proto(memory: pb.Memory, prefix: str = "memory.") -> Draft:
    """Return what *memory* says; raises ``InvalidInput`` where it has no meaning, such as a time outside the calendar."""
    if memory.embedding:
        raise _fault(f"{prefix}embedding", "is set by the server")
    return Draft(
        content=memory.content,
        external_id=memory.external_id,
        content_type=memory.content_type or _DEFAULT.content_type,
        bucket=memory.bucket or _DEFAULT.bucket,
        access_level=_access_level(memory, prefix),
        reader_roles=tuple(memory.reader_roles),
        metadata=struct_to_json(memory.metadata, f"{prefix}metadata"),
        tags=tuple(memory.tags),
        source=_source_from_proto(memory.source) if memory.HasField("source") else None,
        **{name: time_from_proto(memory, name, prefix) for name in _TIMES},
    )


def new_draft_from_proto(memory: pb.Memory, caller_user: str, prefix: str = "memory.") -> Draft:
    """Return the draft of a create; the owner can only be the caller."""
    if memory.owner_user not in {"", caller_user}:
        raise _fault(f"{prefix}owner_user", "is set by the server: a memory belongs to the caller who creates it")
    return draft_from_proto(memory, prefix)


def merged(current: Memory, wanted: pb.Memory, mask: list[str]) -> Draft:
    """Return *current*'s draft with the masked fields of *wanted*; an empty *mask* means every field that is set.

    Raises ``InvalidInput`` for a path that is no field, or that would change what the server sets.
    """
    new = draft_from_proto(wanted)
    paths = mask or [field.name for field, _ in wanted.ListFields()]
    if paths == ["*"]:
        paths = list(FIELDS)
    draft = Draft.of(current)
    as_stored = memory_to_proto(current)
    for path in paths:
        top, _, below = path.partition(".")
        if path in {"etag", "embedding"}:  # a condition; a vector, which is empty here as in answers to reads
            continue
        if path in SERVER_FIELDS:
            value = getattr(wanted, path)
            if value not in (getattr(as_stored, path), type(value)()):
                raise _fault(f"memory.{path}", "is set by the server")
        elif top == "source" and below in _SOURCE_FIELDS:
            value = getattr(new.source or Source(), below)
            draft = replace(draft, source=replace(draft.source or Source(), **{below: value}))
        elif path in FIELDS:
            draft = replace(draft, **{path: getattr(new, path)})
        else:
            raise _fault("update_mask", f"{path!r} is not a field that can be updated; fields are {', '.join(FIELDS)}")
    return draft


def memory_to_proto(memory: Memory, embedding: Embedding | None = None) -> pb.Memory:
    """Return *memory* as it goes out, with its vector when *embedding* is given."""
    message = pb.Memory(
        memory_id=memory.memory_id,
        external_id=memory.external_id,
        content=memory.content,
        content_type=memory.content_type,
        owner_user=memory.owner_user,
        bucket=memory.bucket,
        access_level=pb.Memory.AccessLevel.Value(memory.access_level),
        reader_roles=memory.reader_roles,
        superseded_by=memory.superseded_by,
        metadata=json_to_struct(memory.metadata),
        tags=memory.tags,
        embedding_space=memory.embedding_space,
        revision=memory.revision,
        etag=memory.etag,
    )
    for name in ("created_at", "updated_at", "delete_time", *_TIMES):
        value = getattr(memory, name)
        if value is not None:
            getattr(message, name).FromDatetime(value)
    if memory.source is not None:
        source = memory.source
        message.source.CopyFrom(pb.Source(uri=source.uri, kind=source.kind, parent_memory_ids=source.parent_memory_ids))
    if embedding is not None:
        message.embedding.extend(embedding.vector.tolist())
        message.embedding_space = embedding.space  # of which the memory itself may say so a little later
    return message


def struct_to_json(struct: struct_pb2.Struct, field: str) -> dict[str, Any]:
    """Return *struct* as plain values; numbers are floats."""
    return {key: _value_to_json(value, field) for key, value in struct.fields.items()}


def json_to_struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """Return plain *values* as a Struct."""
    struct = struct_pb2.Struct()
    if values:
        json_format.ParseDict(values, struct)
    return struct


def json_to_value(value: Any) -> struct_pb2.Value:
    """Return a plain *value* as a Value."""
    return json_format.ParseDict(value, struct_pb2.Value())


def _value_to_json(value: struct_pb2.Value, field: str) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return struct_to_json(value.struct_value, field)
        case "list_value":
            return [_value_to_json(item, field) for item in value.list_value.values]
        case "null_value":
            return None
        case None:
            raise _fault(field, "holds a value of no kind")
        case kind:
            return getattr(value, kind)


def _access_level(memory: pb.Memory, prefix: str) -> AccessLevel:
    if memory.access_level == pb.Memory.ACCESS_LEVEL_UNSPECIFIED:
        return AccessLevel.PRIVATE
    try:
        return AccessLevel(pb.Memory.AccessLevel.Name(memory.access_level))
    except ValueError:
        raise _fault(f"{prefix}access_level", f"must be PRIVATE, ROLE or PUBLIC, got {memory.access_level}") from None


def _source_from_proto(source: pb.Source) -> Source:
    return Source(source.uri, source.kind, tuple(source.parent_memory_ids))


def time_from_proto(memory: pb.Memory, name: str, prefix: str = "memory.") -> datetime | None:
    """Return the time in field *name*, None when unset; raises ``InvalidInput`` outside the calendar."""
    if not memory.HasField(name):  # type: ignore[arg-type]
        return None
    return moment_from_proto(getattr(memory, name), f"{prefix}{name}")


def moment_from_proto(stamp: Timestamp, field: str) -> datetime:
    """Return *stamp* in whole microseconds; raise ``InvalidInput`` naming *field* for a time outside the calendar."""
    if not 0 <= stamp.nanos <= MAX_NANOS:
        raise _fault(field, f"must have nanos from 0 to {MAX_NANOS}")
    try:
        return EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
    except OverflowError:
        raise _fault(field, "must be from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999Z") from None


def _fault(field: str, description: str) -> InvalidInput:
    return InvalidInput(f"{field} {description}", violations=[Violation(field, description)])
