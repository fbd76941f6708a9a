"""How long fuzzing goes on: a bounded number of examples in CI, more by `make fuzz`, which sets FUZZ_FACTOR."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings

T = TypeVar("T", bound=Callable[..., Any])


def examples(number: int) -> Callable[[T], T]:
    """Run a test on *number* examples, times the factor."""
    slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(
        max_examples=number * int(os.environ.get("FUZZ_FACTOR", "1")), deadline=None, suppress_health_check=slow
    )
