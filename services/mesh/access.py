"""The table of which RPC is open to whom. What is not in a service's table is denied."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from services.mesh.config import MeshSettings
from services.mesh.errors import PermissionDenied
from services.mesh.identity import Principal


class Who(Enum):
    """Kinds of callers that a rule can admit."""

    USER = auto()  # anyone for whom a key vouches, a service acting for itself excepted
    OPERATOR = auto()  # holders of the operators' role
    GOVERNOR = auto()  # holders of the governors' role
    SERVICE = auto()  # a service of the mesh acting for itself


AccessTable = Mapping[str, frozenset[Who]]  # full method name -> who may call


def allow(*who: Who) -> frozenset[Who]:
    """Return a rule that admits each of *who*."""
    return frozenset(who)


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """A service's table with the role names of this deployment."""

    table: AccessTable
    operator_role: str
    governor_role: str

    @classmethod
    def of(cls, table: AccessTable, settings: MeshSettings) -> "AccessPolicy":
        """Return the policy of *table* under *settings*."""
        return cls(table, settings.operator_role, settings.governor_role)

    def check(self, method: str, principal: Principal) -> None:
        """Return if *principal* may call *method*, else raise ``PermissionDenied``."""
        if not self._kinds(principal) & self.table.get(method, frozenset()):
            raise PermissionDenied(f"{principal.caller.user!r} may not call {method}", method=method)

    def _kinds(self, principal: Principal) -> set[Who]:
        key, caller = principal.key, principal.caller
        for_itself = principal.subject_token is None and caller.user == key.own_user
        if key.kind == "service" and for_itself:
            return {Who.SERVICE}
        kinds = {Who.USER}
        if self.operator_role in caller.roles:
            kinds.add(Who.OPERATOR)
        if self.governor_role in caller.roles:
            kinds.add(Who.GOVERNOR)
        return kinds
