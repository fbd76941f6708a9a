"""Memories between wire and domain: what comes in, what goes out, and what an update's mask picks."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from memorybox.memory.v1 import memory_pb2 as pb
from services.memory.domain.draft import FIELDS, Draft
from services.memory.domain.memory import AccessLevel, Json, Memory, Source
from services.memory.wire import SERVER_FIELDS, draft_from_proto, memory_to_proto, merged, new_draft_from_proto
from services.mesh.errors import InvalidInput

NOON = datetime(2030, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
LATER = datetime(2031, 1, 2, 12, tzinfo=UTC)
FULL = Memory(
    memory_id="m1",
    owner_user="ann",
    content="tea",
    created_at=NOON,
    updated_at=LATER,
    external_id="e1",
    content_type="text/markdown",
    bucket="b",
    access_level=AccessLevel.ROLE,
    reader_roles=("NURSE",),
    event_time=NOON,
    valid_from=NOON,
    valid_until=LATER,
    superseded_by="m2",
    expires_at=LATER,
    metadata={"a": 1.0, "b": [True, None, "x", {"c": 0.5}]},
    tags=("t", "u"),
    source=Source("u", "file", ("m0",)),
    embedding_space="s",
    revision=3,
)
BARE = Memory("m1", "ann", "tea", NOON, NOON)


def fault(attempt: Callable[[], object]) -> str:
    """Return the one field that *attempt* is refused for."""
    with pytest.raises(InvalidInput) as refused:
        attempt()
    (violation,) = refused.value.violations
    return violation.field


def test_every_field_goes_out_and_what_callers_set_comes_back() -> None:
    message = memory_to_proto(FULL)

    unset = {field.name for field in pb.Memory.DESCRIPTOR.fields} - {field.name for field, _ in message.ListFields()}
    assert unset == {"embedding", "delete_time"}
    assert draft_from_proto(message) == Draft.of(FULL)
    assert (message.memory_id, message.owner_user, message.revision, message.etag) == ("m1", "ann", 3, FULL.etag)


def test_every_field_of_the_contract_is_the_callers_or_the_servers() -> None:
    names = {field.name for field in pb.Memory.DESCRIPTOR.fields}

    assert set(FIELDS) | SERVER_FIELDS | {"embedding"} == names
    assert not set(FIELDS) & SERVER_FIELDS


def test_empty_message_is_the_default_draft() -> None:
    assert draft_from_proto(pb.Memory()) == Draft()


Plain = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=40,
)
Texts = st.lists(st.text(max_size=4), max_size=4).map(tuple)


@given(
    st.text(),
    Texts,
    st.dictionaries(st.text(max_size=3), Plain, max_size=4),
    st.builds(Source, st.text(), st.text(), Texts),
)
@example("", (), {"a": [0.0] * 5000}, Source())
@example("", (), {"a": [[]] * 5000}, Source())
@example("", (), {str(number): 0.0 for number in range(1000)}, Source())
def test_size_of_a_memory_is_no_less_than_its_message(
    content: str, texts: tuple[str, ...], metadata: Json, source: Source
) -> None:
    memory = replace(FULL, content=content, tags=texts, reader_roles=texts, metadata=metadata, source=source)

    assert memory_to_proto(memory).ByteSize() <= memory.size_bytes + 400


def test_etag_changes_with_the_revision_and_with_the_memory() -> None:
    etags = {FULL.etag, replace(FULL, revision=4).etag, replace(FULL, memory_id="m2").etag}

    assert len(etags) == 3
    assert replace(FULL, content="coffee").etag == FULL.etag


@pytest.mark.parametrize("number", [4, 99, -1])
def test_access_level_that_is_none_is_refused(number: int) -> None:
    odd = pb.Memory(access_level=number)  # type: ignore[arg-type]

    assert fault(lambda: draft_from_proto(odd)) == "memory.access_level"


@pytest.mark.parametrize(
    ("seconds", "nanos", "expected"),
    [
        (0, 0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-62135596800, 0, datetime(1, 1, 1, tzinfo=UTC)),
        (253402300799, 999_999_999, datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        (-1, 999_999_999, datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        (0, 1_999, datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
    ],
    ids=["epoch", "first", "last", "before-1970", "part-of-a-microsecond"],
)
def test_time_is_taken_to_the_microsecond(seconds: int, nanos: int, expected: datetime) -> None:
    message = pb.Memory(event_time=Timestamp(seconds=seconds, nanos=nanos))

    assert draft_from_proto(message).event_time == expected


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(253402300800, 0), (-62135596801, 0), (2**62, 0), (-(2**62), 0), (0, -1), (0, 1_000_000_000), (0, 2**31 - 1)],
    ids=["year-10000", "year-0", "huge", "minus-huge", "negative-nanos", "a-second-of-nanos", "most-nanos"],
)
@pytest.mark.parametrize("name", ["event_time", "valid_from", "valid_until", "expires_at"])
def test_time_outside_the_calendar_is_refused(name: str, seconds: int, nanos: int) -> None:
    message = pb.Memory(**{name: Timestamp(seconds=seconds, nanos=nanos)})  # type: ignore[arg-type]

    assert fault(lambda: draft_from_proto(message)) == f"memory.{name}"


def test_metadata_value_of_no_kind_is_refused() -> None:
    odd = pb.Memory(metadata=struct_pb2.Struct(fields={"a": struct_pb2.Value()}))

    assert fault(lambda: draft_from_proto(odd)) == "memory.metadata"


def test_vector_is_the_servers() -> None:
    assert fault(lambda: draft_from_proto(pb.Memory(content="x", embedding=[1.0]))) == "memory.embedding"


def test_new_memory_can_only_be_the_callers_own() -> None:
    assert new_draft_from_proto(pb.Memory(content="x", owner_user="ann"), "ann") == Draft(content="x")
    assert fault(lambda: new_draft_from_proto(pb.Memory(content="x", owner_user="bob"), "ann")) == "memory.owner_user"


def test_fields_of_the_server_are_ignored_in_a_new_memory() -> None:
    wanted = pb.Memory(content="x", memory_id="mine", revision=9, etag="e", created_at=Timestamp(seconds=1))

    assert new_draft_from_proto(wanted, "ann") == Draft(content="x")


CHANGED: dict[str, Any] = {
    "content": "coffee",
    "external_id": "e2",
    "content_type": "text/html",
    "bucket": "c",
    "access_level": AccessLevel.PUBLIC,
    "reader_roles": ("DOCTOR",),
    "event_time": LATER,
    "valid_from": LATER,
    "valid_until": NOON,
    "expires_at": NOON,
    "metadata": {"z": 2.0},
    "tags": ("v",),
    "source": Source("w", "chat", ("m9",)),
}
OTHER = Draft(**CHANGED).applied_to(FULL)


@pytest.mark.parametrize("name", FIELDS)
def test_mask_of_one_field_changes_that_field_alone(name: str) -> None:
    result = merged(FULL, memory_to_proto(OTHER), [name])

    assert result == replace(Draft.of(FULL), **{name: CHANGED[name]})


@pytest.mark.parametrize("name", FIELDS)
def test_masked_field_without_a_value_is_cleared(name: str) -> None:
    result = merged(FULL, pb.Memory(), [name])

    assert result == replace(Draft.of(FULL), **{name: getattr(Draft(), name)})


@pytest.mark.parametrize("name", ["uri", "kind", "parent_memory_ids"])
def test_mask_reaches_into_the_source(name: str) -> None:
    result = merged(FULL, memory_to_proto(OTHER), [f"source.{name}"])

    assert FULL.source
    assert result == replace(Draft.of(FULL), source=replace(FULL.source, **{name: getattr(CHANGED["source"], name)}))


def test_mask_into_an_absent_source_makes_one() -> None:
    assert merged(BARE, pb.Memory(source=pb.Source(kind="file")), ["source.kind"]).source == Source(kind="file")


def test_without_a_mask_every_field_that_is_set_changes() -> None:
    wanted = pb.Memory(memory_id="m1", content="coffee", tags=["v"])

    assert merged(FULL, wanted, []) == replace(Draft.of(FULL), content="coffee", tags=("v",))


def test_star_replaces_everything() -> None:
    assert merged(FULL, pb.Memory(content="coffee"), ["*"]) == Draft(content="coffee")


def test_masks_add_up() -> None:
    result = merged(FULL, memory_to_proto(OTHER), ["tags", "content", "tags"])

    assert result == replace(Draft.of(FULL), content="coffee", tags=("v",))


@pytest.mark.parametrize(
    "path",
    ["", "colour", "Content", "contentType", "content.x", "content.", ".content", "metadata.a", "tags.0", "source.x", "source.", "source.uri.x", "memory.content", "etag.x", " content"],
)  # fmt: skip
def test_path_that_is_no_field_is_refused(path: str) -> None:
    assert fault(lambda: merged(FULL, memory_to_proto(OTHER), [path])) == "update_mask"


def test_vector_cannot_be_changed() -> None:
    assert fault(lambda: merged(FULL, pb.Memory(embedding=[1.0]), ["embedding"])) == "memory.embedding"


def test_star_beside_other_paths_is_refused() -> None:
    assert fault(lambda: merged(FULL, memory_to_proto(OTHER), ["*", "content"])) == "update_mask"


def test_memory_as_it_was_read_may_be_sent_back_whole() -> None:
    wanted = memory_to_proto(FULL)
    wanted.content = "coffee"

    expected = replace(Draft.of(FULL), content="coffee")
    assert merged(FULL, wanted, []) == expected
    assert merged(FULL, wanted, [field.name for field, _ in wanted.ListFields()]) == expected
    # JSON prints empty fields too, the vector among them, so the gateway's mask names them all.
    assert merged(FULL, wanted, [field.name for field in pb.Memory.DESCRIPTOR.fields]) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("owner_user", "bob"),
        ("created_at", Timestamp(seconds=1)),
        ("updated_at", Timestamp(seconds=1)),
        ("delete_time", Timestamp(seconds=1)),
        ("superseded_by", "m7"),
        ("embedding_space", "other"),
        ("revision", 9),
    ],
)
def test_field_of_the_server_cannot_be_changed(name: str, value: Any) -> None:
    wanted = memory_to_proto(FULL)
    if isinstance(value, Timestamp):
        getattr(wanted, name).CopyFrom(value)
    else:
        setattr(wanted, name, value)

    assert fault(lambda: merged(FULL, wanted, [name])) == f"memory.{name}"


@pytest.mark.parametrize("etag", [FULL.etag, f'"{FULL.etag}"', "*", ""], ids=["bare", "quoted", "star", "none"])
def test_etag_in_the_mask_changes_nothing(etag: str) -> None:
    wanted = pb.Memory(content="coffee", etag=etag)

    assert merged(FULL, wanted, ["content", "etag"]) == replace(Draft.of(FULL), content="coffee")
