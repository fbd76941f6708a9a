import re
from pathlib import Path

import pytest

from services.gateway.app import READS, memorybox_transcoder
from services.gateway.edge.rates import DEFAULTS, Buckets, Limit, Rates, classes, lay_out, limits
from services.gateway.settings import GatewaySettings
from services.mesh.config import load

FIVE = Limit("read", 10.0, 5)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buckets(clock: Clock) -> Buckets:
    return Buckets.private(clock)


def test_burst_goes_through_and_then_the_rate(buckets: Buckets, clock: Clock) -> None:
    burst = [buckets.take(FIVE, "ann") for _ in range(6)]
    clock.now += 0.1
    later = [buckets.take(FIVE, "ann").wait_s for _ in range(2)]

    assert [standing.remaining for standing in burst] == [4, 3, 2, 1, 0, 0]
    assert [standing.wait_s > 0 for standing in burst] == [False] * 5 + [True]
    assert burst[5].wait_s == pytest.approx(0.1)
    assert later == [0, pytest.approx(0.1)]


def test_refused_calls_take_nothing(buckets: Buckets, clock: Clock) -> None:
    for _ in range(100):
        buckets.take(FIVE, "ann")
    clock.now += FIVE.window_s

    assert [buckets.take(FIVE, "ann").wait_s for _ in range(5)] == [0] * 5


def test_callers_and_classes_have_buckets_of_their_own(buckets: Buckets) -> None:
    one = Limit("write", 1.0, 1)
    for who in ("ann", "bob"):
        assert not buckets.take(one, who).wait_s
    other = Limit("read", 1.0, 1)

    assert buckets.take(one, "ann").wait_s
    assert not buckets.take(other, "ann").wait_s


def test_standing_is_told_as_structured_fields(buckets: Buckets) -> None:
    headers = dict(buckets.take(Limit("search", 20.0, 60), "ann").headers())

    assert headers == {"RateLimit-Policy": '"search";q=60;w=3', "RateLimit": '"search";r=59;t=1'}


def test_many_callers_take_no_more_memory_and_active_ones_stay_limited(clock: Clock) -> None:
    buckets = Buckets.private(clock)
    one = Limit("read", 0.001, 1)
    for number in range(20_000):
        buckets.take(one, f"user-{number}")

    refused = sum(bool(buckets.take(one, f"user-{number}").wait_s) for number in range(20_000))

    assert refused > 19_000


def test_processes_share_one_table(tmp_path: Path) -> None:
    lay_out(tmp_path / "rates")
    one, other = Buckets.shared(tmp_path / "rates"), Buckets.shared(tmp_path / "rates")
    slow = Limit("read", 0.001, 2)

    waits = [buckets.take(slow, "ann").wait_s for buckets in (one, other, one)]

    assert [bool(wait) for wait in waits] == [False, False, True]


def test_addresses_of_one_ipv6_network_are_one_caller(buckets: Buckets) -> None:
    rates = Rates(limits("ip=1/h:1"), buckets)

    standings = [rates.take_address(address) for address in ("2001:db8::1", "2001:db8::2", "2001:db8:1::1", "10.0.0.1")]

    assert [bool(standing and standing.wait_s) for standing in standings] == [False, True, False, False]


@pytest.mark.parametrize("text", ["read", "read=0/s", "read=1/d", "all=1/s", "read=1/s,read=2/s", "", "read=1/s:0"])
def test_malformed_limits_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="read=100/s:200"):
        limits(text)


def test_limits_are_read_by_unit() -> None:
    assert limits("write=30/m:10, search=5/s") == {"write": Limit("write", 0.5, 10), "search": Limit("search", 5.0, 5)}
    assert limits("off") == {}
    assert set(DEFAULTS) == {"read", "write", "search", "stream"}


def test_methods_fall_into_their_classes() -> None:
    found = classes(memorybox_transcoder(load(GatewaySettings, {})).bindings, READS)

    by_name = {re.sub(r".*/", "", path): name for path, name in found.items()}
    assert by_name["SearchMemories"] == by_name["BatchSearchMemories"] == "search"
    assert by_name["GetMemory"] == by_name["BatchGetMemories"] == by_name["CountMemories"] == "read"
    assert by_name["CreateMemory"] == by_name["DeleteMemory"] == "write"
    assert by_name["WatchMemories"] == by_name["ImportMemories"] == "stream"
