import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from multidict import CIMultiDict

from services.gateway.edge.arrival import Arrival
from services.gateway.edge.auth import open_authenticator
from services.gateway.edge.jwks import COOLDOWN_S, FRESH_S, STALE_S, KeySet, KeysUnreachable
from services.gateway.edge.oidc import OidcAuthenticator
from services.gateway.settings import GatewaySettings
from services.gateway.transcoder import HttpError
from services.mesh.caller import Caller
from services.mesh.config import BadSettings, load

ISSUER = "https://id.test"
AUDIENCE = "memorybox"
ES_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = Ed25519PrivateKey.generate()
SETTINGS = load(GatewaySettings, {"MEMORYBOX_AUTH": "oidc"})


class Provider:
    """Publishes keys and counts how often it is asked."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [
            {**ECAlgorithm.to_jwk(ES_KEY.public_key(), as_dict=True), "kid": "es", "use": "sig"},
            {**OKPAlgorithm.to_jwk(ED_KEY.public_key(), as_dict=True), "kid": "ed"},
            {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "shared"},
            {"kty": "odd", "kid": "odd"},
        ]
        self.asked = 0
        self.up = True
        self.now = 0.0

    async def fetch(self) -> bytes:
        self.asked += 1
        if not self.up:
            raise KeysUnreachable("down")
        return json.dumps({"keys": self.keys}).encode()

    def clock(self) -> float:
        return self.now

    def authenticator(self) -> OidcAuthenticator:
        return OidcAuthenticator(KeySet(self.fetch, self.clock), ISSUER, AUDIENCE, "sub", "roles")


def token(key: Any = ES_KEY, algorithm: str = "ES256", kid: str = "es", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 60, **changes}
    return jwt.encode(
        {name: value for name, value in claims.items() if value is not None}, key, algorithm, headers={"kid": kid}
    )


def bearing(*values: str) -> Arrival:
    return Arrival("GET", CIMultiDict([("Authorization", value) for value in values]), 443)


@pytest.mark.parametrize(
    ("changes", "roles"),
    [
        pytest.param({}, set(), id="no-roles"),
        pytest.param({"roles": ["A", "B"]}, {"A", "B"}, id="list"),
        pytest.param({"roles": "A B"}, {"A", "B"}, id="text"),
        pytest.param({"aud": ["other", AUDIENCE]}, set(), id="several-audiences"),
    ],
)
async def test_valid_token_names_user_and_roles(changes: Mapping[str, Any], roles: set[str]) -> None:
    caller = await Provider().authenticator().authenticate(bearing(f"Bearer {token(**changes)}"))

    assert caller == Caller("ann", frozenset(roles), "gateway")


async def test_every_key_of_the_provider_serves() -> None:
    caller = await Provider().authenticator().authenticate(bearing(f"bearer {token(ED_KEY, 'EdDSA', 'ed')}"))

    assert caller.user == "ann"


def forged_by_shared_secret() -> str:
    return token("secretsecretsecretsecretsecretsecret", "HS256", "shared")


@pytest.mark.parametrize(
    ("bearer", "status"),
    [
        pytest.param(lambda: "nonsense", 401, id="no-token"),
        pytest.param(lambda: "a.b.c", 401, id="no-base64"),
        pytest.param(lambda: "\udcff", 401, id="no-utf8"),
        pytest.param(lambda: token(exp=int(time.time()) - 60), 401, id="expired"),
        pytest.param(lambda: token(nbf=int(time.time()) + 600), 401, id="not-yet-valid"),
        pytest.param(lambda: token(exp=None), 401, id="without-end"),
        pytest.param(lambda: token(aud="other"), 401, id="other-audience"),
        pytest.param(lambda: token(aud=None), 401, id="without-audience"),
        pytest.param(lambda: token(iss="https://evil.test"), 401, id="other-issuer"),
        pytest.param(lambda: token(sub=None), 401, id="nobody"),
        pytest.param(lambda: token(sub="service:memory"), 403, id="name-of-a-key"),
        pytest.param(lambda: token(sub="a" + chr(0)), 400, id="control-character"),
        pytest.param(lambda: token(roles=[1]), 401, id="roles-no-names"),
        pytest.param(lambda: token(kid="unknown"), 401, id="unknown-key"),
        pytest.param(lambda: token(ec.generate_private_key(ec.SECP256R1())), 401, id="wrong-signature"),
        pytest.param(lambda: token(ED_KEY, "EdDSA", "es"), 401, id="algorithm-of-another-key"),
        pytest.param(forged_by_shared_secret, 401, id="shared-secret"),
        pytest.param(lambda: token(None, "none"), 401, id="unsigned"),
    ],
)
async def test_unacceptable_token_is_refused(bearer: Callable[[], str], status: int) -> None:
    # Made only now: a token of collection time would have expired in a long run, and be refused for that.
    with pytest.raises(HttpError) as refused:
        await Provider().authenticator().authenticate(bearing(f"Bearer {bearer()}"))

    assert refused.value.http_status == status
    assert (status == 401) == ("WWW-Authenticate" in refused.value.response().headers)


async def test_other_scheme_is_refused() -> None:
    with pytest.raises(HttpError) as refused:
        await Provider().authenticator().authenticate(bearing("Basic YTpi"))

    assert refused.value.http_status == 401


async def test_weak_rsa_key_is_refused() -> None:
    provider = Provider()
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505
    provider.keys.append({**RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True), "kid": "weak"})
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        signed = token(weak, "RS256", "weak")

    with pytest.raises(HttpError) as refused:
        await provider.authenticator().authenticate(bearing(f"Bearer {signed}"))

    assert refused.value.http_status == 401


def opening(*headers: tuple[str, str]) -> Arrival:
    return Arrival("GET", CIMultiDict([("Host", "api.test"), *headers]), 443, opens_socket=True)


async def test_page_brings_the_token_of_a_websocket_as_a_subprotocol() -> None:
    offered = ("Sec-WebSocket-Protocol", f"json.transcode.v1, bearer.{token()}")

    caller = await Provider().authenticator().authenticate(opening(offered, ("Origin", "https://api.test")))

    assert caller.user == "ann"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("Sec-WebSocket-Protocol", "json.transcode.v1")], 401),
        ([("Sec-WebSocket-Protocol", "bearer.a, bearer.b")], 401),
        ([("Sec-WebSocket-Protocol", "bearer.a")], 401),
        ([("Authorization", f"Bearer {token()}"), ("Origin", "https://evil.test")], 403),
    ],
    ids=["none", "two", "wrong", "foreign-page"],
)
async def test_other_websockets_are_refused(headers: list[tuple[str, str]], status: int) -> None:
    with pytest.raises(HttpError) as refused:
        await Provider().authenticator().authenticate(opening(*headers))

    assert refused.value.http_status == status


async def test_subprotocol_is_no_token_of_a_plain_request() -> None:
    plain = Arrival("GET", CIMultiDict([("Sec-WebSocket-Protocol", f"bearer.{token()}")]), 443)

    with pytest.raises(HttpError, match="Authorization"):
        await Provider().authenticator().authenticate(plain)


async def test_missing_and_double_tokens_are_refused() -> None:
    authenticator = Provider().authenticator()

    with pytest.raises(HttpError) as missing:
        await authenticator.authenticate(bearing())
    with pytest.raises(HttpError) as double:
        await authenticator.authenticate(bearing(f"Bearer {token()}", f"Bearer {token()}"))

    assert missing.value.response().headers["WWW-Authenticate"] == "Bearer"
    assert double.value.http_status == 400


async def test_keys_are_asked_for_once_while_fresh_and_with_restraint_when_unknown() -> None:
    provider = Provider()
    keys = KeySet(provider.fetch, provider.clock)

    for _ in range(3):
        assert await keys.get("es")
        assert await keys.get("made-up") is None
    assert provider.asked == 1
    provider.now += COOLDOWN_S
    assert await keys.get("made-up") is None
    assert provider.asked == 2
    provider.now += FRESH_S
    assert await keys.get("es")
    assert provider.asked == 3


async def test_new_key_of_the_provider_is_found() -> None:
    provider = Provider()
    keys = KeySet(provider.fetch, provider.clock)
    await keys.get("es")
    provider.keys.append({**provider.keys[0], "kid": "new"})
    provider.now += COOLDOWN_S

    assert await keys.get("new")


async def test_withdrawn_key_is_no_longer_believed() -> None:
    provider = Provider()
    keys = KeySet(provider.fetch, provider.clock)
    await keys.get("es")
    provider.keys = provider.keys[1:]
    provider.now += FRESH_S

    assert await keys.get("es") is None


async def test_known_keys_serve_while_the_provider_is_down() -> None:
    provider = Provider()
    keys = KeySet(provider.fetch, provider.clock)
    await keys.get("es")
    provider.up = False

    provider.now += STALE_S
    assert await keys.get("es")
    provider.now += 1
    with pytest.raises(HttpError) as refused:
        await keys.get("es")

    assert refused.value.http_status == 503


async def test_provider_that_never_answered_is_unavailable() -> None:
    provider = Provider()
    provider.up = False

    with pytest.raises(HttpError) as refused:
        await provider.authenticator().authenticate(bearing(f"Bearer {token()}"))

    assert refused.value.http_status == 503


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        pytest.param({}, "MEMORYBOX_OIDC_ISSUER, MEMORYBOX_OIDC_AUDIENCE, MEMORYBOX_OIDC_JWKS_URL", id="nothing-set"),
        pytest.param(
            {"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE, "oidc_jwks_url": "http://id.test/keys"},
            "https",
            id="keys-by-plain-http",
        ),
    ],
)
def test_oidc_does_not_start_on_unsafe_settings(changes: dict[str, str], fault: str) -> None:
    with pytest.raises(BadSettings, match=fault):
        open_authenticator("0.0.0.0", dataclasses.replace(SETTINGS, **changes))  # type: ignore[arg-type]  # noqa: S104
