"""The use cases of semantic models."""

import asyncio
import re
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from services.analyst.domain.allowing import allowed_tables
from services.analyst.domain.audit import touch
from services.analyst.domain.ports import KeptModel, LoadedModel, ModelStore
from services.analyst.domain.semantic_model import Finding, Parsed, SemanticModel, Severity, parse
from services.analyst.domain.semantic_model.validation import check_verified_queries
from services.analyst.domain.validating import located
from services.mesh.caller import Caller
from services.mesh.errors import Conflict, InvalidInput, NotFound, PermissionDenied, Violation

MAX_YAML_BYTES = 1 << 20
MAX_ROLES, MAX_ROLE = 64, 255
DEFAULT_PAGE, MAX_PAGE = 100, 1000
MAX_VIOLATIONS = 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LOADED = 64  # models kept ready
ACCESS_LEVELS = frozenset({"PRIVATE", "ROLE", "PUBLIC"})

Clock = Callable[[], datetime]
# Says what the data say against a model.
CheckData = Callable[[LoadedModel], Sequence[Finding]]


class SemanticModelNotFound(NotFound):
    """The caller may see no such semantic model."""

    reason = "SEMANTIC_MODEL_NOT_FOUND"


class SemanticModelInvalid(InvalidInput):
    """The YAML makes no semantic model; violations have the lines."""

    reason = "SEMANTIC_MODEL_INVALID"


class NotModelOwner(PermissionDenied):
    """The semantic model is another owner's."""

    reason = "NOT_MODEL_OWNER"


class ModelChanged(Conflict):
    """The semantic model has another version than the caller thinks."""

    reason = "MODEL_ETAG_MISMATCH"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller wants to keep. An empty *access_level* leaves it as it was."""

    name: str
    yaml: str
    owner_user: str = ""
    access_level: str = ""
    reader_roles: tuple[str, ...] = ()
    etag: str = ""


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class SemanticModels:
    """Keeps semantic models, and has them ready."""

    def __init__(self, store: ModelStore, check_against_data: CheckData, clock: Clock = utc_now) -> None:
        self._store = store
        self._check_against_data = check_against_data
        self._clock = clock
        self._loaded: OrderedDict[tuple[str, int], LoadedModel] = OrderedDict()

    async def load(self, caller: Caller, name: str, owner_user: str = "", version: int = 0) -> LoadedModel:
        """Return a model that *caller* may see, ready for questions. Raises ``SemanticModelNotFound``."""
        kept = await self._store.find(caller, name, owner_user, version)
        if kept is None:
            raise SemanticModelNotFound(f"there is no semantic model {name!r}", name=name)
        return await self._ready(kept)

    async def page(self, caller: Caller, after: tuple[str, str], limit: int) -> list[KeptModel]:
        """Return models by name and owner, without YAML."""
        return await self._store.page(caller, after, limit)

    async def put(self, caller: Caller, wanted: Wanted) -> LoadedModel:
        """Keep the next version, or a first one. Raises ``SemanticModelInvalid``, ``NotModelOwner``, ``ModelChanged``."""
        _check(wanted, caller)
        parsed = await asyncio.to_thread(parse, wanted.yaml)
        if parsed.model is None:
            raise _invalid(parsed)
        present = await self._store.find(caller, wanted.name, wanted.owner_user)
        if present is not None and present.owner_user != caller.user:
            raise NotModelOwner(
                f"{wanted.name!r} leads to a model of another owner; choose another name, or give owner_user to make one of your own"
            )
        _check_etag(present, wanted.etag)
        kept = self._next(caller, wanted, present, parsed.model)
        if present is None or kept != replace(present, updated_at=kept.updated_at, version=kept.version):
            await self._keep(kept)
        else:
            kept = present
        return await self._ready(kept)

    async def amend(self, model: LoadedModel, yaml: str) -> LoadedModel:
        """Keep *yaml* as the next version of *model*. Raises ``ModelChanged``."""
        kept = replace(model.kept, yaml=yaml, version=model.kept.version + 1, updated_at=self._clock())
        await self._keep(kept)
        return await self._ready(kept)

    async def delete(self, caller: Caller, name: str, etag: str) -> None:
        """Delete the caller's own model. Raises ``SemanticModelNotFound``, ``NotModelOwner``, ``ModelChanged``."""
        present = await self._store.find(caller, name, "")
        if present is None:
            raise SemanticModelNotFound(f"there is no semantic model {name!r}", name=name)
        if present.owner_user != caller.user:
            raise NotModelOwner(f"only its owner deletes {name!r}")
        _check_etag(present, etag)
        touch(_resource(present))
        await self._store.delete(present.model_id)

    async def validate(self, yaml: str, *, text_only: bool) -> list[Finding]:
        """Return what is wrong or odd in *yaml*, by line."""
        _check_yaml(yaml)
        parsed = await asyncio.to_thread(parse, yaml)
        findings = list(parsed.findings)
        if parsed.model is not None and not text_only:
            nobodys = KeptModel("", "", 0, "", "PRIVATE", (), yaml, "", self._clock(), self._clock())
            loaded = LoadedModel(nobodys, parsed.model, parsed.findings, allowed_tables(parsed.model))
            findings += await asyncio.to_thread(self._check_against_data, loaded)
        elif parsed.model is not None:
            findings += await asyncio.to_thread(check_verified_queries, parsed.model)
        findings = await asyncio.to_thread(located, findings, yaml)
        return sorted(findings, key=lambda finding: (finding.line, finding.column))

    def _next(self, caller: Caller, wanted: Wanted, present: KeptModel | None, model: SemanticModel) -> KeptModel:
        now = self._clock()
        as_before = present is not None and not wanted.access_level
        return KeptModel(
            model_id=present.model_id if present else str(uuid.uuid4()),
            name=wanted.name,
            version=present.version + 1 if present else 1,
            owner_user=caller.user,
            access_level=present.access_level if present and as_before else wanted.access_level or "PRIVATE",
            reader_roles=present.reader_roles if present and as_before else wanted.reader_roles,
            yaml=wanted.yaml,
            description=model.description,
            created_at=present.created_at if present else now,
            updated_at=now,
        )

    async def _keep(self, kept: KeptModel) -> None:
        if not await self._store.put(kept):
            raise ModelChanged("the semantic model has changed meanwhile; read it again")

    async def _ready(self, kept: KeptModel) -> LoadedModel:
        touch(_resource(kept))
        key = (kept.model_id, kept.version)
        found = self._loaded.get(key)
        if found is None:
            parsed = await asyncio.to_thread(parse, kept.yaml)
            if parsed.model is None:  # kept by a version that read more
                raise _invalid(parsed)
            found = LoadedModel(kept, parsed.model, parsed.findings, allowed_tables(parsed.model))
            self._loaded[key] = found
            while len(self._loaded) > _LOADED:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(key)
        return replace(found, kept=kept)


