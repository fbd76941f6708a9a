"""Calls that go on to further services: identity, deadline, cancellation and retries across hops."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from services.mesh.caller import Caller
from services.mesh.channels import GatewayCredentials, service_config
from services.mesh.errors import BackendUnavailable, DeadlineExceeded
from services.mesh.identity import ACTING, SUBJECT_HEADER
from services.mesh.interceptors import caller
from services.mesh.server import Mesh, Service
from services.mesh.status import from_rpc_error
from tests.support import probe
from tests.support.clients import CALL_S, Deployment, eventually, plain_channel, refusal
from tests.support.mesh import free_ports

SAY = probe.PREFIX.lstrip("/") + "Say"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(tmp_path_factory.mktemp("deployment"), probe.KEYS)


class Chain:
    """memory calls embedding, which calls analyst; the last does what the test says and all note what they see."""

    def __init__(self, deployment: Deployment, **last: Any) -> None:
        self.deployment = deployment
        self.last = last
        self.callers: list[Caller] = []
        self.remaining: list[float | None] = []
        self.subjects: list[str | bytes | None] = []
        self.cancelled: list[str] = []

    def note(self, context: Any) -> None:
        self.callers.append(caller(context))
        self.remaining.append(context.time_remaining())
        self.subjects.append(dict(context.invocation_metadata()).get(SUBJECT_HEADER))

    def passing_on(self, name: str, following: str) -> Any:
        """Return the builder of a service that asks the *following* one."""

        def build(mesh: Mesh) -> Service:
            stub = probe.stub(mesh.channel(following))

            async def say(_self: object, request: Any, context: Any) -> Any:
                self.note(context)
                try:
                    return await stub.Say(request)
                except asyncio.CancelledError:
                    self.cancelled.append(name)
                    raise
                except grpc.aio.AioRpcError as error:
                    raise from_rpc_error(error) from error

            async def tell(_self: object, request: Any, context: Any) -> AsyncIterator[Any]:
                self.note(context)
                try:
                    async for message in stub.Tell(request):
                        yield message
                except asyncio.CancelledError:
                    self.cancelled.append(name)
                    raise

            return probe.service(Say=say, Tell=tell)

        return build

    def ending(self, _mesh: Mesh) -> Service:
        """Build the last service."""

        async def say(_self: object, request: Any, context: Any) -> Any:
            self.note(context)
            try:
                return await self.last["Say"](request)
            except asyncio.CancelledError:
                self.cancelled.append("analyst")
                raise

        async def tell(_self: object, _request: Any, context: Any) -> AsyncIterator[Any]:
            self.note(context)
            try:
                while True:
                    yield probe.text("more")
                    await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                self.cancelled.append("analyst")
                raise

        return probe.service(Say=say, Tell=tell)

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[Any]:
        """Serve all three and yield the gateway's stub of the first."""
        async with (
            self.deployment.serving("memory", self.passing_on("memory", "embedding")),
            self.deployment.serving("embedding", self.passing_on("embedding", "analyst")),
            self.deployment.serving("analyst", self.ending),
            self.deployment.channel("memory", credentials=GatewayCredentials) as channel,
        ):
            acting = ACTING.set(Caller("ann", frozenset({"NURSE"})))
            try:
                yield probe.stub(channel)
            finally:
                ACTING.reset(acting)


async def echo(request: Any) -> Any:
    return request


async def hang(_request: Any) -> Any:
    await asyncio.Event().wait()


async def test_every_hop_works_for_the_user_whom_the_gateway_named(deployment: Deployment) -> None:
    chain = Chain(deployment, Say=echo)
    async with chain.calling() as stub:
        assert (await stub.Say(probe.text("x"))).text == "x"

    assert [(who.user, who.roles) for who in chain.callers] == [("ann", frozenset({"NURSE"}))] * 3
    assert [who.client for who in chain.callers] == ["gateway", "memory", "embedding"]


