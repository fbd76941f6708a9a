"""Tokens: what signers make, what verifiers believe, and the many things that they refuse."""

import base64
import hashlib
import hmac
import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.mesh import identity
from services.mesh.errors import BackendUnavailable, PermissionDenied, Unauthenticated
from services.mesh.identity import HOP_LIFE_S, SUBJECT_LIFE_S, SUBJECT_TYPE, HopSigner, HopVerifier
from services.mesh.keys import ANY, Grant, KeyFolder, KeyNotFound
from tests.support.mesh import wait_until
from tests.support.tokens import DROP, Forger

GET = "/memorybox.memory.v1.MemoryService/GetMemory"
LIST = "/memorybox.memory.v1.MemoryService/ListMemories"
KEYS = (
    ("gateway", "gateway", Grant((ANY,), (ANY,), ("memory", "embedding"), ("/memorybox.memory.v1.MemoryService/*",))),
    ("analyst", "service", Grant(audiences=("memory",), rpcs=(GET,))),
    ("cli", "client", Grant(users=("ann",), roles=("READER",), audiences=("memory",), rpcs=(GET,))),
    ("elsewhere", "client", Grant(users=("ann",), audiences=("embedding",), rpcs=(GET,))),
)
Case = Callable[[Forger], str | None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key files, made once: every test gets a copy, since making them is slow."""
    folder = tmp_path_factory.mktemp("made")
    KeyFolder(folder).ensure(KEYS)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> KeyFolder:
    return KeyFolder(shutil.copytree(made, tmp_path / "keys"))


@pytest.fixture
def forger(folder: KeyFolder) -> Forger:
    return Forger(folder)


@pytest.fixture
def verifier(folder: KeyFolder) -> HopVerifier:
    return HopVerifier(folder, "memory")


def soon(attempt: Callable[[], object], error: type[Exception]) -> None:
    """Return once *attempt* raises *error*: changed key files are looked at a moment later."""

    def raised() -> bool:
        try:
            attempt()
        except error:
            return True
        return False

    wait_until(raised, 5, error.__name__)


def bearer(token: str | None) -> str | None:
    return None if token is None else f"Bearer {token}"


def hop(claims: dict[str, Any] | None = None, key: str = "gateway", **options: Any) -> Case:
    return lambda forger: bearer(forger.token(key, claims, **options))


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(forger: Forger) -> str:
    """Return a token with algorithm none and no signature."""
    head, claims, _ = forger.token("gateway").split(".")
    kid = jwt.get_unverified_header(f"{head}.{claims}.")["kid"]
    return f"Bearer {part({'alg': 'none', 'typ': identity.HOP_TYPE, 'kid': kid})}.{claims}."


def signed_with_the_public_key(folder_of: Forger) -> str:
    """Return a token whose HMAC secret is the public key, as a verifier that trusts the header's algorithm would check it."""
    registry = folder_of._folder.read()
    key = registry.active("gateway")
    _, claims, _ = folder_of.token("gateway").split(".")
    signed = f"{part({'alg': 'HS256', 'typ': identity.HOP_TYPE, 'kid': key.kid})}.{claims}"
    secret = base64.urlsafe_b64decode(key.public + "==")
    digest = hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"Bearer {signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def with_other_claims(forger: Forger) -> str:
    """Return a token whose claims were exchanged after it was signed."""
    head, _, signature = forger.token("cli").split(".")
    _, claims, _ = forger.token("cli", {"sub": "bob"}).split(".")
    return f"Bearer {head}.{claims}.{signature}"


def ago(seconds: int) -> dict[str, Any]:
    return {"iat": int(time.time()) - seconds, "exp": int(time.time()) - seconds + HOP_LIFE_S}


NO_PROOF = {
    "absent": lambda _: None,
    "empty": lambda _: "",
    "basic": lambda _: "Basic YW5uOng=",
    "lower-case-scheme": lambda forger: f"bearer {forger.token('gateway')}",
    "bearer-alone": lambda _: "Bearer ",
    "no-token": lambda _: "Bearer garbage",
    "two-dots": lambda _: "Bearer ..",
    "not-ascii": lambda _: "Bearer \N{SNOWMAN}.\N{SNOWMAN}.\N{SNOWMAN}",
    "expired": lambda forger: bearer(forger.token("gateway", ago(HOP_LIFE_S))),
    "issued-in-the-future": lambda forger: bearer(forger.token("gateway", ago(-10))),
    "lives-61-seconds": lambda forger: bearer(forger.token("gateway", {"exp": int(time.time()) + 61})),
    "lives-for-ever": hop({"exp": math.inf}),
    "exp-is-no-number": hop({"exp": math.nan}),
    "exp-is-text": lambda forger: bearer(forger.token("gateway", {"exp": str(int(time.time()) + 30)})),
    "iat-is-text": lambda forger: bearer(forger.token("gateway", {"iat": str(int(time.time()))})),
    "iat-is-infinite": hop({"iat": math.inf}),
    "iat-is-minus-infinity": hop({"iat": -math.inf}),
    "iat-is-null": hop({"iat": None}),
    "other-audience": hop({"aud": "embedding"}),
    "several-audiences": hop({"aud": ["memory", "embedding"]}),
    "no-audience": hop({"aud": DROP}),
    "other-deployment": hop({"dep": "6b1e9d0c-0000-4000-8000-000000000000"}),
    "no-deployment": hop({"dep": DROP}),
    "other-issuer": hop({"iss": "cli"}),
    "no-issuer": hop({"iss": DROP}),
    "unknown-kid": hop(header={"kid": "ffffffffffffffff"}),
    "no-kid": hop(header={"kid": DROP}),
    "empty-kid": hop(header={"kid": ""}),
    "kid-is-a-number": lambda _: f"Bearer {part({'alg': 'EdDSA', 'typ': identity.HOP_TYPE, 'kid': 7})}.{part({})}.AAAA",
    "header-is-a-list": lambda _: f"Bearer {part([])}.{part({})}.AAAA",
    "claims-are-a-list": lambda forger: f"Bearer {forger.token('gateway').split('.')[0]}.{part([])}.AAAA",
    "lives-for-a-fraction-too-long": lambda forger: bearer(forger.token("gateway", {"exp": time.time() + 60.9})),
    "exp-is-a-truth-value": hop({"exp": True}),
    "stranger-signs-under-a-known-kid": lambda f: bearer(f.token("gateway", private=Ed25519PrivateKey.generate())),
    "algorithm-none": unsigned,
    "public-key-as-secret": signed_with_the_public_key,
    "claims-exchanged": with_other_claims,
    "subject-token-as-hop-token": hop(typ=SUBJECT_TYPE),
    "plain-jwt": hop(typ="JWT"),
    "no-typ": hop(header={"typ": DROP}),
    "no-jti": hop({"jti": DROP}),
    "jti-is-a-number": hop({"jti": 7}),
    "no-sub": hop({"sub": DROP}),
    "sub-is-a-number": hop({"sub": 7}),
    "sub-is-empty": hop({"sub": ""}),
    "no-iat": hop({"iat": DROP}),
    "no-exp": hop({"exp": DROP}),
    "no-roles": hop({"roles": DROP}),
    "roles-is-text": hop({"roles": "READER"}),
    "roles-holds-a-number": hop({"roles": ["READER", 7]}),
    "roles-is-null": hop({"roles": None}),
}  # fmt: skip


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in NO_PROOF.items()])
def test_call_without_acceptable_proof_is_unauthenticated(verifier: HopVerifier, forger: Forger, case: Case) -> None:
    with pytest.raises(Unauthenticated):
        verifier.verify(GET, case(forger), None)


