"""Errors as google.rpc.Status and back: nothing a caller needs is lost, and nothing grows beyond what trailers hold."""

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.mesh import errors
from services.mesh.errors import BackendUnavailable, InvalidInput, MemoryBoxError, NotFound, Violation
from services.mesh.status import from_rpc_error, to_status

FAMILIES = [
    cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, MemoryBoxError) and cls is not MemoryBoxError
]
# Binary metadata grow by a third on the wire and the message by up to three times; gRPC's soft limit for all of it is 8 KiB.
MOST_STATUS_BYTES = 4096
MOST_MESSAGE_BYTES = 512


class TeapotMissing(NotFound):
    """An error of a service that the mesh knows nothing of."""

    reason = "TEAPOT_MISSING"


def received(status: status_pb2.Status) -> grpc.aio.AioRpcError:
    """Return *status* as a client gets it."""
    sent = rpc_status.to_status(status)
    trailing = grpc.aio.Metadata(*sent.trailing_metadata)
    return grpc.aio.AioRpcError(sent.code, grpc.aio.Metadata(), trailing, sent.details)


def detail(status: status_pb2.Status, message: Message) -> bool:
    return any(item.Unpack(message) for item in status.details)


@pytest.mark.parametrize("cls", FAMILIES, ids=lambda cls: cls.__name__)
def test_every_error_comes_back_as_its_own_class_with_all_it_said(cls: type[MemoryBoxError]) -> None:
    error = cls(
        "tea \N{HOT BEVERAGE}", violations=[Violation("memory.tags[2]", "too hot")], retry_after_s=1.25, memory_id="m1"
    )

    back = from_rpc_error(received(to_status(error)))

    assert type(back) is cls
    assert (back.message, back.reason, back.context) == ("tea \N{HOT BEVERAGE}", cls.reason, {"memory_id": "m1"})
    assert back.violations == (Violation("memory.tags[2]", "too hot"),)
    assert back.retry_after_s == 1.25


def test_status_has_code_reason_domain_violations_and_retry_advice() -> None:
    error = InvalidInput("wrong", violations=[Violation("a", "b"), Violation("c", "d")], retry_after_s=0.5, key="value")

    status = to_status(error)

    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    assert (status.code, status.message) == (code_pb2.INVALID_ARGUMENT, "wrong")
    assert detail(status, info)
    assert (info.reason, info.domain, dict(info.metadata)) == ("INVALID_INPUT", "memorybox", {"key": "value"})
    assert detail(status, bad)
    assert [(item.field, item.description) for item in bad.field_violations] == [("a", "b"), ("c", "d")]
    assert detail(status, retry)
    assert retry.retry_delay.ToMilliseconds() == 500


def test_what_was_not_said_is_not_sent() -> None:
    status = to_status(NotFound("gone"))

    assert [item.TypeName() for item in status.details] == ["google.rpc.ErrorInfo"]


def test_reason_of_a_service_travels_without_its_class() -> None:
    back = from_rpc_error(received(to_status(TeapotMissing("no teapot"))))

    assert type(back) is NotFound
    assert back.reason == "TEAPOT_MISSING"


def test_status_of_a_stranger_becomes_the_error_of_its_code() -> None:
    bare = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "socket closed")

    back = from_rpc_error(bare)

    assert type(back) is BackendUnavailable
    assert (back.message, back.reason, back.retry_after_s) == ("socket closed", "BACKEND_UNAVAILABLE", None)


@pytest.mark.parametrize("code", ["CANCELLED", "UNKNOWN", "INTERNAL", "OUT_OF_RANGE"])
def test_code_that_no_error_of_ours_has_becomes_internal(code: str) -> None:
    bare = grpc.aio.AioRpcError(grpc.StatusCode[code], grpc.aio.Metadata(), grpc.aio.Metadata(), None)

    back = from_rpc_error(bare)

    assert (type(back), back.code, back.message) == (MemoryBoxError, "INTERNAL", code)


def test_details_that_are_no_status_do_not_hide_the_error() -> None:
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff\xff"))
    odd = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), trailing, "gone")

    assert type(from_rpc_error(odd)) is NotFound


@pytest.mark.parametrize("letter", ["x", "\N{PILE OF POO}"], ids=["ascii", "four-bytes"])
def test_long_error_is_cut_to_what_trailers_hold(letter: str) -> None:
    long = letter * 10_000
    error = InvalidInput(long, violations=[Violation(long, long)] * 100, memory_id=long, other=long)

    status = to_status(error)

    assert status.ByteSize() <= MOST_STATUS_BYTES
    assert len(status.message.encode()) <= MOST_MESSAGE_BYTES
    bad = error_details_pb2.BadRequest()
    assert detail(status, bad)
    assert len(bad.field_violations) >= 1
    assert letter in bad.field_violations[0].description


def test_twenty_short_violations_are_all_told() -> None:
    error = InvalidInput("wrong", violations=[Violation(f"memory.tags[{i}]", "must not be empty") for i in range(20)])

    bad = error_details_pb2.BadRequest()

    assert detail(to_status(error), bad)
    assert len(bad.field_violations) == 20
