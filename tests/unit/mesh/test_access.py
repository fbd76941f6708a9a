"""The access table: who counts as what, and that nothing is open by default."""

import pytest

from services.mesh.access import AccessPolicy, Who, allow
from services.mesh.caller import Caller
from services.mesh.config import MeshSettings
from services.mesh.errors import PermissionDenied
from services.mesh.identity import Principal
from services.mesh.keys import Grant, Key

TABLE = {
    "/s/User": allow(Who.USER),
    "/s/Operator": allow(Who.OPERATOR),
    "/s/Governor": allow(Who.GOVERNOR),
    "/s/Service": allow(Who.SERVICE),
    "/s/Nobody": allow(),
}
POLICY = AccessPolicy(TABLE, operator_role="OPS", governor_role="GOV")


def principal(
    user: str, *roles: str, kind: str = "gateway", name: str = "gateway", subject: str | None = None
) -> Principal:
    return Principal(Caller(user, frozenset(roles), name), Key("k", name, kind, "", Grant(), 0), subject)


def open_to(who: Principal) -> set[str]:
    allowed = set()
    for method in (*TABLE, "/s/Unlisted", "/s/User/", "/S/User", ""):
        try:
            POLICY.check(method, who)
        except PermissionDenied:
            continue
        allowed.add(method)
    return allowed


@pytest.mark.parametrize(
    ("who", "methods"),
    [
        pytest.param(principal("ann"), {"/s/User"}, id="user"),
        pytest.param(principal("ann", "OPS"), {"/s/User", "/s/Operator"}, id="operator"),
        pytest.param(principal("ann", "GOV"), {"/s/User", "/s/Governor"}, id="governor"),
        pytest.param(principal("ann", "OPS", "GOV"), {"/s/User", "/s/Operator", "/s/Governor"}, id="both"),
        pytest.param(principal("ann", "MEMORYBOX_GOVERNOR"), {"/s/User"}, id="role-of-another-deployment"),
        pytest.param(principal("service:chat", kind="service", name="chat"), {"/s/Service"}, id="service-for-itself"),
        pytest.param(principal("service:chat", "GOV", kind="service", name="chat"), {"/s/Service"}, id="service-is-no-governor"),
        pytest.param(principal("ann", kind="service", name="chat", subject="t"), {"/s/User"}, id="service-for-a-user"),
        pytest.param(principal("ann", "GOV", kind="service", name="chat", subject="t"), {"/s/User", "/s/Governor"}, id="service-for-a-governor"),
        pytest.param(principal("service:chat"), {"/s/User"}, id="person-called-like-a-service"),
        pytest.param(principal("service:chat", kind="service", name="chat", subject="t"), {"/s/User"}, id="service-for-a-person-called-like-it"),
        pytest.param(principal("client:ci", kind="client", name="ci"), {"/s/User"}, id="client-for-itself"),
    ],
)  # fmt: skip
def test_caller_may_call_just_what_is_open_to_their_kind(who: Principal, methods: set[str]) -> None:
    assert open_to(who) == methods


def test_role_names_are_those_of_the_settings() -> None:
    policy = AccessPolicy.of(TABLE, MeshSettings(governor_role="HEAD_OF_RECORDS"))

    policy.check("/s/Governor", principal("ann", "HEAD_OF_RECORDS"))
    with pytest.raises(PermissionDenied):
        policy.check("/s/Governor", principal("ann", "MEMORYBOX_GOVERNOR"))