OVERREACH = {
    "client-as-another-user": hop({"sub": "bob"}, "cli"),
    "client-as-another-client": hop({"sub": "client:elsewhere"}, "cli"),
    "client-as-the-gateway": hop({"sub": "gateway:gateway"}, "cli"),
    "client-with-a-role-not-granted": hop({"sub": "ann", "roles": ["MEMORYBOX_GOVERNOR"]}, "cli"),
    "client-with-one-role-too-many": hop({"sub": "ann", "roles": ["READER", "MEMORYBOX_GOVERNOR"]}, "cli"),
    "service-as-a-user": hop({"sub": "ann"}, "analyst"),
    "service-with-a-role": hop({"roles": ["MEMORYBOX_GOVERNOR"]}, "analyst"),
    "key-without-this-audience": hop({"sub": "ann"}, "elsewhere"),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in OVERREACH.items()])
def test_key_that_reaches_beyond_its_grant_is_denied(verifier: HopVerifier, forger: Forger, case: Case) -> None:
    with pytest.raises(PermissionDenied):
        verifier.verify(GET, case(forger), None)


def test_method_outside_the_grant_is_denied(verifier: HopVerifier, forger: Forger) -> None:
    token = bearer(forger.token("cli", {"sub": "ann"}))

    assert verifier.verify(GET, token, None).caller.user == "ann"
    with pytest.raises(PermissionDenied):
        verifier.verify(LIST, token, None)