async def test_subject_token_passes_unchanged_through_every_hop(deployment: Deployment) -> None:
    chain = Chain(deployment, Say=echo)
    async with chain.calling() as stub:
        await stub.Say(probe.text("x"))

    assert len(chain.subjects) == 3
    assert None not in chain.subjects
    assert len(set(chain.subjects)) == 1


async def test_two_users_calls_at_once_stay_apart(deployment: Deployment) -> None:
    seen: dict[str, str] = {}

    async def who(request: Any) -> Any:
        await asyncio.sleep(0.01)
        seen[request.text] = caller().user
        return request

    chain = Chain(deployment, Say=who)
    users = [f"user-{number}" for number in range(20)]
    async with chain.calling() as stub:

        async def as_user(user: str) -> None:
            ACTING.set(Caller(user))
            await stub.Say(probe.text(user))

        await asyncio.gather(*(asyncio.create_task(as_user(user)) for user in users))

    assert seen == {user: user for user in users}


async def test_service_without_a_subject_acts_as_itself(deployment: Deployment) -> None:
    chain = Chain(deployment, Say=echo)
    async with (
        deployment.serving("analyst", chain.ending),
        deployment.channel("analyst", "memory") as channel,
    ):
        await probe.stub(channel).Say(probe.text("x"))

    assert [who.user for who in chain.callers] == ["service:memory"]
    assert chain.subjects == [None]


async def test_deadline_shrinks_with_every_hop(deployment: Deployment) -> None:
    chain = Chain(deployment, Say=echo)
    async with chain.calling() as stub:
        await stub.Say(probe.text("x"), timeout=5.0)

    first, second, third = (left for left in chain.remaining if left is not None)
    assert 5.0 >= first > second > third > 3.0


async def test_call_without_a_deadline_gets_one(deployment: Deployment) -> None:
    chain = Chain(deployment, Say=echo)
    async with (
        deployment.serving("analyst", chain.ending),
        deployment.channel("analyst", "memory") as channel,
    ):
        await probe.stub(channel).Say(probe.text("x"))

    (remaining,) = chain.remaining
    assert remaining is not None
    assert 25.0 < remaining <= 30.0


async def test_deadline_ends_the_work_at_every_depth(deployment: Deployment) -> None:
    chain = Chain(deployment, Say=hang)
    async with chain.calling() as stub:
        told = await refusal(stub.Say(probe.text("x"), timeout=0.3))
        await eventually(lambda: "analyst" in chain.cancelled, "the last hop is cancelled")

    assert told.code == "DEADLINE_EXCEEDED"


async def test_no_hop_is_begun_when_the_deadline_leaves_no_time_for_it(deployment: Deployment) -> None:
    reached: list[str] = []

    def build(mesh: Mesh) -> Service:
        stub = probe.stub(mesh.channel("analyst"))

        async def say(_self: object, request: Any, context: Any) -> Any:
            while (context.time_remaining() or 0.0) > 0.008:
                await asyncio.sleep(0.001)
            try:
                return await stub.Say(request)
            except DeadlineExceeded:
                reached.append("refused")
                raise

        return probe.service(Say=say)

    chain = Chain(deployment, Say=echo)
    async with (
        deployment.serving("memory", build) as running,
        deployment.serving("analyst", chain.ending),
        plain_channel(running.target) as channel,
    ):
        call = probe.stub(channel).Say(probe.text("x"), timeout=0.2, metadata=deployment.bearer("memory", "ann"))
        told = await refusal(call)

    assert told.code == "DEADLINE_EXCEEDED"
    assert reached in (["refused"], [])  # the cancellation may come first
    assert chain.callers == []


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, 0.0001], ids=["zero", "past", "a-tenth-of-a-millisecond"])
async def test_expired_deadline_reaches_no_handler_and_the_server_serves_on(
    deployment: Deployment, timeout_s: float
) -> None:
    chain = Chain(deployment, Say=echo)
    who = deployment.bearer("analyst", "ann")
    async with deployment.serving("analyst", chain.ending) as running, plain_channel(running.target) as channel:
        stub = probe.stub(channel)
        await stub.Say(probe.text("warm"), metadata=who, timeout=CALL_S)
        told = await refusal(stub.Say(probe.text("x"), metadata=who, timeout=timeout_s))

        assert told.code == "DEADLINE_EXCEEDED"
        assert (await stub.Say(probe.text("on"), metadata=who, timeout=CALL_S)).text == "on"
    assert len(chain.callers) == 2


