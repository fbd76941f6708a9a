"""Names of users and roles as they come in: read from headers once, checked, never trusted twice."""

import unicodedata
from collections.abc import Iterable

from services.gateway.edge.arrival import Headers
from services.gateway.edge.refusals import refuse

MAX_NAME = 255  # code points; Snowflake's limit for identifiers
MAX_ROLES_BYTES = 1024  # roles travel in the tokens of every hop, and gRPC metadata should stay below 4 KiB
# Users that stand for a key of the mesh, never for a person (services.mesh.keys.Key.own_user).
KEY_USERS = ("client:", "gateway:", "service:")
# Control characters, halves of surrogate pairs (bytes that are no UTF-8), line and paragraph separators.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})


def single(headers: Headers, name: str) -> str | None:
    """Return the value of header *name*, None without it; refuse duplicates and look-alikes with ``_`` for ``-``."""
    values = headers.getall(name, [])
    if len(values) > 1 or _look_alikes(headers, name):
        raise refuse(400, f"header {name} must be sent once, under exactly this name", reason="AMBIGUOUS_IDENTITY")
    return values[0] if values else None


def _look_alikes(headers: Headers, name: str) -> Iterable[str]:
    wanted = name.lower()
    return [
        sent for sent in headers if "_" in sent and sent.lower() != wanted and sent.lower().replace("_", "-") == wanted
    ]


def checked_name(text: str, where: str) -> str:
    """Return *text*, the name of a user or role that came in by *where*, or refuse it with 400."""
    if not 1 <= len(text) <= MAX_NAME or any(unicodedata.category(char) in _REFUSED_CATEGORIES for char in text):
        raise refuse(
            400,
            f"{where} must hold names of 1 to {MAX_NAME} code points in UTF-8 without control characters",
            reason="BAD_IDENTITY",
        )
    return text


def checked_roles(roles: Iterable[str], where: str) -> frozenset[str]:
    """Return *roles* as a set, or refuse them with 400."""
    checked = frozenset(checked_name(role, where) for role in roles)
    if sum(len(role.encode()) for role in checked) > MAX_ROLES_BYTES:
        raise refuse(400, f"{where} must hold at most {MAX_ROLES_BYTES} bytes of roles", reason="BAD_IDENTITY")
    return checked


def person(text: str, where: str) -> str:
    """Return *text* as the name of a person: nobody outside may take the name of a key of the mesh."""
    name = checked_name(text, where)
    if name.startswith(KEY_USERS):
        raise refuse(403, f"{where} names a key of the mesh, not a person", reason="RESERVED_USER")
    return name
