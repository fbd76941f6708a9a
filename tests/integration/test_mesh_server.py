"""A server of the mesh over a real channel: who gets in, what errors look like from outside, what is exempt."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.mesh import errors
from services.mesh.errors import InvalidInput, MemoryBoxError, Violation
from services.mesh.ops import PortTaken
from services.mesh.server import Service
from tests.support import probe
from tests.support.clients import CALL_S, Deployment, Refusal, plain_channel, refusal
from tests.support.tokens import Forger

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SECRET = "planted-secret-7f3a"
FAMILIES = [
    cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, MemoryBoxError) and cls is not MemoryBoxError
]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(tmp_path_factory.mktemp("deployment"), probe.KEYS)


@asynccontextmanager
async def served(deployment: Deployment, **methods: Any) -> AsyncIterator[tuple[Any, grpc.aio.Channel]]:
    """Serve a probe with *methods*; yield a stub and its channel, both without identity."""
    async with (
        deployment.serving("memory", lambda _: probe.service(**methods)) as running,
        plain_channel(running.target) as channel,
    ):
        yield probe.stub(channel), channel


def raising(error: BaseException) -> Callable[..., Awaitable[Any]]:
    async def method(_self: object, _request: Any, _context: Any) -> Any:
        raise error

    return method


async def drained(stream: Any) -> list[str]:
    return [message.text async for message in stream]


async def texts(*values: str) -> AsyncIterator[Any]:
    for value in values:
        yield probe.text(value)


async def tell_two(_self: object, request: Any, _context: Any) -> AsyncIterator[Any]:
    for word in ("a", "b"):
        yield probe.text(request.text + word)


async def tell_by_writing(_self: object, request: Any, context: Any) -> None:
    for word in ("a", "b"):
        await context.write(probe.text(request.text + word))


async def hear_all(_self: object, stream: Any, _context: Any) -> Any:
    return probe.text("".join([message.text async for message in stream]))


async def talk_back(_self: object, stream: Any, _context: Any) -> AsyncIterator[Any]:
    async for message in stream:
        yield message


async def test_every_kind_of_call_passes_all_interceptors(deployment: Deployment) -> None:
    who = deployment.bearer("memory", "ann")
    async with served(deployment, Say=probe.echo, Tell=tell_two, Hear=hear_all, Talk=talk_back) as (stub, _):
        assert (await stub.Say(probe.text("x"), metadata=who)).text == "x"
        assert await drained(stub.Tell(probe.text("x"), metadata=who)) == ["xa", "xb"]
        assert (await stub.Hear(texts("a", "b", "c"), metadata=who)).text == "abc"
        assert await drained(stub.Talk(texts("a", "b"), metadata=who)) == ["a", "b"]


async def test_stream_written_with_context_write_passes_all_interceptors(deployment: Deployment) -> None:
    async with served(deployment, Tell=tell_by_writing) as (stub, _):
        assert await drained(stub.Tell(probe.text("x"), metadata=deployment.bearer("memory", "ann"))) == ["xa", "xb"]


async def test_health_and_reflection_need_no_token(deployment: Deployment) -> None:
    async with served(deployment) as (_, channel):
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "probe.v1.ProbeService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=CALL_S)
            assert answer.status == SERVING
            watch = health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=CALL_S)
            assert (await watch.read()).status == SERVING
            watch.cancel()
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        listing = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]), timeout=CALL_S)
        names = [item.name for item in (await listing.read()).list_services_response.service]

    assert "probe.v1.ProbeService" in names


async def test_health_watch_tells_when_the_service_leaves(deployment: Deployment) -> None:
    async with (
        deployment.serving("memory", lambda _: probe.service()) as running,
        plain_channel(running.target) as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=CALL_S)
        assert (await watch.read()).status == SERVING

        await running.probe.enter_graceful_shutdown()

        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()


KINDS: dict[str, Callable[[Any, Any], Awaitable[Any]]] = {
    "unary": lambda stub, who: stub.Say(probe.text("x"), metadata=who, timeout=CALL_S),
    "server-stream": lambda stub, who: drained(stub.Tell(probe.text("x"), metadata=who, timeout=CALL_S)),
    "client-stream": lambda stub, who: stub.Hear(texts("a"), metadata=who, timeout=CALL_S),
    "both-streams": lambda stub, who: drained(stub.Talk(texts("a"), metadata=who, timeout=CALL_S)),
}
kinds = pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, call in KINDS.items()])


@kinds
async def test_call_without_token_is_unauthenticated_and_reaches_no_handler(
    deployment: Deployment, call: Callable[[Any, Any], Awaitable[Any]]
) -> None:
    reached: list[str] = []

    async def note(_self: object, _request: Any, _context: Any) -> Any:
        reached.append("handler")

    async with served(deployment, Say=note, Tell=note, Hear=note, Talk=note) as (stub, _):
        told = await refusal(call(stub, ()))

    assert (told.code, told.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    assert "memorybox token" in told.message
    assert reached == []


@kinds
async def test_what_is_declared_and_not_built_is_unimplemented(
    deployment: Deployment, call: Callable[[Any, Any], Awaitable[Any]]
) -> None:
    async with served(deployment) as (stub, _):
        told = await refusal(call(stub, deployment.bearer("memory", "ann")))

    assert (told.code, told.reason) == ("UNIMPLEMENTED", "NOT_BUILT")
    assert told.context["method"].startswith("probe.v1.ProbeService.")


async def test_not_built_is_said_only_to_who_may_call(deployment: Deployment) -> None:
    async with served(deployment) as (stub, _):
        told = await refusal(stub.Say(probe.text(), timeout=CALL_S))

    assert told.code == "UNAUTHENTICATED"


async def test_method_that_is_not_in_the_table_is_denied_though_it_is_built(deployment: Deployment) -> None:
    async with served(deployment, Closed=probe.echo) as (stub, _):
        told = await refusal(
            stub.Closed(probe.text(), metadata=deployment.bearer("memory", "ann", ["MEMORYBOX_GOVERNOR"]))
        )

    assert (told.code, told.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")


async def test_unknown_method_is_unimplemented(deployment: Deployment) -> None:
    async with served(deployment) as (_, channel):
        nonsense: Any = channel.unary_unary("/probe.v1.ProbeService/Nonsense")

        assert (await refusal(nonsense(b"", metadata=deployment.bearer("memory")))).code == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        pytest.param({"aud": "embedding"}, "UNAUTHENTICATED", id="wrong-audience"),
        pytest.param({"iat": 1000, "exp": 1060}, "UNAUTHENTICATED", id="expired"),
        pytest.param({"dep": "other"}, "UNAUTHENTICATED", id="foreign-deployment"),
        pytest.param({"sub": "ann"}, "PERMISSION_DENIED", id="service-asserts-a-user"),
    ],
)
async def test_refused_tokens_are_refused_over_the_wire(
    deployment: Deployment, claims: dict[str, Any], code: str
) -> None:
    token = Forger(deployment.keys).token("analyst", claims)
    async with served(deployment, Say=probe.echo) as (stub, _):
        told = await refusal(stub.Say(probe.text(), metadata=(("authorization", f"Bearer {token}"),)))

    assert told.code == code
    assert token not in told.message


async def test_token_in_binary_metadata_counts_as_none(deployment: Deployment) -> None:
    odd = (("authorization-bin", deployment.bearer("memory", "ann")[0][1].encode()),)
    async with served(deployment, Say=probe.echo) as (stub, _):
        assert (await refusal(stub.Say(probe.text(), metadata=odd))).code == "UNAUTHENTICATED"


@pytest.mark.parametrize("cls", FAMILIES, ids=lambda cls: cls.__name__)
async def test_error_of_a_domain_arrives_with_code_reason_context_and_violations(
    deployment: Deployment, cls: type[MemoryBoxError]
) -> None:
    error = cls("so it is", violations=[Violation("memory.tags", "too many")], retry_after_s=2.5, memory_id="m1")
    async with served(deployment, Say=raising(error)) as (stub, _):
        told = await refusal(stub.Say(probe.text(), metadata=deployment.bearer("memory", "ann")))

    assert told == Refusal(cls.code, "so it is", cls.reason, {"memory_id": "m1"}, ("memory.tags",), ("too many",), 2.5)


async def test_error_after_streamed_messages_arrives_behind_them(deployment: Deployment) -> None:
    async def fail_later(_self: object, _request: Any, _context: Any) -> AsyncIterator[Any]:
        yield probe.text("first")
        raise InvalidInput("then wrong", violations=[Violation("a", "b")])

    async with served(deployment, Tell=fail_later) as (stub, _):
        stream = stub.Tell(probe.text(), metadata=deployment.bearer("memory", "ann"))
        first = await stream.read()
        told = await refusal(stream.read())

    assert first.text == "first"
    assert (told.code, told.fields) == ("INVALID_ARGUMENT", ("a",))


async def fail_with_secret(_self: object, _request: Any, _context: Any) -> Any:
    raise RuntimeError(SECRET)


async def stream_with_secret(_self: object, _request: Any, _context: Any) -> AsyncIterator[Any]:
    yield probe.text("first")
    raise RuntimeError(SECRET)


@kinds
async def test_unexpected_exception_tells_the_caller_nothing_and_the_log_all(
    deployment: Deployment, caplog: pytest.LogCaptureFixture, call: Callable[[Any, Any], Awaitable[Any]]
) -> None:
    methods = {
        "Say": fail_with_secret,
        "Tell": stream_with_secret,
        "Hear": fail_with_secret,
        "Talk": stream_with_secret,
    }
    async with served(deployment, **methods) as (stub, _):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(stub, deployment.bearer("memory", "ann"))

    error = refused.value
    everything = (
        error.details(),
        error.debug_error_string(),
        *(error.trailing_metadata() or ()),
        *(error.initial_metadata() or ()),
    )
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert SECRET not in repr(everything)
    assert "RuntimeError" not in repr(everything)
    assert SECRET in caplog.text


async def test_server_serves_on_after_unexpected_exceptions(deployment: Deployment) -> None:
    who = deployment.bearer("memory", "ann")
    async with served(deployment, Say=fail_with_secret, Repeat=probe.echo) as (stub, _):
        for _ in range(20):
            await refusal(stub.Say(probe.text(), metadata=who))

        assert (await stub.Repeat(probe.text("x"), metadata=who)).text == "x"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0a\x02\xff\xfe", id="text-that-is-not-utf8"),
        pytest.param(b"\x0a\x7f", id="cut-off"),
        pytest.param(b"\xff\xff\xff\xff", id="garbage"),
        pytest.param(b"\x0b" * 200, id="groups-without-end"),
    ],
)
@pytest.mark.parametrize("method", ["Say", "Tell", "Hear", "Talk"])
async def test_bytes_that_are_no_message_are_the_callers_fault(
    deployment: Deployment, method: str, data: bytes
) -> None:
    who = deployment.bearer("memory", "ann")
    async with served(deployment, Say=probe.echo, Tell=tell_two, Hear=hear_all, Talk=talk_back) as (stub, channel):
        kind: Any = {
            "Say": channel.unary_unary,
            "Tell": channel.unary_stream,
            "Hear": channel.stream_unary,
            "Talk": channel.stream_stream,
        }[method]
        request: Any = data if method in {"Say", "Tell"} else iter([data])
        call = kind(probe.PREFIX + method)(request, metadata=who, timeout=CALL_S)
        told = await refusal(call if method in {"Say", "Hear"} else anext(aiter(call)))

        assert (told.code, told.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT")
        assert (await stub.Say(probe.text("on"), metadata=who)).text == "on"


async def test_metadata_of_almost_4_kib_passes(deployment: Deployment) -> None:
    who = deployment.bearer("memory", "ann")
    room = 3993 - sum(len(key) + len(value) for key, value in who)
    async with served(deployment, Say=probe.echo) as (stub, _):
        for _ in range(20):
            answer = await stub.Say(probe.text("x"), metadata=(*who, ("x-filler", "f" * room)), timeout=CALL_S)
            assert answer.text == "x"


async def test_metadata_beyond_grpcs_hard_limit_are_refused_and_the_server_serves_on(deployment: Deployment) -> None:
    who = deployment.bearer("memory", "ann")
    async with served(deployment, Say=probe.echo) as (stub, _):
        told = await refusal(stub.Say(probe.text(), metadata=(*who, ("x-filler", "f" * 20_000)), timeout=CALL_S))

        assert told.code == "RESOURCE_EXHAUSTED"
        assert (await stub.Say(probe.text("on"), metadata=who)).text == "on"


@pytest.mark.parametrize("letter", ["x", "\N{PILE OF POO}"], ids=["ascii", "four-bytes"])
async def test_longest_error_still_arrives_whole(deployment: Deployment, letter: str) -> None:
    long = letter * 4000
    error = InvalidInput(long, violations=[Violation(long, long)] * 50, memory_id=long)
    async with served(deployment, Say=raising(error)) as (stub, _):
        for _ in range(20):  # between gRPC's soft and hard limit it would be lost only now and then
            told = await refusal(stub.Say(probe.text(), metadata=deployment.bearer("memory", "ann"), timeout=CALL_S))

            assert (told.code, told.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT")
            assert len(told.fields) >= 1


async def test_message_beyond_4_mib_is_refused_and_the_server_serves_on(deployment: Deployment) -> None:
    who = deployment.bearer("memory", "ann")
    async with served(deployment, Say=probe.echo) as (stub, _):
        told = await refusal(stub.Say(probe.text("x" * (4 << 20)), metadata=who, timeout=CALL_S))

        assert told.code == "RESOURCE_EXHAUSTED"
        assert (await stub.Say(probe.text("on"), metadata=who)).text == "on"


async def test_compressed_message_is_measured_as_it_unfolds(deployment: Deployment) -> None:
    who = deployment.bearer("memory", "ann")
    async with served(deployment, Say=probe.echo) as (stub, _):
        bomb = stub.Say(probe.text("x" * (64 << 20)), metadata=who, timeout=CALL_S, compression=grpc.Compression.Gzip)

        assert (await refusal(bomb)).code == "RESOURCE_EXHAUSTED"
        assert (await stub.Say(probe.text("on"), metadata=who)).text == "on"


def starting(deployment: Deployment, **changes: str) -> Any:
    def build(_mesh: object) -> Service:
        return probe.service()

    return deployment.serving("memory", build, **changes)


async def test_taken_port_is_named(deployment: Deployment) -> None:
    port = deployment.settings().port("memory")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what ran here before lingers
        other.bind(("127.0.0.1", port))
        other.listen()

        with pytest.raises(PortTaken, match=str(port)) as refused:
            await starting(deployment).__aenter__()

    assert refused.value.context == {"port": str(port)}
    assert "MEMORYBOX_PORT_BASE" in refused.value.message


async def test_second_server_on_one_port_is_refused(deployment: Deployment) -> None:
    async with starting(deployment):
        with pytest.raises(PortTaken):
            await starting(deployment).__aenter__()


async def test_server_on_an_ipv6_address_is_reached(deployment: Deployment) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    async with (
        deployment.serving("memory", lambda _: probe.service(Say=probe.echo), MEMORYBOX_BIND="::1") as running,
        plain_channel(f"[::1]:{running.mesh.settings.port('memory')}") as channel,
    ):
        answer = await probe.stub(channel).Say(
            probe.text("six"), metadata=deployment.bearer("memory", "ann"), timeout=CALL_S
        )

    assert answer.text == "six"