async def test_cancelling_reaches_every_depth(deployment: Deployment) -> None:
    chain = Chain(deployment, Say=hang)
    async with chain.calling() as stub:
        call = stub.Say(probe.text("x"))
        await eventually(lambda: len(chain.callers) == 3, "the call reaches the last hop")

        call.cancel()

        await eventually(lambda: len(chain.cancelled) == 3, "every hop is cancelled")
    assert set(chain.cancelled) == {"memory", "embedding", "analyst"}


async def test_cancelling_the_task_that_waits_reaches_every_depth(deployment: Deployment) -> None:
    chain = Chain(deployment, Say=hang)
    async with chain.calling() as stub:

        async def wait() -> None:
            await stub.Say(probe.text("x"))

        task = asyncio.create_task(wait())
        await eventually(lambda: len(chain.callers) == 3, "the call reaches the last hop")

        task.cancel()

        await eventually(lambda: len(chain.cancelled) == 3, "every hop is cancelled")


async def test_leaving_a_stream_reaches_every_depth(deployment: Deployment) -> None:
    chain = Chain(deployment)
    async with chain.calling() as stub:
        call = stub.Tell(probe.text("x"))
        async for _ in call:
            break

        call.cancel()

        await eventually(lambda: len(chain.cancelled) == 3, "every hop is cancelled")


async def test_error_of_the_last_hop_comes_back_through_all_with_its_advice(deployment: Deployment) -> None:
    async def full(_request: Any) -> Any:
        raise BackendUnavailable("the warehouse sleeps", retry_after_s=3.0, warehouse="W")

    chain = Chain(deployment, Say=full)
    async with chain.calling() as stub:
        told = await refusal(stub.Say(probe.text("x")))

    assert (told.code, told.message, told.reason) == ("UNAVAILABLE", "the warehouse sleeps", "BACKEND_UNAVAILABLE")
    assert (told.context, told.retry_s) == ({"warehouse": "W"}, 3.0)


async def attempts(
    deployment: Deployment, retryable: tuple[str, ...], code: grpc.StatusCode, good_after: int
) -> list[str]:
    """Return the tries of one call that fails with *code* until it has been tried *good_after* times, and its end."""
    seen: list[str] = []

    async def say(_self: object, request: Any, context: Any) -> Any:
        seen.append(dict(context.invocation_metadata()).get("grpc-previous-rpc-attempts", "0"))
        if len(seen) <= good_after:
            await context.abort(code, "not now")
        return request

    async with (
        deployment.serving("analyst", lambda _: probe.service(Say=say)),
        deployment.channel("analyst", "memory", retryable=retryable) as channel,
    ):
        try:
            await probe.stub(channel).Say(probe.text("x"), timeout=CALL_S)
            seen.append("OK")
        except grpc.aio.AioRpcError as error:
            seen.append(error.code().name)
    return seen


async def test_unavailable_is_retried_for_listed_methods_until_it_works(deployment: Deployment) -> None:
    assert await attempts(deployment, (SAY,), grpc.StatusCode.UNAVAILABLE, 2) == ["0", "1", "2", "OK"]


async def test_retries_end_after_three_tries(deployment: Deployment) -> None:
    assert await attempts(deployment, (SAY,), grpc.StatusCode.UNAVAILABLE, 9) == ["0", "1", "2", "UNAVAILABLE"]