@pytest.mark.parametrize(
    ("key", "claims", "user", "roles"),
    [
        pytest.param("cli", {}, "client:cli", set(), id="client-as-itself"),
        pytest.param("cli", {"sub": "ann", "roles": ["READER"]}, "ann", {"READER"}, id="client-as-granted"),
        pytest.param("gateway", {"sub": "zoe", "roles": ["A", "B"]}, "zoe", {"A", "B"}, id="gateway-as-anyone"),
        pytest.param("analyst", {}, "service:analyst", set(), id="service-as-itself"),
    ],
)
def test_good_token_names_caller_roles_and_key(
    verifier: HopVerifier, forger: Forger, key: str, claims: dict[str, Any], user: str, roles: set[str]
) -> None:
    principal = verifier.verify(GET, bearer(forger.token(key, claims)), None)

    assert (principal.caller.user, principal.caller.roles, principal.caller.client) == (user, frozenset(roles), key)
    assert principal.key.name == key
    assert principal.subject_token is None


def test_clocks_may_differ_by_a_few_seconds(verifier: HopVerifier, forger: Forger) -> None:
    for seconds in (HOP_LIFE_S - 5, -3):
        assert verifier.verify(GET, bearer(forger.token("gateway", ago(seconds))), None)


def test_token_seen_before_is_refused_once_it_expires(
    verifier: HopVerifier, forger: Forger, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = bearer(forger.token("gateway"))
    verifier.verify(GET, token, None)
    real = time.time

    monkeypatch.setattr(time, "time", lambda: real() + HOP_LIFE_S)

    with pytest.raises(Unauthenticated, match="expired"):
        verifier.verify(GET, token, None)


def subject(forger: Forger, user: str = "ann", key: str = "gateway", **claims: Any) -> str:
    return forger.token(key, {"sub": user, "aud": DROP, **claims}, typ=SUBJECT_TYPE)


def test_service_acts_for_the_subject_that_the_gateway_signed(verifier: HopVerifier, forger: Forger) -> None:
    token = subject(forger, "ann", roles=["READER"])

    principal = verifier.verify(GET, bearer(forger.token("analyst")), token)

    assert (principal.caller.user, principal.caller.roles) == ("ann", frozenset({"READER"}))
    assert principal.caller.client == "analyst"
    assert principal.subject_token == token


REFUSED_SUBJECTS: dict[str, tuple[str, dict[str, Any], Callable[[Forger], str], type[Exception]]] = {
    "service-signs-it": ("analyst", {}, lambda f: subject(f, "ann", "analyst"), PermissionDenied),
    "client-signs-it": ("analyst", {}, lambda f: subject(f, "ann", "cli"), PermissionDenied),
    "client-presents-it": ("cli", {"sub": "ann"}, subject, PermissionDenied),
    "client-presents-it-as-itself": ("cli", {}, subject, PermissionDenied),
    "gateway-for-another-user": ("gateway", {"sub": "bob"}, subject, PermissionDenied),
    "gateway-with-other-roles": ("gateway", {"sub": "ann"}, lambda f: subject(f, roles=["R"]), PermissionDenied),
    "hop-token-as-subject-token": ("analyst", {}, lambda f: f.token("gateway", {"sub": "ann"}), Unauthenticated),
    "expired": ("analyst", {}, lambda f: subject(f, **ago(66)), Unauthenticated),
    "lives-too-long": ("analyst", {}, lambda f: subject(f, exp=int(time.time()) + SUBJECT_LIFE_S + 1), Unauthenticated),
    "other-deployment": ("analyst", {}, lambda f: subject(f, dep="other"), Unauthenticated),
    "no-sub": ("analyst", {}, lambda f: subject(f, sub=DROP), Unauthenticated),
    "roles-missing": ("analyst", {}, lambda f: subject(f, roles=DROP), Unauthenticated),
    "stranger-signs-it": (
        "analyst", {}, lambda f: f.token("gateway", {"sub": "ann"}, typ=SUBJECT_TYPE, private=Ed25519PrivateKey.generate()), Unauthenticated),
    "empty": ("analyst", {}, lambda _: "", Unauthenticated),
    "garbage": ("analyst", {}, lambda _: "a.b.c", Unauthenticated),
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "claims", "make", "error"), [pytest.param(*case, id=name) for name, case in REFUSED_SUBJECTS.items()]
)
def test_subject_token_is_refused(
    verifier: HopVerifier,
    forger: Forger,
    key: str,
    claims: dict[str, Any],
    make: Callable[[Forger], str],
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        verifier.verify(GET, bearer(forger.token(key, claims)), make(forger))


def test_subject_token_does_not_widen_what_the_service_may_call(verifier: HopVerifier, forger: Forger) -> None:
    with pytest.raises(PermissionDenied):
        verifier.verify(LIST, bearer(forger.token("analyst")), subject(forger))


def test_accepted_subject_token_is_no_hop_token_afterwards(verifier: HopVerifier, forger: Forger) -> None:
    token = subject(forger, aud="memory")
    verifier.verify(GET, bearer(forger.token("analyst")), token)

    with pytest.raises(Unauthenticated):
        verifier.verify(GET, bearer(token), None)


def test_revoked_key_is_soon_refused_also_for_a_token_seen_before(
    verifier: HopVerifier, forger: Forger, folder: KeyFolder
) -> None:
    token = bearer(forger.token("cli", {"sub": "ann"}))
    verifier.verify(GET, token, None)

    folder.revoke("cli")

    soon(lambda: verifier.verify(GET, token, None), Unauthenticated)
    assert verifier.verify(GET, bearer(forger.token("gateway")), None)


def test_key_issued_later_is_believed_without_restart(verifier: HopVerifier, forger: Forger, folder: KeyFolder) -> None:
    verifier.verify(GET, bearer(forger.token("cli")), None)

    folder.issue("late", "client", Grant(audiences=("memory",), rpcs=(GET,)))
    late = bearer(forger.token("late"))

    def believed() -> bool:
        try:
            return verifier.verify(GET, late, None).caller.user == "client:late"
        except Unauthenticated:
            return False

    wait_until(believed, 5, "the new key is believed")


def test_signer_takes_up_a_rotated_key_and_the_old_token_lives_on(verifier: HopVerifier, folder: KeyFolder) -> None:
    signer = HopSigner(folder, "cli")
    old = signer.token("memory")

    kid = folder.issue("cli", "client", KEYS[2][2]).kid

    wait_until(lambda: jwt.get_unverified_header(signer.token("memory"))["kid"] == kid, 5, "the new key signs")
    for token in (old, signer.token("memory")):
        assert verifier.verify(GET, bearer(token), None).caller.user == "client:cli"


def test_signer_of_a_revoked_key_says_so_and_signs_no_more(folder: KeyFolder) -> None:
    signer = HopSigner(folder, "cli")
    signer.token("memory")

    folder.revoke("cli")

    soon(lambda: signer.token("memory"), KeyNotFound)
    for _ in range(3):
        with pytest.raises(KeyNotFound, match="cli"):
            signer.token("memory")


def test_damage_of_the_registry_refuses_every_call_until_it_is_repaired(
    verifier: HopVerifier, folder: KeyFolder, forger: Forger, tmp_path: Path
) -> None:
    token = bearer(forger.token("gateway"))
    verifier.verify(GET, token, None)
    registry = tmp_path / "keys" / "registry.json"
    good = registry.read_bytes()

    registry.write_bytes(b"{")

    soon(lambda: verifier.verify(GET, token, None), BackendUnavailable)
    for _ in range(3):
        with pytest.raises(BackendUnavailable) as refused:
            verifier.verify(GET, token, None)
        assert str(tmp_path) not in str(refused.value)
    registry.write_bytes(good)
    assert verifier.verify(GET, token, None).caller.user == "gateway:gateway"


def claims_of(token: str) -> dict[str, Any]:
    decoded: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return decoded


def test_hop_token_says_what_the_contract_names(folder: KeyFolder) -> None:
    token = HopSigner(folder, "gateway").token("memory", "ann", ["B", "A", "B"])

    claims = claims_of(token)

    assert jwt.get_unverified_header(token) == {
        "alg": "EdDSA",
        "typ": "mb-hop+jwt",
        "kid": folder.read().active("gateway").kid,
    }
    assert set(claims) == {"iss", "aud", "sub", "roles", "dep", "iat", "exp", "jti"}
    assert (claims["iss"], claims["aud"], claims["sub"], claims["roles"]) == ("gateway", "memory", "ann", ["A", "B"])
    assert claims["dep"] == folder.read().deployment
    assert claims["exp"] - claims["iat"] == HOP_LIFE_S


@pytest.mark.parametrize(
    ("key", "audience", "user", "roles"),
    [
        pytest.param("cli", "memory", "bob", (), id="user"),
        pytest.param("cli", "memory", "ann", ("MEMORYBOX_GOVERNOR",), id="role"),
        pytest.param("cli", "embedding", "ann", (), id="audience"),
        pytest.param("analyst", "memory", "ann", (), id="service-as-a-user"),
    ],
)
def test_signer_refuses_what_its_key_is_not_granted(
    folder: KeyFolder, key: str, audience: str, user: str, roles: tuple[str, ...]
) -> None:
    with pytest.raises(PermissionDenied):
        HopSigner(folder, key).token(audience, user, roles)


def test_hop_token_never_lives_longer_than_a_minute(folder: KeyFolder) -> None:
    claims = claims_of(HopSigner(folder, "gateway").token("memory", "ann", life_s=3600))

    assert claims["exp"] - claims["iat"] == HOP_LIFE_S


@pytest.mark.parametrize(("request_s", "life_s"), [(0.2, 5), (30.0, 35), (3600.0, SUBJECT_LIFE_S)])
def test_subject_token_lives_as_long_as_the_request_and_15_minutes_at_most(
    folder: KeyFolder, request_s: float, life_s: int
) -> None:
    token = HopSigner(folder, "gateway").subject_token("ann", [], request_s)

    claims = claims_of(token)

    assert jwt.get_unverified_header(token)["typ"] == "mb-subject+jwt"
    assert claims["exp"] - claims["iat"] == life_s
    assert "aud" not in claims


def test_reused_subject_token_still_outlives_its_request(folder: KeyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = HopSigner(folder, "gateway")
    request_s, start, step = 20.0, int(time.time()), 0.0
    monkeypatch.setattr(time, "time", lambda: start + step)

    for tenth in range(300):
        step = tenth / 10
        assert claims_of(signer.subject_token("ann", [], request_s))["exp"] >= start + step + request_s


def test_tokens_are_reused_for_the_same_user_only(folder: KeyFolder) -> None:
    signer = HopSigner(folder, "gateway")

    assert signer.token("memory", "ann") == signer.token("memory", "ann")
    tokens = {
        signer.token("memory", "ann"),
        signer.token("memory", "bob"),
        signer.token("memory", "ann", ["R"]),
        signer.token("embedding", "ann"),
        signer.subject_token("ann", [], 60 - identity.LEEWAY_S),
    }
    assert len(tokens) == 5


def test_private_key_shows_in_no_printed_form(folder: KeyFolder, tmp_path: Path) -> None:
    signer = HopSigner(folder, "cli")
    signer.token("memory")
    (private,) = [
        path for path in (tmp_path / "keys" / "private").iterdir() if folder.read().active("cli").kid in path.name
    ]

    printed = f"{signer!r} {signer._signer!r} {folder!r} {folder.read()!r}"

    assert private.read_text() not in printed
