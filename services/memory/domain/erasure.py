"""Erasing a person, or making what they kept anonymous, in every service; the result is a receipt that can be checked."""

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from services.memory.domain.audit import AUTHOR, Act, AuditLog, Entry, Touched
from services.memory.domain.audits import Roles
from services.memory.domain.memories import Clock, utc_now
from services.memory.domain.memory import Json
from services.memory.domain.operations import PASSING, Operation, Operations, Step
from services.memory.domain.subject_data import Counts, Progress, SubjectDataTarget, checked_owner
from services.mesh.caller import Caller
from services.mesh.errors import MemoryBoxError, PermissionDenied

ERASE, ANONYMIZE = "EraseOwner", "AnonymizeOwner"
METHOD = "memorybox.governance.v1.GovernanceService/"


class NotYours(PermissionDenied):
    """Only governors do this to someone else."""

    reason = "NOT_YOURSELF"


class Erasures:
    """The use cases: both start an operation."""

    def __init__(self, operations: Operations, roles: Roles) -> None:
        self._operations = operations
        self._roles = roles

    async def erase(self, caller: Caller, owner: str, request_id: str) -> Operation:
        """Begin to erase *owner*: oneself, or anyone for governors. Raises ``NotYours``."""
        if checked_owner(owner) != caller.user and not self._roles.is_governor(caller):
            raise NotYours("you may erase yourself; someone else only governors")
        return await self._operations.start(caller, ERASE, {"owner_user": owner}, request_id)

    async def anonymize(self, caller: Caller, owner: str, request_id: str) -> Operation:
        """Begin to make what *owner* kept anonymous. Raises ``NotYours``."""
        if not self._roles.is_governor(caller):
            raise NotYours("only governors make owners anonymous")
        return await self._operations.start(caller, ANONYMIZE, {"owner_user": checked_owner(owner)}, request_id)


class SubjectDataKind:
    """How both are done: one service after the other; one that is down is waited for, and none is left out."""

    def __init__(
        self,
        name: str,
        targets: Sequence[SubjectDataTarget],
        log: AuditLog,
        key: bytes,
        *,
        scrub: Callable[[], Awaitable[None]],
        clock: Clock = utc_now,
    ) -> None:
        """Take *scrub*, which removes the bytes of what was erased where operations are kept: these knew the name."""
        self._name = name
        self._scrub = scrub
        self._targets = {target.service: target for target in targets}
        self._log = log
        self._key = key
        self._clock = clock

    @property
    def name(self) -> str:
        """``EraseOwner`` or ``AnonymizeOwner``."""
        return self._name

    async def step(self, operation: Operation) -> Step:
        """Have the next service that answers do some of its part; when all are done, forget the name, then make out the receipt.

        What a service did while one before it was down it does again at the end: that one may have handed on audit events meanwhile,
        and with them the name.
        """
        cursor = operation.cursor or {}
        counts: dict[str, Json] = dict(cursor.get("counts", {}))
        if "subject" in cursor:
            return await self._conclude(operation, cursor["subject"], counts)
        owner: str = operation.request["owner_user"]
        finished, early = list(cursor.get("finished", ())), list(cursor.get("early", ()))
        if len(finished) == len(self._targets):
            if not early:
                return self._forget(owner, counts)
            finished, early = [service for service in finished if service not in early], []
        down: MemoryBoxError | None = None
        for service in (service for service in self._targets if service not in finished):
            try:
                progress = await self._work(self._targets[service], owner, operation.operation_id)
            except MemoryBoxError as error:
                if error.code not in PASSING:
                    raise
                down = down or error
                continue
            counts[service] = {**progress.counts, **_greater(counts.get(service, {}), progress.counts)}
            if progress.finished:
                finished.append(service)
                early += [service] if down else []
            return self._step(counts, finished, early)
        assert down is not None  # noqa: S101  # one is left, and it did not answer
        raise down

    async def _work(self, target: SubjectDataTarget, owner: str, operation_id: str) -> Progress:
        if self._name == ERASE:
            return await target.erase(owner, operation_id)
        return await target.anonymize(owner, operation_id)

    def _step(self, counts: dict[str, Json], finished: Sequence[str], early: Sequence[str] = ()) -> Step:
        return Step({"counts": counts, "finished": list(finished), "early": list(early)}, _total(counts))

    def _forget(self, owner: str, counts: dict[str, Json]) -> Step:
        subject = hmac.digest(self._key, orjson.dumps(["subject", owner]), hashlib.sha256).hex()
        return Step({"counts": counts, "subject": subject}, _total(counts), request={})

    async def _conclude(self, operation: Operation, subject: str, counts: dict[str, Json]) -> Step:
        await self._scrub()
        now = self._clock()
        digest = receipt_digest(operation.name, self._name, subject, counts, now)
        act = Act(AUTHOR, METHOD + self._name, now)
        marks = tuple(Touched(mark) for mark in receipt_marks(operation.name, digest))
        await self._log.append([Entry(act, "OK", marks)])
        receipt: Json = {
            "operation": operation.name,
            "action": self._name,
            "subject": subject,
            "services": [{"service": service, "counts": counts[service]} for service in sorted(counts)],
            "completed_at": now.isoformat(),
            "hash": base64.b64encode(digest).decode(),
        }
        return Step({"counts": counts}, _total(counts), result=receipt, request={})


def _total(counts: dict[str, Json]) -> int:
    """Return how many things all services have done."""
    return sum(sum(of_service.values()) for of_service in counts.values())


def _greater(known: Json, told: Counts) -> Json:
    """Return what was known where it is more: a service that does its part again may not tell of the first time."""
    return {kind: count for kind, count in known.items() if count > told.get(kind, 0)}


def receipt_digest(operation: str, action: str, subject: str, counts: Json, completed_at: datetime) -> bytes:
    """Return the SHA-256 of a receipt, from the one form that is made of its fields."""
    by_service = [[service, sorted(counts[service].items())] for service in sorted(counts)]
    fields = [operation, action, subject, by_service, _microseconds(completed_at)]
    return hashlib.sha256(orjson.dumps(fields)).digest()


def receipt_marks(operation: str, digest: bytes) -> tuple[str, ...]:
    """Return the resource ids of the event by which a receipt is known."""
    return operation, f"sha256:{digest.hex()}"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt as it came back from whoever keeps it."""

    operation: str
    action: str
    subject: str
    counts: Json  # of each service, by kind
    completed_at: datetime
    digest: bytes


async def is_genuine(receipt: Receipt, log: AuditLog) -> bool:
    """Say whether *receipt* is as it was made out: its digest fits, and the audit log knows it."""
    digest = receipt_digest(receipt.operation, receipt.action, receipt.subject, receipt.counts, receipt.completed_at)
    if digest != receipt.digest or receipt.action not in {ERASE, ANONYMIZE}:
        return False
    return await log.knows(METHOD + receipt.action, receipt_marks(receipt.operation, digest))


def _microseconds(time: datetime) -> int:
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
