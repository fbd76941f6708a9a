"""Sends memories in batches, several at once, and goes on through everything that passes: load, restarts, slow answers."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson

from services.cli.client import Reply, RequestRefused
from services.cli.documents import Fault, Item
from services.mesh.errors import BackendUnavailable

PATH = "/v1/memories:batchCreate"
BATCH_ITEMS = 50  # of 100 that the server takes: smaller batches end sooner and show progress
BATCH_BYTES = 256 * 1024  # an embedding service on two cores reads about this much text in ten seconds
AT_ONCE = 3  # enough to keep the embedding service busy while answers travel
ATTEMPTS = 8
LONGEST_WAIT_S = 20.0
SHOWN_FAULTS = 100
# google.rpc.Code of what may pass: DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, UNAVAILABLE.
_PASSING_CODES = frozenset({4, 8, 10, 14})
_PASSING_STATUSES = frozenset({408, 429, 502, 503, 504})
_HOPELESS_STATUSES = frozenset({401, 403, 404})

Post = Callable[[str, Mapping[str, Any]], Awaitable[Reply]]
Sleep = Callable[[float], Awaitable[None]]


class ImportInterrupted(BackendUnavailable):
    """The server stayed unavailable; what was sent is kept, the rest can be sent again."""

    reason = "IMPORT_INTERRUPTED"


@dataclass(slots=True)
class Counts:
    """What has become of the items so far."""

    imported: int = 0
    already_there: int = 0
    failed: int = 0
    skipped: int = 0
    faults: list[Fault] = field(default_factory=list)  # the first of those that failed or were skipped

    def add_fault(self, fault: Fault) -> None:
        """Count what could not be kept."""
        if fault.skipped:
            self.skipped += 1
        else:
            self.failed += 1
        if len(self.faults) < SHOWN_FAULTS:
            self.faults.append(fault)


@dataclass(frozen=True, slots=True)
class Batch:
    """Items that are sent together, and the faults that were met on the way to them."""

    items: list[Item]
    faults: list[Fault]


def batches(found: Iterable[Item | Fault]) -> Iterator[Batch]:
    """Yield *found* in batches that make good requests; the last may have faults only."""
    batch, size = Batch([], []), 0
    for item in found:
        if isinstance(item, Fault):
            batch.faults.append(item)
            continue
        item_size = len(orjson.dumps(item.memory))
        if batch.items and (len(batch.items) >= BATCH_ITEMS or size + item_size > BATCH_BYTES):
            yield batch
            batch, size = Batch([], []), 0
        batch.items.append(item)
        size += item_size
    yield batch


class Uploader:
    """Sends batches through *post* and counts. Safe to repeat: every item carries its request id."""

    def __init__(self, post: Post, counts: Counts, *, began_at: datetime, sleep: Sleep = asyncio.sleep) -> None:
        self.counts = counts
        self._post = post
        self._sleep = sleep
        self._began_at = began_at

    async def send_all(self, source: Iterator[Batch]) -> None:
        """Send everything that *source* yields; it is read in threads. Raises ``ImportInterrupted`` or ``RequestRefused``."""
        reading = asyncio.Lock()

        async def work() -> None:
            while True:
                async with reading:
                    batch = await asyncio.to_thread(next, source, None)
                if batch is None:
                    return
                for fault in batch.faults:
                    self.counts.add_fault(fault)
                if batch.items:
                    await self.send(batch.items)

        workers = [asyncio.create_task(work()) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def send(self, batch: Sequence[Item]) -> None:
        """Send one batch until every item is kept or refused."""
        for attempt in range(1, ATTEMPTS + 1):
            request = {"requests": [{"memory": item.memory, "requestId": item.request_id} for item in batch]}
            reply = await self._post(PATH, request)
            if reply.status in _HOPELESS_STATUSES:
                raise RequestRefused(f"{reply.message} (HTTP {reply.status})")
            if not reply.ok and self._is_better_halved(reply, batch):
                middle = len(batch) // 2
                await self.send(batch[:middle])
                await self.send(batch[middle:])
                return
            batch, why, advice_s = self._settle(batch, reply)
            if not batch:
                return
            if attempt < ATTEMPTS:
                await self._sleep(_wait_s(attempt, advice_s))
        raise ImportInterrupted(f"gave up after {ATTEMPTS} attempts: {why}")

    def _is_better_halved(self, reply: Reply, batch: Sequence[Item]) -> bool:
        """Say whether smaller batches show which item is wrong, or end in time."""
        wrong = reply.status not in _PASSING_STATUSES
        return len(batch) > 1 and (wrong or reply.status == HTTPStatus.GATEWAY_TIMEOUT)

    def _settle(self, batch: Sequence[Item], reply: Reply) -> tuple[Sequence[Item], str, float | None]:
        """Count what has been decided; return the items to send again, why, and the wait that the server advises."""
        if not reply.ok:
            if reply.status in _PASSING_STATUSES:
                return batch, reply.message, reply.retry_after_s
            for item in batch:
                self.counts.add_fault(Fault(item.origin, reply.message, skipped=False))
            return [], "", None
        results = reply.body.get("results", [])
        if len(results) != len(batch):
            raise RequestRefused(f"the server answered {len(results)} results to {len(batch)} memories")
        again, why, advice_s = [], "", None
        for item, result in zip(batch, results, strict=True):
            error = result.get("error")
            if error is None:
                self._count_kept(result.get("memory", {}))
            elif error.get("code") in _PASSING_CODES:
                again.append(item)
                why, advice_s = str(error.get("message", "")), _advice_s(error) or advice_s
            else:
                self.counts.add_fault(Fault(item.origin, str(error.get("message", "refused")), skipped=False))
        return again, why, advice_s

    def _count_kept(self, memory: Mapping[str, Any]) -> None:
        """Count a kept memory; one that was made before we began had been kept by an earlier run."""
        created_at = _time(memory.get("createdAt"))
        if created_at is not None and created_at < self._began_at:
            self.counts.already_there += 1
        else:
            self.counts.imported += 1


def _wait_s(attempt: int, advice_s: float | None) -> float:
    """Return the server's advice, or a doubling wait; both spread, so that workers do not come back in step."""
    base = advice_s if advice_s is not None else 0.5 * 2 ** (attempt - 1)
    return min(base, LONGEST_WAIT_S) * random.uniform(1.0, 1.3)  # noqa: S311


def _advice_s(error: Mapping[str, Any]) -> float | None:
    """Return what the RetryInfo of a google.rpc.Status advises, in seconds."""
    for detail in error.get("details", []):
        if str(detail.get("@type", "")).endswith("google.rpc.RetryInfo"):
            return float(str(detail.get("retryDelay", "0s")).removesuffix("s"))
    return None


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) and text else None
