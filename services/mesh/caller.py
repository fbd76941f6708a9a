"""Who asks: a user and the roles they hold. Pure, so that domains may name it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Caller:
    """The user on whose behalf a call is made, compared byte for byte as delivered.

    ``client`` is the key name that vouched for the user (``gateway``, ``cli``, ...): for audit and logs, never for access.
    """

    user: str
    roles: frozenset[str] = field(default_factory=frozenset)
    client: str = ""