def _resource(kept: KeptModel) -> str:
    return f"semanticModels/{kept.model_id}"


def etag_of(text: str) -> str:
    """Return an etag as it was made: `If-Match` has it in quotes."""
    return text.strip().removeprefix("W/").strip('"')


def _check_etag(present: KeptModel | None, etag: str) -> None:
    if etag and (present is None or present.etag != etag_of(etag)):
        raise ModelChanged("the semantic model has changed since this etag was read; read it again")


def _check(wanted: Wanted, caller: Caller) -> None:
    faults = []
    if not _NAME.fullmatch(wanted.name):
        faults.append(Violation("name", "must be 1 to 128 letters, digits, _, - and ., not beginning with - or ."))
    if wanted.owner_user not in {"", caller.user}:
        faults.append(Violation("owner_user", "must be empty or the caller"))
    if (wanted.access_level == "ROLE") != bool(wanted.reader_roles):
        faults.append(Violation("reader_roles", "must be given with access level ROLE, and only then"))
    if len(wanted.reader_roles) > MAX_ROLES or any(not 1 <= len(role) <= MAX_ROLE for role in wanted.reader_roles):
        faults.append(Violation("reader_roles", f"must be up to {MAX_ROLES} names of 1 to {MAX_ROLE} characters"))
    if faults:
        raise InvalidInput(f"{faults[0].field} {faults[0].description}", violations=faults)
    _check_yaml(wanted.yaml)


def _check_yaml(yaml: str) -> None:
    size = len(yaml.encode())
    if not 1 <= size <= MAX_YAML_BYTES:
        description = f"must be 1 to {MAX_YAML_BYTES} bytes of UTF-8, got {size}"
        raise InvalidInput(f"yaml {description}", violations=[Violation("yaml", description)])


def _invalid(parsed: Parsed) -> SemanticModelInvalid:
    errors = [finding for finding in parsed.findings if finding.severity is Severity.ERROR]
    violations = [Violation("yaml", f"line {item.line}, column {item.column}: {item.message}") for item in errors]
    return SemanticModelInvalid(
        f"the YAML makes no semantic model: {violations[0].description if violations else 'it is empty'}",
        violations=violations[:MAX_VIOLATIONS],
    )
