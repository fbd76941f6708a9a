"""Who calls, proved at every hop: short-lived EdDSA tokens signed by keys with grants. Deny by default.

A hop token says who calls this one service now. A subject token, signed by the gateway alone, says for which user a service
acts when it calls on; it is passed on unchanged, so that a service's key cannot invent users.
"""

import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.mesh.caller import Caller
from services.mesh.errors import BackendUnavailable, FailedPrecondition, PermissionDenied, Unauthenticated
from services.mesh.keys import GATEWAY, Key, KeyFolder, Registry

log = logging.getLogger(__name__)

ALGORITHM = "EdDSA"
HOP_TYPE = "mb-hop+jwt"
SUBJECT_TYPE = "mb-subject+jwt"
HOP_LIFE_S = 60
SUBJECT_LIFE_S = 15 * 60
LEEWAY_S = 5
AUTHORIZATION = "authorization"
SUBJECT_HEADER = "x-memorybox-subject"
RELOAD_S = 0.5  # how often the key files are looked at
_CACHE_SIZE = 4096

# For whom this task acts: set by the edge and by the server interceptor, read by outgoing channels.
ACTING: ContextVar[Caller | None] = ContextVar("acting", default=None)
# The gateway-signed token of that user as it came in, passed on unchanged.
SUBJECT_TOKEN: ContextVar[str | None] = ContextVar("subject_token", default=None)


@dataclass(frozen=True, slots=True)
class _Signer:
    stamp: tuple[int, int]
    registry: Registry
    key: Key
    private: Ed25519PrivateKey


class HopSigner:
    """Signs tokens with one named key; picks up rotated keys without restart."""

    def __init__(self, folder: KeyFolder, key_name: str) -> None:
        self._folder = folder
        self._name = key_name
        self._signer: _Signer | None = None
        self._looked_at = 0.0
        self._tokens: dict[tuple[object, ...], tuple[str, float]] = {}

    def token(self, audience: str, user: str | None = None, roles: Iterable[str] = (), life_s: int = HOP_LIFE_S) -> str:
        """Return a hop token for *audience*; *user* None means the key itself.

        Raises ``PermissionDenied`` when the key's grant does not cover the user, a role or the audience.
        """
        key = self._current().key
        subject = key.own_user if user is None else user
        sorted_roles = tuple(sorted(set(roles)))
        if not key.may_assert(subject, sorted_roles) or audience not in key.grant.audiences:
            raise PermissionDenied(
                f"key {key.name!r} may not vouch for user {subject!r} with roles {list(sorted_roles)} at {audience!r}",
                key=key.name,
            )
        claims = {"aud": audience, "sub": subject, "roles": sorted_roles}
        return self._sign(HOP_TYPE, claims, min(life_s, HOP_LIFE_S))

    def subject_token(self, user: str, roles: Iterable[str], life_s: float) -> str:
        """Return a token with which services may act for *user* during *life_s* seconds; the gateway's key only."""
        life = min(int(life_s) + LEEWAY_S, SUBJECT_LIFE_S)
        return self._sign(SUBJECT_TYPE, {"sub": user, "roles": tuple(sorted(set(roles)))}, life)

    def _sign(self, kind: str, claims: Mapping[str, Any], life_s: int) -> str:
        signer = self._current()
        now = time.time()
        cache_key = (signer.key.kid, kind, life_s, *claims.values())
        token, renew_at = self._tokens.get(cache_key, ("", 0.0))
        if now < renew_at:
            return token
        full = {
            **claims,
            "iss": signer.key.name,
            "dep": signer.registry.deployment,
            "iat": int(now),
            "exp": int(now) + life_s,
            "jti": secrets.token_hex(16),
        }
        token = jwt.encode(full, signer.private, ALGORITHM, headers={"typ": kind, "kid": signer.key.kid})
        if len(self._tokens) >= _CACHE_SIZE:
            self._tokens.clear()
        # A subject token must outlive the request it is made for, so it is reused for no longer than its margin.
        self._tokens[cache_key] = (token, now + (life_s / 2 if kind == HOP_TYPE else LEEWAY_S - 1))
        return token

    def _current(self) -> _Signer:
        now = time.monotonic()
        if self._signer is None or now - self._looked_at > RELOAD_S:
            stamp = self._folder.stamp()
            if self._signer is None or self._signer.stamp != stamp:
                registry = self._folder.read()
                key = registry.active(self._name)
                self._signer = _Signer(stamp, registry, key, self._folder.private_key(key.kid))
            self._looked_at = now  # not before: a revoked key must sign nothing more
        return self._signer


@dataclass(frozen=True, slots=True)
class Principal:
    """What a verified call proves: the user it is for, and which key vouched."""

    caller: Caller
    key: Key
    subject_token: str | None


