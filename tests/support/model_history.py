"""The part of the model store that remembers former states."""

from datetime import datetime

from services.memory.domain.memory import AccessLevel, Memory
from services.memory.domain.revisions import RevisionNotFound, RevisionPage, RevisionPlan
from services.mesh.caller import Caller


def may_read(caller: Caller, memory: Memory) -> bool:
    """Tell whether *memory*, while it is there, is one that *caller* may read."""
    match memory.access_level:
        case AccessLevel.PUBLIC:
            return True
        case AccessLevel.ROLE if not caller.roles.isdisjoint(memory.reader_roles):
            return True
    return memory.owner_user == caller.user


def could_read(caller: Caller, state: Memory) -> bool:
    """Tell whether *state* is the caller's own or was readable for them while it was current."""
    lived = state.delete_time is None and (state.expires_at is None or state.expires_at > state.updated_at)
    return state.owner_user == caller.user or (lived and may_read(caller, state))


def seen_states(caller: Caller, current: Memory, former: tuple[Memory, ...]) -> list[Memory]:
    """Return the states that *caller*, who sees *current*, may see, newest first."""
    return [current, *(state for state in reversed(former) if could_read(caller, state))]


def state_at(caller: Caller, current: Memory, former: tuple[Memory, ...], as_of: datetime) -> Memory | None:
    """Return the state of *current*, which *caller* sees, that was there at *as_of*, if they may see it."""
    known = [state for state in (*former, current) if state.updated_at <= as_of]
    if current.updated_at <= as_of:
        known = [current]
    state = known[-1] if known else None
    if state is None or state.delete_time is not None or (state.expires_at is not None and state.expires_at <= as_of):
        return None
    return state if state is current or could_read(caller, state) else None


def revision_page(states: list[Memory], plan: RevisionPlan) -> RevisionPage:
    """Return the page of *states* that *plan* asks for."""
    rest = [state for state in states if plan.before is None or state.revision < plan.before]
    page: list[Memory] = []
    for state in rest[: plan.limit]:
        if page and sum(one.size_bytes for one in (*page, state)) > plan.max_bytes:
            break
        page.append(state)
    return RevisionPage(tuple(page), len(page) < len(rest))


def find_revision(states: list[Memory], revision: int) -> Memory:
    """Return the state with that number."""
    for state in states:
        if state.revision == revision:
            return state
    raise RevisionNotFound("no such revision")
