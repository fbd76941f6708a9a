"""The one place that builds error answers, rules T-260 to T-274."""

import json
from typing import Any

import pytest
from aiohttp import web
from google.protobuf import duration_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2, status_pb2

from services.gateway.transcoder import HttpError, Options, bad_request, error_response, from_aiohttp, refusal
from services.gateway.transcoder.codec import JsonCodec


def body(response: web.Response) -> Any:
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def test_code_and_message_are_always_there() -> None:
    assert body(error_response(status_pb2.Status(code=5))) == {"code": 5, "message": ""}
    assert error_response(status_pb2.Status(code=99)).status == 500


def test_details_are_there_also_when_empty_if_so_set() -> None:
    codec = JsonCodec(DescriptorPool(), Options(emit_empty_details=True))

    assert body(error_response(status_pb2.Status(code=5), codec=codec)) == {"code": 5, "message": "", "details": []}


def test_violations_are_named_and_limited() -> None:
    many = [(f"f{index}", "is wrong") for index in range(30)]

    shown = body(bad_request(many).response())

    assert len(shown["details"][0]["fieldViolations"]) == 20
    assert shown["details"][0]["fieldViolations"][0] == {"field": "f0", "description": "is wrong"}
    assert shown["message"].startswith("f0: is wrong; f1: is wrong")


def test_bodies_stay_below_their_limit_by_dropping_details() -> None:
    status = status_pb2.Status(code=3, message="\u20ac" * 100_000)
    for _ in range(10):
        status.details.add().Pack(error_details_pb2.DebugInfo(detail="x" * 10_000))

    response = error_response(status)

    assert isinstance(response.body, bytes)
    assert len(response.body) <= 64 * 1024
    assert body(response)["code"] == 3


@pytest.mark.parametrize(
    ("code", "delay", "expected"),
    [(14, (0, 0), "1"), (14, (2, 1), "3"), (8, (5, 0), "5"), (10, (5, 0), None), (14, None, None)],
)
def test_retry_after_is_whole_seconds_of_retry_info(code: int, delay: Any, expected: str | None) -> None:
    status = status_pb2.Status(code=code)
    if delay is not None:
        wait = duration_pb2.Duration(seconds=delay[0], nanos=delay[1])
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=wait))

    assert error_response(status).headers.get("Retry-After") == expected


def test_broken_details_are_shown_as_base64() -> None:
    status = status_pb2.Status(code=3)
    status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff")
    status.details.add(type_url="", value=b"\x01")

    assert body(error_response(status))["details"] == [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "value": "/w=="},
        {"@type": "", "value": "AQ=="},
    ]


def test_headers_that_would_split_the_answer_are_dropped() -> None:
    response = refusal(16, "who?", headers=[("X-A", "a\r\nb: c"), ("X-B", "b")]).response()

    assert "X-A" not in response.headers
    assert response.headers["X-B"] == "b"
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_challenge_of_the_caller_is_kept() -> None:
    challenge = 'Bearer error="invalid_token"'

    response = refusal(16, "who?", headers=[("WWW-Authenticate", challenge)]).response()

    assert response.headers.getall("WWW-Authenticate") == [challenge]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (web.HTTPNotFound(), 404, 5),
        (web.HTTPRequestEntityTooLarge(10, 20), 413, 8),
        (web.HTTPExpectationFailed(), 417, 3),
        (web.HTTPBadGateway(), 502, 14),
        (web.HTTPInsufficientStorage(), 507, 2),
        (web.HTTPGone(), 410, 3),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, web.HTTPException) else str(value),
)
def test_errors_of_aiohttp_become_status_json(error: web.HTTPException, status: int, code: int) -> None:
    response = from_aiohttp(error).response()

    assert response.status == status
    assert body(response)["code"] == code


def test_errors_of_aiohttp_keep_the_headers_that_callers_need() -> None:
    response = from_aiohttp(web.HTTPMethodNotAllowed("PUT", ["GET"])).response()

    assert response.headers["Allow"] == "GET"
    assert from_aiohttp(web.HTTPFound("/x")).response().headers["Location"] == "/x"


def test_errors_carry_their_status() -> None:
    error = HttpError(status_pb2.Status(code=10, message="stale"), http_status=412)

    assert (error.http_status, error.status.code, str(error)) == (412, 10, "10: stale")
