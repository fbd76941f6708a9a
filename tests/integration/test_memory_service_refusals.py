"""What MemoryService refuses: bad input with code, reason and fields, and everything of other owners. It serves on after each."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from memorybox.memory.v1 import memory_pb2, search_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from services.cli.grants import standard_keys
from services.memory.app import service as memory_service
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.mesh.server import unbuilt
from tests.support.clients import CALL_S, Deployment, Refusal, refusal
from tests.support.memory import DIMENSION, Client, FakeEmbedder, World, memory_world, vector_of
from tests.support.model_store import ModelMemoryStore
from tests.support.tokens import Forger

MIB = 1 << 20
SERVICE = "/memorybox.memory.v1.MemoryService/"
ABSENT = "00000000-0000-7000-8000-000000000000"
VECTOR = [1.0] + [0.0] * (DIMENSION - 1)
Mode = search_pb2.SearchMode
MODES = (Mode.VECTOR, Mode.KEYWORD, Mode.HYBRID)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(tmp_path_factory.mktemp("deployment"), standard_keys("ann"))


@pytest.fixture
async def world(deployment: Deployment) -> AsyncIterator[World]:
    async with memory_world(deployment, ModelMemoryStore()) as made:
        yield made


@pytest.fixture(params=["model", "embedded"])
async def shared(request: pytest.FixtureRequest, deployment: Deployment, tmp_path: Path) -> AsyncIterator[World]:
    """Serve over each store."""
    store: ModelMemoryStore | EmbeddedMemoryStore = (
        ModelMemoryStore() if request.param == "model" else await EmbeddedMemoryStore.open(tmp_path)
    )
    async with memory_world(deployment, store) as made:
        yield made
    await store.close()


def create(**fields: Any) -> pb.CreateMemoryRequest:
    return pb.CreateMemoryRequest(memory=memory_pb2.Memory(**{"content": "x", **fields}))


def metadata(value: Value) -> Struct:
    return Struct(fields={"a": value})


def nested(levels: int) -> Value:
    value = Value(number_value=1)
    for _ in range(levels):
        value = Value(struct_value=metadata(value))
    return value


def update(*paths: str, **fields: Any) -> pb.UpdateMemoryRequest:
    wanted = memory_pb2.Memory(**{"memory_id": ABSENT, **fields})
    return pb.UpdateMemoryRequest(memory=wanted, update_mask=FieldMask(paths=paths))


def search(**fields: Any) -> search_pb2.SearchMemoriesRequest:
    return search_pb2.SearchMemoriesRequest(**{"query": "tea", **fields})


BAD: dict[str, tuple[str, Any, list[str]]] = {
    "create-without-memory": ("CreateMemory", pb.CreateMemoryRequest(), ["memory.content"]),
    "empty-content": ("CreateMemory", create(content=""), ["memory.content"]),
    "content-of-1-mib-and-1": ("CreateMemory", create(content="x" * (MIB + 1)), ["memory.content"]),
    "access-level-99": ("CreateMemory", create(access_level=99), ["memory.access_level"]),
    "access-level-minus-1": ("CreateMemory", create(access_level=-1), ["memory.access_level"]),
    "role-without-roles": ("CreateMemory", create(access_level=memory_pb2.Memory.ROLE), ["memory.reader_roles"]),
    "65-tags": ("CreateMemory", create(tags=map(str, range(65))), ["memory.tags"]),
    "100000-tags": ("CreateMemory", create(tags=map(str, range(100_000))), ["memory.tags"]),
    "owner-is-another": ("CreateMemory", create(owner_user="bob"), ["memory.owner_user"]),
    "vector-sent": ("CreateMemory", create(embedding=VECTOR), ["memory.embedding"]),
    "vector-with-nan-sent": ("CreateMemory", create(embedding=[math.nan]), ["memory.embedding"]),
    "metadata-nan": ("CreateMemory", create(metadata=metadata(Value(number_value=math.nan))), ["memory.metadata"]),
    "metadata-beyond-2-to-the-53": ("CreateMemory", create(metadata=metadata(Value(number_value=2**53 + 2))), ["memory.metadata"]),
    "metadata-of-no-kind": ("CreateMemory", create(metadata=metadata(Value())), ["memory.metadata"]),
    "metadata-9-deep": ("CreateMemory", create(metadata=metadata(nested(8))), ["memory.metadata"]),
    "metadata-30-deep": ("CreateMemory", create(metadata=metadata(nested(29))), ["memory.metadata"]),
    "metadata-of-65-kib": ("CreateMemory", create(metadata=metadata(Value(string_value="x" * 65536))), ["memory.metadata"]),
    "year-10000": ("CreateMemory", create(event_time=Timestamp(seconds=253402300800)), ["memory.event_time"]),
    "negative-nanos": ("CreateMemory", create(expires_at=Timestamp(nanos=-1)), ["memory.expires_at"]),
    "valid-backwards": ("CreateMemory", create(valid_from=Timestamp(seconds=2), valid_until=Timestamp(seconds=1)), ["memory.valid_until"]),
    "content-type": ("CreateMemory", create(content_type="text"), ["memory.content_type"]),
    "uri-of-2049": ("CreateMemory", create(source=memory_pb2.Source(uri="u" * 2049)), ["memory.source.uri"]),
    "many-faults-at-once": ("CreateMemory", create(content="", tags=["", "a"], bucket="b" * 129), ["memory.content", "memory.bucket", "memory.tags"]),
    "request-id-with-blank": ("CreateMemory", pb.CreateMemoryRequest(memory=memory_pb2.Memory(content="x"), request_id="a b"), ["request_id"]),
    "request-id-of-129": ("CreateMemory", pb.CreateMemoryRequest(memory=memory_pb2.Memory(content="x"), request_id="a" * 129), ["request_id"]),
    "batch-of-none": ("BatchCreateMemories", pb.BatchCreateMemoriesRequest(), ["requests"]),
    "batch-of-101": ("BatchCreateMemories", pb.BatchCreateMemoriesRequest(requests=[create()] * 101), ["requests"]),
    "get-without-id": ("GetMemory", pb.GetMemoryRequest(), ["memory_id"]),
    "delete-without-id": ("DeleteMemory", pb.DeleteMemoryRequest(), ["memory_id"]),
    "update-without-id": ("UpdateMemory", update("content", memory_id="", content="x"), ["memory.memory_id"]),
    "two-etags": ("UpdateMemory", pb.UpdateMemoryRequest(memory=memory_pb2.Memory(memory_id=ABSENT, etag="a"), etag="b"), ["etag"]),
    "negative-page-size": ("ListMemories", pb.ListMemoriesRequest(page_size=-1), ["page_size"]),
    "page-size-of-1001": ("ListMemories", pb.ListMemoriesRequest(page_size=1001), ["page_size"]),
    "least-page-size": ("ListMemories", pb.ListMemoriesRequest(page_size=-(2**31)), ["page_size"]),
    "page-token-of-nobody": ("ListMemories", pb.ListMemoriesRequest(page_token="AAAA"), ["page_token"]),
    "page-token-of-1-mib": ("ListMemories", pb.ListMemoriesRequest(page_token="A" * MIB), ["page_token"]),
    "page-token-not-ascii": ("SearchMemories", search(page_token="\N{SNOWMAN}"), ["page_token"]),
    "search-for-nothing": ("SearchMemories", search(query=""), ["query"]),
    "query-of-2049": ("SearchMemories", search(query="q" * 2049), ["query"]),
    "query-of-1-mib": ("SearchMemories", search(query="q " * (MIB // 2)), ["query"]),
    "absurd-top-k": ("SearchMemories", search(top_k=2**31 - 1), ["top_k"]),
    "negative-top-k": ("SearchMemories", search(top_k=-1), ["top_k"]),
    "page-size-of-101": ("SearchMemories", search(page_size=101), ["page_size"]),
    "mode-99": ("SearchMemories", search(mode=99), ["mode"]),
    "min-score-nan": ("SearchMemories", search(min_score=math.nan), ["min_score"]),
    "min-score-2": ("SearchMemories", search(min_score=2), ["min_score"]),
    "vector-with-nan": ("SearchMemories", search(query_vector=[math.nan, *VECTOR[1:]]), ["query_vector"]),
    "vector-with-infinity": ("SearchMemories", search(query_vector=[-math.inf, *VECTOR[1:]]), ["query_vector"]),
    "vector-of-zeros": ("SearchMemories", search(query_vector=[0.0] * DIMENSION), ["query_vector"]),
    "vector-too-short": ("SearchMemories", search(query_vector=VECTOR[1:]), ["query_vector"]),
    "vector-of-100000": ("SearchMemories", search(query_vector=[1.0] * 100_000), ["query_vector"]),
}  # fmt: skip


async def serves_on(world: World) -> None:
    memory = await world.ann.create("still here")
    assert (await world.ann.get(memory.memory_id)).content == "still here"


@pytest.mark.parametrize(("method", "request_", "fields"), [pytest.param(*case, id=name) for name, case in BAD.items()])
async def test_bad_input_is_invalid_with_its_fields(
    world: World, method: str, request_: Any, fields: list[str]
) -> None:
    told = await refusal(getattr(world.ann, method)(request_))

    reason = "INVALID_PAGE_TOKEN" if fields == ["page_token"] else "INVALID_INPUT"
    assert (told.code, told.reason, list(told.fields)) == ("INVALID_ARGUMENT", reason, fields)
    assert all(told.descriptions)
    assert await world.ann.listed() == []
    await serves_on(world)


@pytest.mark.parametrize(
    ("paths", "field"),
    [
        pytest.param(["colour"], "update_mask", id="unknown"),
        pytest.param(["metadata.a"], "update_mask", id="below-metadata"),
        pytest.param(["contentType"], "update_mask", id="json-name"),
        pytest.param(["*", "content"], "update_mask", id="star-and-more"),
        pytest.param(["\N{PILE OF POO}" * 5000], "update_mask", id="huge"),
        pytest.param(["owner_user"], "memory.owner_user", id="owner"),
        pytest.param(["revision"], "memory.revision", id="revision"),
        pytest.param(["created_at"], "memory.created_at", id="creation"),
        pytest.param(["embedding"], "memory.embedding", id="vector"),
        pytest.param(["content"], "memory.content", id="cleared-content"),
        pytest.param(["access_level"], "memory.access_level", id="wrong-enum"),
    ],
)
async def test_bad_update_is_invalid_and_changes_nothing(world: World, paths: list[str], field: str) -> None:
    memory = await world.ann.create("tea")
    wanted = memory_pb2.Memory(memory_id=memory.memory_id)
    match paths:
        case ["owner_user"]:
            wanted.owner_user = "bob"
        case ["revision"]:
            wanted.revision = 9
        case ["embedding"]:
            wanted.embedding.append(1.0)
        case ["created_at"]:
            wanted.created_at.seconds = 1
        case ["access_level"]:
            wanted.access_level = 99  # type: ignore[assignment]

    told = await refusal(
        world.ann.UpdateMemory(pb.UpdateMemoryRequest(memory=wanted, update_mask=FieldMask(paths=paths)))
    )

    assert (told.code, told.reason, told.fields) == ("INVALID_ARGUMENT", "INVALID_INPUT", (field,))
    assert await world.ann.get(memory.memory_id) == memory


@pytest.mark.parametrize(
    "memory_id",
    [ABSENT, "x", "../../etc/passwd", "' OR 1=1 --", "\x00", "\N{PILE OF POO}" * 50_000, "x" * MIB, "%s%n"],
    ids=["absent", "short", "path", "sql", "nul", "wide", "1-mib", "format"],
)
async def test_id_of_any_form_that_is_none_is_not_found(shared: World, memory_id: str) -> None:
    calls = (
        shared.ann.GetMemory(pb.GetMemoryRequest(memory_id=memory_id)),
        shared.ann.GetMemory(pb.GetMemoryRequest(memory_id=memory_id, include_embedding=True)),
        shared.ann.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory_id)),
        shared.ann.UpdateMemory(update("content", memory_id=memory_id, content="y")),
    )

    told = [await refusal(call) for call in calls]

    assert {(one.code, one.reason) for one in told} == {("NOT_FOUND", "MEMORY_NOT_FOUND")}
    await serves_on(shared)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0a\x04\x1a\x02\xff\xfe", id="content-that-is-not-utf8"),
        pytest.param(b"\x0a\x06\x92\x01\x03ab\xc3", id="tag-that-ends-within-a-letter"),
        pytest.param(b"\x0a\xff\xff\xff\xff\x0f", id="longer-than-it-is"),
        pytest.param(b"\x00", id="field-0"),
    ],
)
async def test_bytes_that_are_no_request_are_invalid(world: World, data: bytes) -> None:
    call: Any = world.channel.unary_unary(SERVICE + "CreateMemory")

    told = await refusal(call(data, metadata=world.metadata("ann"), timeout=CALL_S))

    assert (told.code, told.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT")
    await serves_on(world)


async def test_metadata_nested_beyond_what_protobuf_reads_are_invalid(world: World) -> None:
    data = b""
    for _ in range(200):  # Struct.fields -> entry.value -> Value.struct_value
        data = _wrapped(5, data)
        data = _wrapped(2, data)
        data = _wrapped(1, b"\x0a\x01a" + data)
    call: Any = world.channel.unary_unary(SERVICE + "CreateMemory")

    told = await refusal(call(_wrapped(1, _wrapped(17, data)), metadata=world.metadata("ann"), timeout=CALL_S))

    assert told.code == "INVALID_ARGUMENT"
    await serves_on(world)


def _wrapped(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


async def test_unknown_fields_are_ignored_as_protobuf_has_it(world: World) -> None:
    data = create(content="tea").SerializeToString() + _wrapped(1000, b"from a newer version")
    call: Any = world.channel.unary_unary(SERVICE + "CreateMemory")

    answer = pb.CreateMemoryResponse.FromString(await call(data, metadata=world.metadata("ann"), timeout=CALL_S))

    assert answer.memory.content == "tea"


async def test_expired_deadline_is_told_and_keeps_nothing(world: World) -> None:
    await world.ann.listed()

    told = await refusal(world.ann.CreateMemory(create(), timeout=0.0))

    assert told.code == "DEADLINE_EXCEEDED"
    await serves_on(world)


async def test_what_is_declared_and_not_built_says_so(world: World) -> None:
    registration = memory_service(ModelMemoryStore(), FakeEmbedder()).registrations[0]
    who = world.metadata("olga", "MEMORYBOX_OPERATOR")
    told = {}
    for method in unbuilt(registration.servicer, registration.descriptor):
        call: Any = world.channel.unary_unary(SERVICE + method.name)
        one = await refusal(call(b"", metadata=who, timeout=CALL_S))
        told[method.name] = (one.code, one.reason)

    assert set(told.values()) <= {("UNIMPLEMENTED", "NOT_BUILT")}
    assert not set(told) & {method for method, _ in EVERY_RPC}


@pytest.mark.parametrize(
    ("key", "claims", "code"),
    [
        pytest.param("gateway", {"aud": "embedding", "sub": "ann"}, "UNAUTHENTICATED", id="wrong-audience"),
        pytest.param("gateway", {"iat": 1, "exp": 61, "sub": "ann"}, "UNAUTHENTICATED", id="expired"),
        pytest.param("gateway", {"dep": "another", "sub": "ann"}, "UNAUTHENTICATED", id="foreign"),
        pytest.param("cli", {"sub": "bob"}, "PERMISSION_DENIED", id="over-reaching-user"),
        pytest.param("cli", {"sub": "ann", "roles": ["MEMORYBOX_GOVERNOR"]}, "PERMISSION_DENIED", id="over-reaching-role"),
        pytest.param("memory", {}, "PERMISSION_DENIED", id="over-reaching-service"),
    ],
)  # fmt: skip
async def test_every_rpc_refuses_a_token_that_proves_nothing(
    deployment: Deployment, world: World, key: str, claims: dict[str, Any], code: str
) -> None:
    token = Forger(deployment.keys).token(key, claims)
    stranger = Client(world.channel, (("authorization", f"Bearer {token}"),))

    told = {(await refusal(getattr(stranger, method)(request))).code for method, request in EVERY_RPC}

    assert told == {code}


async def test_every_rpc_refuses_a_call_without_token(world: World) -> None:
    stranger = Client(world.channel, ())

    told = {(await refusal(getattr(stranger, method)(request))).code for method, request in EVERY_RPC}

    assert told == {"UNAUTHENTICATED"}


EVERY_RPC: tuple[tuple[str, Any], ...] = (
    ("CreateMemory", create()),
    ("BatchCreateMemories", pb.BatchCreateMemoriesRequest(requests=[create()])),
    ("GetMemory", pb.GetMemoryRequest(memory_id=ABSENT)),
    ("ListMemories", pb.ListMemoriesRequest()),
    ("UpdateMemory", update("content", content="x")),
    ("DeleteMemory", pb.DeleteMemoryRequest(memory_id=ABSENT)),
    ("SearchMemories", search()),
)
BY_ID: dict[str, Callable[[Client, str], Awaitable[Any]]] = {
    "get": lambda who, known: who.GetMemory(pb.GetMemoryRequest(memory_id=known)),
    "get-with-vector": lambda who, known: who.GetMemory(pb.GetMemoryRequest(memory_id=known, include_embedding=True)),
    "update": lambda who, known: who.UpdateMemory(update("content", memory_id=known, content="y")),
    "update-with-etag": lambda who, known: who.UpdateMemory(update("content", memory_id=known, content="y", etag="e")),
    "update-beyond-a-rule": lambda who, known: who.UpdateMemory(update("tags", memory_id=known, tags=[""])),
    "delete": lambda who, known: who.DeleteMemory(pb.DeleteMemoryRequest(memory_id=known)),
    "delete-with-etag": lambda who, known: who.DeleteMemory(pb.DeleteMemoryRequest(memory_id=known, etag="e")),
}


@pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, call in BY_ID.items()])
async def test_hidden_memory_is_refused_word_for_word_as_an_absent_one(
    shared: World, call: Callable[[Client, str], Awaitable[Any]]
) -> None:
    private = await shared.ann.create("private tea")
    of_role = await shared.ann.create("role tea", access_level=memory_pb2.Memory.ROLE, reader_roles=["NURSE"])

    told = [await refusal(call(shared.bob, known)) for known in (ABSENT, private.memory_id, of_role.memory_id)]

    absent, *hidden = [
        _without_id(one, known) for one, known in zip(told, (ABSENT, private.memory_id, of_role.memory_id), strict=True)
    ]
    assert (absent.code, absent.reason) == ("NOT_FOUND", "MEMORY_NOT_FOUND")
    assert hidden == [absent, absent]
    assert await shared.ann.get(private.memory_id) == private


def _without_id(told: Refusal, memory_id: str) -> Refusal:
    context = {key: value.replace(memory_id, "ID") for key, value in told.context.items()}
    return Refusal(told.code, told.message.replace(memory_id, "ID"), told.reason, context, told.fields)


async def test_others_private_memories_are_in_no_list_and_no_search(shared: World) -> None:
    for number in range(5):
        await shared.ann.create(f"green tea {number}")
    await shared.ann.create(
        "shared with nurses: green tea", access_level=memory_pb2.Memory.ROLE, reader_roles=["NURSE"]
    )

    governor = shared.user("gina", "MEMORYBOX_GOVERNOR", "MEMORYBOX_OPERATOR")
    for stranger in (shared.bob, governor, shared.user("Ann"), shared.user("ann ")):
        assert await stranger.listed() == []
        for mode in MODES:
            answer = await stranger.search("green tea", mode=mode, min_score=-1.0, top_k=1000, explain=True)
            assert (len(answer.hits), answer.next_page_token) == (0, "")
            assert (answer.explanation.cut_by_threshold, answer.explanation.cut_by_min_score) == (0, 0)
        given = await stranger.found(
            "", mode=Mode.VECTOR, query_vector=map(float, vector_of("green tea")), min_score=-1.0
        )
        assert given == []


async def test_writes_of_others_leave_scores_bit_identical(shared: World) -> None:
    for content in ("green tea", "tea tea", "black coffee with milk", "a tea of another kind"):
        await shared.ann.create(content)

    async def scores() -> list[tuple[str, float, float, float]]:
        answers = [await shared.ann.search("green tea", mode=mode, min_score=-1.0, explain=True) for mode in MODES]
        plain = [await shared.ann.search("green tea", mode=mode, explain=True) for mode in MODES]
        return [
            (hit.memory.memory_id, hit.score, hit.rank_score, hit.explanation.keyword_score)
            for answer in (*answers, *plain)
            for hit in answer.hits
        ]

    before = await scores()
    for number in range(30):
        await shared.bob.create(f"tea green tea {number}")
    await shared.bob.create("tea tea tea", access_level=memory_pb2.Memory.ROLE, reader_roles=["NURSE"])

    assert before
    assert await scores() == before


async def test_ids_of_others_can_be_used_again_and_tell_nothing(shared: World) -> None:
    mine = await shared.ann.create("tea", "r1", external_id="e1")

    theirs = await shared.bob.create("coffee", "r1", external_id="e1")

    assert theirs.memory_id != mine.memory_id
    assert theirs.owner_user == "bob"
    assert await shared.ann.get(mine.memory_id) == mine
    assert (await shared.bob.create("coffee", "r1", external_id="e1")) == theirs


async def test_page_tokens_of_others_and_of_other_requests_are_refused(shared: World) -> None:
    for client in (shared.ann, shared.bob):
        for number in range(3):
            await client.create(f"tea {number}")
    listing = (await shared.ann.ListMemories(pb.ListMemoriesRequest(page_size=1))).next_page_token
    searching = (await shared.ann.search("tea", page_size=1)).next_page_token
    assert listing
    assert searching

    attempts = (
        shared.bob.listed(page_size=1, page_token=listing),
        shared.bob.search("tea", page_size=1, page_token=searching),
        shared.ann.listed(page_token=searching),
        shared.ann.search("tea", page_token=listing),
        shared.ann.listed(page_token=listing, bucket="other"),
        shared.ann.search("coffee", page_token=searching),
        shared.ann.listed(page_token=listing[:-2]),
    )

    told = [await refusal(attempt) for attempt in attempts]
    assert {(one.code, one.reason, one.fields) for one in told} == {
        ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN", ("page_token",))
    }
    assert await shared.ann.listed(page_size=1, page_token=listing) == ["tea 1"]


async def test_batch_is_kept_for_its_caller_alone(shared: World) -> None:
    await shared.bob.BatchCreateMemories(pb.BatchCreateMemoriesRequest(requests=[create(content="bob's tea")]))

    assert await shared.bob.listed() == ["bob's tea"]
    assert await shared.ann.listed() == []


async def test_server_serves_on_after_hundreds_of_bad_calls_at_once(world: World) -> None:
    small = [(method, request) for method, request, _ in BAD.values() if request.ByteSize() < 100_000]

    told = await asyncio.gather(*(refusal(getattr(world.ann, method)(request)) for method, request in small * 5))

    assert len(told) > 200
    assert {one.code for one in told} == {"INVALID_ARGUMENT"}
    await serves_on(world)
