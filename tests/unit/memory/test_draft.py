"""The rules of a draft: each limit at, below and above, and every fault named at once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.memory.domain.draft import FIELDS, Draft, check, check_request_id
from services.memory.domain.memory import AccessLevel, Memory, Source
from services.mesh.errors import InvalidInput

NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)
PILE = "\N{PILE OF POO}"  # one code point, four bytes
MIB = 1 << 20


def draft(**fields: Any) -> Draft:
    return Draft(**{"content": "tea", **fields})


def role(*names: str) -> Draft:
    return draft(access_level=AccessLevel.ROLE, reader_roles=names)


def source(**fields: Any) -> Draft:
    return draft(source=Source(**fields))


def nested(levels: int, leaf: Any = 1.0) -> Any:
    """Return metadata *levels* deep, the outer object counted."""
    value = leaf
    for _ in range(levels):
        value = {"a": value}
    return value


def numbered(count: int, length: int = 4) -> tuple[str, ...]:
    return tuple(f"{number:0{length}}" for number in range(count))


def faults(what: Draft) -> list[str]:
    try:
        check(what)
    except InvalidInput as fault:
        return [violation.field for violation in fault.violations]
    return []


ACCEPTED = {
    "one-byte": draft(content="x"),
    "content-of-1-mib": draft(content="x" * MIB),
    "content-of-1-mib-in-wide-letters": draft(content=PILE * (MIB // 4)),
    "content-of-blanks": draft(content=" \n"),
    "content-with-nul": draft(content="\x00"),
    "external-id-of-256": draft(external_id=PILE * 256),
    "bucket-of-1": draft(bucket="b"),
    "bucket-of-128": draft(bucket=PILE * 128),
    "media-type": draft(content_type="application/vnd.api+json"),
    "media-type-of-128": draft(content_type="a" * 64 + "/" + "b" * 63),
    "64-tags": draft(tags=numbered(64)),
    "tag-of-128": draft(tags=(PILE * 128,)),
    "tags-that-differ-in-case": draft(tags=("a", "A")),
    "64-roles": role(*numbered(64)),
    "role-of-255": role("r" * 255),
    "public": draft(access_level=AccessLevel.PUBLIC),
    "metadata-8-deep": draft(metadata=nested(8)),
    "metadata-8-deep-by-lists": draft(metadata={"a": [[[[[[[1.0]]]]]]]}),
    "metadata-of-64-kib": draft(metadata={"a": "x" * (65536 - len('{"a":""}'))}),
    "metadata-integer-of-2-to-the-53": draft(metadata={"a": float(2**53), "b": -float(2**53)}),
    "metadata-fraction": draft(metadata={"a": 0.1}),
    "metadata-of-every-kind": draft(metadata={"a": None, "b": True, "c": "x", "d": [1.0, {}], "": ""}),
    "valid-for-a-microsecond": draft(valid_from=NOON, valid_until=NOON + timedelta(microseconds=1)),
    "valid-until-alone": draft(valid_until=NOON),
    "64-parents": source(parent_memory_ids=numbered(64)),
    "uri-of-2048": source(uri="u" * 2048),
    "kind-of-64": source(kind="k" * 64),
}
REFUSED = {
    "no-content": (draft(content=""), "content"),
    "content-a-byte-too-long": (draft(content="x" * (MIB + 1)), "content"),
    "content-too-long-in-bytes-alone": (draft(content=PILE * (MIB // 4) + "x"), "content"),
    "external-id-of-257": (draft(external_id="x" * 257), "external_id"),
    "no-bucket": (draft(bucket=""), "bucket"),
    "bucket-of-129": (draft(bucket="b" * 129), "bucket"),
    "media-type-without-subtype": (draft(content_type="text"), "content_type"),
    "media-type-with-parameter": (draft(content_type="text/plain; charset=utf-8"), "content_type"),
    "media-type-with-newline": (draft(content_type="text/plain\n"), "content_type"),
    "media-type-of-129": (draft(content_type="a" * 64 + "/" + "b" * 64), "content_type"),
    "65-tags": (draft(tags=numbered(65)), "tags"),
    "tag-of-129": (draft(tags=("t" * 129,)), "tags"),
    "empty-tag": (draft(tags=("a", "")), "tags"),
    "tag-twice": (draft(tags=("a", "b", "a")), "tags"),
    "65-roles": (role(*numbered(65)), "reader_roles"),
    "role-of-256": (role("r" * 256), "reader_roles"),
    "empty-role": (role(""), "reader_roles"),
    "role-twice": (role("a", "a"), "reader_roles"),
    "no-role-for-role-access": (role(), "reader_roles"),
    "roles-of-a-private-memory": (draft(reader_roles=("a",)), "reader_roles"),
    "roles-of-a-public-memory": (draft(access_level=AccessLevel.PUBLIC, reader_roles=("a",)), "reader_roles"),
    "metadata-9-deep": (draft(metadata=nested(9)), "metadata"),
    "metadata-9-deep-by-lists": (draft(metadata={"a": [[[[[[[[1.0]]]]]]]]}), "metadata"),
    "metadata-a-byte-too-long": (draft(metadata={"a": "x" * (65536 - len('{"a":""}') + 1)}), "metadata"),
    "metadata-too-long-in-bytes-alone": (draft(metadata={"a": PILE * 16384}), "metadata"),
    "metadata-integer-beyond-2-to-the-53": (draft(metadata={"a": [float(2**53 + 2)]}), "metadata"),
    "metadata-integer-below-minus-2-to-the-53": (draft(metadata={"a": -float(2**53 + 2)}), "metadata"),
    "metadata-nan": (draft(metadata={"a": {"b": float("nan")}}), "metadata"),
    "metadata-infinity": (draft(metadata={"a": [float("-inf")]}), "metadata"),
    "valid-for-no-time": (draft(valid_from=NOON, valid_until=NOON), "valid_until"),
    "valid-backwards": (draft(valid_from=NOON, valid_until=NOON - timedelta(days=1)), "valid_until"),
    "65-parents": (source(parent_memory_ids=numbered(65)), "source.parent_memory_ids"),
    "parent-of-65": (source(parent_memory_ids=("p" * 65,)), "source.parent_memory_ids"),
    "parent-twice": (source(parent_memory_ids=("p", "p")), "source.parent_memory_ids"),
    "uri-of-2049": (source(uri="u" * 2049), "source.uri"),
    "kind-of-65": (source(kind="k" * 65), "source.kind"),
}


@pytest.mark.parametrize("what", [pytest.param(what, id=name) for name, what in ACCEPTED.items()])
def test_draft_within_the_rules_is_accepted(what: Draft) -> None:
    assert faults(what) == []


@pytest.mark.parametrize(("what", "field"), [pytest.param(*case, id=name) for name, case in REFUSED.items()])
def test_draft_beyond_a_rule_is_refused_with_its_field(what: Draft, field: str) -> None:
    assert faults(what) == [f"memory.{field}"]


def test_every_fault_is_named_at_once() -> None:
    wrong = draft(content="", bucket="b" * 129, tags=("",), metadata={"a": float("nan")}, source=Source(kind="k" * 65))

    with pytest.raises(InvalidInput) as refused:
        check(wrong, "requests[3].memory.")

    fields = [violation.field for violation in refused.value.violations]
    assert fields == [f"requests[3].memory.{name}" for name in ("content", "bucket", "metadata", "tags", "source.kind")]
    assert refused.value.message.startswith("requests[3].memory.content must be 1 to 1048576 bytes of UTF-8, got 0")


def test_no_fault_shows_what_was_sent() -> None:
    secret = "planted-secret"
    wrong = draft(content=secret * MIB, metadata={secret: float("nan")}, tags=(secret * 20,), bucket=secret * 20)

    with pytest.raises(InvalidInput) as refused:
        check(wrong)

    assert len(refused.value.violations) == 4
    assert secret not in f"{refused.value.message} {refused.value.violations}"


@pytest.mark.parametrize("request_id", ["", "x", "!~", "a" * 128, "0b0e8a52-9d4c-4b0e-8a52-0b0e8a529d4c"])
def test_request_id_of_printable_ascii_is_accepted(request_id: str) -> None:
    check_request_id(request_id)


@pytest.mark.parametrize(
    "request_id",
    ["a" * 129, "a b", " ", "a\n", "\t", "\x7f", "\N{LATIN SMALL LETTER A WITH DIAERESIS}", PILE],
    ids=["too-long", "blank-inside", "blank", "newline", "tab", "delete", "umlaut", "emoji"],
)
def test_other_request_ids_are_refused(request_id: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_request_id(request_id)

    assert [violation.field for violation in refused.value.violations] == ["request_id"]


CHANGES: dict[str, Any] = {
    "content": "coffee",
    "external_id": "e1",
    "content_type": "text/markdown",
    "bucket": "other",
    "access_level": AccessLevel.PUBLIC,
    "reader_roles": ("NURSE",),
    "event_time": NOON,
    "valid_from": NOON,
    "valid_until": NOON,
    "expires_at": NOON,
    "metadata": {"a": 1.0},
    "tags": ("t",),
    "source": Source("u"),
}


def test_fingerprint_tells_drafts_apart_in_every_field() -> None:
    prints = {draft(**{name: value}).fingerprint() for name, value in CHANGES.items()} | {draft().fingerprint()}

    assert set(CHANGES) == set(FIELDS)
    assert len(prints) == len(FIELDS) + 1


def test_fingerprint_of_tags_knows_their_order_and_their_bounds() -> None:
    prints = {draft(tags=tags).fingerprint() for tags in (("a", "b"), ("b", "a"), ("ab",), ("a,b",))}

    assert len(prints) == 4


def test_fingerprint_does_not_depend_on_the_order_of_metadata() -> None:
    one, other = {"a": 1.0, "b": {"c": 1.0, "d": 2.0}}, {"b": {"d": 2.0, "c": 1.0}, "a": 1.0}

    assert draft(metadata=one).fingerprint() == draft(metadata=other).fingerprint()


@given(
    st.builds(
        Draft, content=st.text(min_size=1), tags=st.lists(st.text(min_size=1, max_size=9), unique=True).map(tuple)
    )
)
def test_draft_goes_into_a_memory_and_comes_back(what: Draft) -> None:
    blank = Memory("m", "ann", "", NOON, NOON, bucket="x", tags=("y",), revision=7)

    memory = what.applied_to(blank)

    assert Draft.of(memory) == what
    assert (memory.memory_id, memory.owner_user, memory.revision) == ("m", "ann", 7)


Metadata = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=12,
    ),
    max_size=4,
)


@given(Metadata)
def test_any_metadata_is_accepted_or_refused_by_name(metadata: dict[str, Any]) -> None:
    assert faults(draft(metadata=metadata)) in ([], ["memory.metadata"])


def depth(value: Any) -> int:
    children: Callable[[], Any] = value.values if isinstance(value, dict) else lambda: value
    return 1 + max(map(depth, children()), default=0) if isinstance(value, dict | list) else 0


@given(Metadata.filter(lambda metadata: depth(metadata) <= 8))
def test_shallow_finite_small_metadata_are_accepted(metadata: dict[str, Any]) -> None:
    def tame(value: Any) -> Any:
        match value:
            case dict():
                return {key: tame(child) for key, child in value.items()}
            case list():
                return [tame(child) for child in value]
            case float():
                return 0.5
        return value

    assert faults(draft(metadata=tame(metadata))) == []
