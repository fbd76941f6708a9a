"""The end of a service's process."""

import asyncio
import gc

import pytest

from services.cli.serve import run_to_end


async def _note(events: list[str]) -> None:
    await asyncio.sleep(0)
    events.append("served")


def test_process_looks_for_no_garbage_once_its_service_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(gc, "freeze", lambda: events.append("frozen"))

    run_to_end(_note(events))

    assert events == ["served", "frozen"]