@pytest.mark.parametrize("retryable", [(), (SAY.replace("Say", "Repeat"),)], ids=["none-listed", "other-listed"])
async def test_method_that_is_not_listed_is_tried_once(deployment: Deployment, retryable: tuple[str, ...]) -> None:
    assert await attempts(deployment, retryable, grpc.StatusCode.UNAVAILABLE, 1) == ["0", "UNAVAILABLE"]


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "INTERNAL", "ABORTED", "DEADLINE_EXCEEDED"])
async def test_other_failures_are_not_retried(deployment: Deployment, code: str) -> None:
    assert await attempts(deployment, (SAY,), grpc.StatusCode[code], 1) == ["0", code]


async def test_no_retry_hangs_at_the_back_off_we_chose(deployment: Deployment) -> None:
    """At a first back-off of 1 ms half of such calls used to hang until their deadline."""

    async def say(_self: object, _request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    async with (
        deployment.serving("analyst", lambda _: probe.service(Say=say)),
        deployment.channel("analyst", "memory", retryable=(SAY,)) as channel,
    ):
        stub = probe.stub(channel)
        told = [await refusal(stub.Say(probe.text(), timeout=5.0)) for _ in range(5)]
        told += await asyncio.gather(*(refusal(stub.Say(probe.text(), timeout=5.0)) for _ in range(60)))

    assert {one.code for one in told} == {"UNAVAILABLE"}


async def test_dead_target_fails_at_once_as_unavailable(deployment: Deployment) -> None:
    async with deployment.channel("analyst", "memory") as channel:
        told = await refusal(probe.stub(channel).Say(probe.text(), timeout=CALL_S))

    assert told.code == "UNAVAILABLE"


async def test_service_config_is_one_that_grpc_takes(deployment: Deployment) -> None:
    config = json.loads(service_config((SAY,)))

    assert config["methodConfig"][0]["name"] == [{"service": "probe.v1.ProbeService", "method": "Say"}]
    async with (
        deployment.serving("analyst", lambda _: probe.service(Say=probe.echo)),
        deployment.channel("analyst", "memory", retryable=(SAY, SAY.replace("Say", "Tell"))) as channel,
    ):
        assert (await probe.stub(channel).Say(probe.text("x"), timeout=CALL_S)).text == "x"


async def test_calls_are_spread_over_every_address(deployment: Deployment) -> None:
    seen: set[int] = set()

    def building(number: int) -> Any:
        async def say(_self: object, request: Any, _context: Any) -> Any:
            seen.add(number)
            return request

        return lambda _mesh: probe.service(Say=say)

    bases = [free_ports((2,)), 0]
    async with deployment.serving("analyst", building(0), MEMORYBOX_PORT_BASE=str(bases[0])) as one:
        bases[1] = free_ports((2,))
        async with deployment.serving("analyst", building(1), MEMORYBOX_PORT_BASE=str(bases[1])) as two:
            target = f"ipv4:{one.target},{two.target}"
            async with deployment.channel("analyst", "memory", MEMORYBOX_ANALYST_TARGET=target) as channel:
                stub = probe.stub(channel)
                deadline = time.monotonic() + CALL_S
                while len(seen) < 2 and time.monotonic() < deadline:
                    await stub.Say(probe.text("x"), timeout=CALL_S)

    assert seen == {0, 1}


async def test_connection_of_its_age_is_replaced_without_a_failed_call(deployment: Deployment) -> None:
    peers: set[str] = set()

    async def say(_self: object, request: Any, context: Any) -> Any:
        peers.add(context.peer())
        return request

    build = lambda _mesh: probe.service(Say=say)  # noqa: E731
    async with (
        deployment.serving("analyst", build, MEMORYBOX_CONNECTION_AGE="1"),
        deployment.channel("analyst", "memory") as channel,
    ):
        stub = probe.stub(channel)
        deadline = time.monotonic() + CALL_S
        while len(peers) < 2 and time.monotonic() < deadline:
            await stub.Say(probe.text("x"), timeout=CALL_S)
            await asyncio.sleep(0.01)

    assert len(peers) >= 2
