"""The conformance suite before our gateway, as a stranger starts it; and before Envoy, so that the suite itself is held to another gateway."""

import pytest

from tests.conformance.cases import Case, load
from tests.conformance.gateways import Envoy, MemoryBox, Unavailable
from tests.conformance.runner import FAILED, PASSED, run

# Of the cases that Envoy passed when the page was written; fewer would be a fault of the suite or its configuration.
ENVOY_PASSES = 650


def all_cases() -> list[Case]:
    return [case for chapter in load() for case in chapter.cases]


def test_suite_has_hundreds_of_cases_in_every_chapter() -> None:
    counts = {chapter.letter: len(chapter.cases) for chapter in load()}

    assert sum(counts.values()) >= 1000
    assert min(counts.values()) >= 8


async def test_gateway_keeps_every_rule_of_the_suite() -> None:
    results = await run(MemoryBox(), all_cases())

    assert [f"{result.case.name}: {result.text}" for result in results if result.outcome != PASSED] == []


@pytest.mark.slow
async def test_suite_runs_before_envoy_too() -> None:
    try:
        Envoy.binary()
        results = await run(Envoy(), all_cases())
    except (Unavailable, OSError) as reason:
        pytest.skip(f"Envoy cannot run here: {reason}")

    assert sum(result.outcome == PASSED for result in results) >= ENVOY_PASSES
    assert any(result.outcome == FAILED for result in results)  # the suite can tell gateways apart