class HopVerifier:
    """Checks the tokens of calls to one service."""

    def __init__(self, folder: KeyFolder, audience: str) -> None:
        self._folder = folder
        self._audience = audience
        self._stamp = (-1, -1)
        self._registry = Registry("", ())
        self._looked_at = 0.0
        self._known: dict[str, tuple[dict[str, Any], Key, float]] = {}

    def verify(self, method: str, authorization: str | None, subject_token: str | None) -> Principal:
        """Return who calls *method*, or raise ``Unauthenticated`` or ``PermissionDenied``; ``BackendUnavailable`` while there are no keys."""
        if not authorization or not authorization.startswith("Bearer "):
            raise Unauthenticated(
                "this call needs metadata `authorization: Bearer <hop token>`; `memorybox token` makes one"
            )
        claims, key = self._claims(authorization[7:], HOP_TYPE)
        if claims["aud"] != self._audience:
            raise Unauthenticated(f"the hop token is for another service, this is {self._audience!r}")
        user, roles = claims["sub"], claims["roles"]
        if (
            self._audience not in key.grant.audiences
            or not key.grant.allows_rpc(method)
            or not key.may_assert(user, roles)
        ):
            raise PermissionDenied(f"key {key.name!r} is not granted this call", key=key.name, method=method)
        if subject_token is None:
            return Principal(Caller(user, frozenset(roles), key.name), key, None)
        return self._for_subject(user, roles, key, subject_token)

    def _for_subject(self, user: str, roles: list[str], key: Key, token: str) -> Principal:
        claims, signer = self._claims(token, SUBJECT_TYPE)
        if signer.kind != GATEWAY:
            raise PermissionDenied("only the gateway signs subject tokens", key=signer.name)
        if key.kind == GATEWAY and (claims["sub"] != user or set(claims["roles"]) != set(roles)):
            raise PermissionDenied("hop token and subject token name different users", key=key.name)
        if key.kind == "client":
            raise PermissionDenied("a client's key cannot act for a subject", key=key.name)
        return Principal(Caller(claims["sub"], frozenset(claims["roles"]), key.name), key, token)

    def _claims(self, token: str, kind: str) -> tuple[dict[str, Any], Key]:
        self._reload()
        now = time.time()
        known = self._known.get(token)
        if known is None:
            known = self._check(token, kind)
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            self._known[token] = known
        claims, key, expires_at = known
        if now >= expires_at:
            raise Unauthenticated("the token has expired; make a new one")
        if claims["_typ"] != kind:
            raise Unauthenticated(f"the token must be of type {kind}")
        return claims, key

    def _check(self, token: str, kind: str) -> tuple[dict[str, Any], Key, float]:
        longest = HOP_LIFE_S if kind == HOP_TYPE else SUBJECT_LIFE_S
        try:
            header = jwt.get_unverified_header(token)
            key = self._registry.by_kid(str(header.get("kid", "")))
            if key is None or header.get("typ") != kind:
                raise Unauthenticated("the token is not signed by a key of this deployment, or of the wrong type")
            claims = jwt.decode(
                token,
                key.public_key(),
                algorithms=[ALGORITHM],
                issuer=key.name,
                leeway=LEEWAY_S,
                options={"require": ["iss", "sub", "iat", "exp", "jti"], "verify_aud": False},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the token has expired; make a new one") from None
        except (jwt.InvalidTokenError, ValueError) as error:
            raise Unauthenticated("the token is not acceptable: malformed, wrongly signed, or lacks a claim") from error
        roles = claims.get("roles")
        right = (
            claims.get("dep") == self._registry.deployment
            and claims["sub"] != ""
            and type(claims["iat"]) is type(claims["exp"]) is int
            and isinstance(roles, list)
            and all(isinstance(role, str) for role in roles)
            and (kind != HOP_TYPE or isinstance(claims.get("aud"), str))
            and claims["exp"] - claims["iat"] <= longest
        )
        if not right:
            raise Unauthenticated("the token is of another deployment, lives too long, or has malformed claims")
        # A hop token is renewed at half its life, so clocks that differ need no more time after its end.
        return {**claims, "_typ": kind}, key, claims["exp"] + (0 if kind == HOP_TYPE else LEEWAY_S)

    def _reload(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < RELOAD_S:
            return
        stamp = self._folder.stamp()
        if stamp != self._stamp:
            try:
                self._registry = self._folder.read()
            except FailedPrecondition as error:  # its text names a path, which is not for whoever calls
                log.error("keys cannot be read", extra={"reason": error.reason, "fault": error.message})  # noqa: TRY400
                raise BackendUnavailable("this service cannot read its keys, so it can verify nobody") from error
            self._stamp = stamp
            self._known.clear()
        self._looked_at = now  # not before: without keys every call must fail, not one in each interval
