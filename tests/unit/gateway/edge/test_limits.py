import asyncio

import pytest
from multidict import CIMultiDict

from services.gateway.edge.headers import secure
from services.gateway.edge.limits import InFlight
from services.gateway.edge.refusals import reason_of
from services.gateway.transcoder import HttpError


async def test_in_flight_refuses_beyond_its_limit_and_recovers() -> None:
    in_flight = InFlight(2)

    with in_flight.one(), in_flight.one(), pytest.raises(HttpError) as refused, in_flight.one():
        pass
    with in_flight.one():
        assert in_flight.count == 1

    assert refused.value.http_status == 503
    assert refused.value.response().headers["Retry-After"] == "1"
    assert reason_of(refused.value) == "OVERLOADED"
    assert in_flight.count == 0


async def test_in_flight_tells_when_all_are_done() -> None:
    in_flight = InFlight(1)
    await in_flight.all_done()

    with in_flight.one():
        waiting = asyncio.ensure_future(in_flight.all_done())
        await asyncio.sleep(0)
        assert not waiting.done()

    await waiting


async def test_place_is_given_back_when_a_request_fails() -> None:
    in_flight = InFlight(1)

    with pytest.raises(ValueError, match="x"), in_flight.one():
        raise ValueError("x")

    assert in_flight.count == 0


def test_routes_may_say_caching_and_content_policy_themselves() -> None:
    headers = CIMultiDict({"Cache-Control": "max-age=1", "Server": "Python", "X-Content-Type-Options": "x"})

    secure(headers)

    assert headers["Cache-Control"] == "max-age=1"
    assert headers.getall("Server") == ["gateway"]
    assert headers.getall("X-Content-Type-Options") == ["nosniff"]
