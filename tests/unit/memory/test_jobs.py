"""How a job says how far it is, rests, and stops."""

import time
from collections.abc import Iterator

import pytest

from services.memory.domain import jobs
from services.memory.domain.jobs import LONGEST_REST_S, JobStopped, Meter


class Clock:
    """Shows the times it is given, in s."""

    def __init__(self, *times: float) -> None:
        self._times: Iterator[float] = iter(times)

    def perf_counter(self) -> float:
        """Return the next time."""
        return next(self._times)


@pytest.mark.parametrize(
    ("worked_s", "rest", "least_s"), [(0.02, 1.0, 0.02), (0.02, 2.0, 0.04), (3600, 1.0, LONGEST_REST_S)]
)
def test_job_rests_at_each_step_for_its_part_of_the_time_it_worked(
    monkeypatch: pytest.MonkeyPatch, worked_s: float, rest: float, least_s: float
) -> None:
    monkeypatch.setattr(jobs, "time", Clock(0.0, worked_s, worked_s))
    meter = Meter(rest)

    begun = time.perf_counter()
    meter.advance(3)

    assert time.perf_counter() - begun >= least_s
    assert meter.done == 3


def test_job_that_does_not_rest_asks_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "time", Clock(0.0))

    Meter().advance()


@pytest.mark.parametrize("rest", [0.0, 1.0])
def test_job_that_is_told_to_stop_stops_at_its_next_step(rest: float) -> None:
    meter = Meter(rest)
    meter.advance()
    meter.stop()

    with pytest.raises(JobStopped):
        meter.advance()
    assert meter.done == 2
