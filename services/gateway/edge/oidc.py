"""Who calls, by the bearer token of an OpenID Connect provider."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import jwt

from services.gateway.edge.arrival import Arrival
from services.gateway.edge.browsers import CrossSiteRule
from services.gateway.edge.jwks import KeySet, fetch_from
from services.gateway.edge.people import checked_roles, person, single
from services.gateway.edge.refusals import refuse
from services.gateway.settings import GatewaySettings
from services.gateway.transcoder import HttpError, offered_subprotocols
from services.mesh.caller import Caller
from services.mesh.config import BadSettings, is_loopback
from services.mesh.keys import GATEWAY

LEEWAY_S = 5
_SCHEME = "Bearer "
_SUBPROTOCOL = "bearer."


@dataclass(frozen=True, slots=True)
class OidcAuthenticator:
    """Believes tokens that the issuer signed for our audience; browsers never send those on their own."""

    keys: KeySet
    issuer: str
    audience: str
    user_claim: str
    roles_claim: str
    pages: CrossSiteRule = field(default_factory=CrossSiteRule)

    @classmethod
    def open(cls, settings: GatewaySettings) -> "OidcAuthenticator":
        """Return the authenticator, or raise ``BadSettings``."""
        needed = {
            "MEMORYBOX_OIDC_ISSUER": settings.oidc_issuer,
            "MEMORYBOX_OIDC_AUDIENCE": settings.oidc_audience,
            "MEMORYBOX_OIDC_JWKS_URL": settings.oidc_jwks_url,
        }
        missing = [variable for variable, value in needed.items() if not value]
        if missing:
            raise BadSettings(f"MEMORYBOX_AUTH=oidc needs {', '.join(missing)}")
        url = urlsplit(settings.oidc_jwks_url)
        if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname or "")):
            raise BadSettings("MEMORYBOX_OIDC_JWKS_URL must be an https address: who can change the keys can be anyone")
        return cls(
            KeySet(fetch_from(settings.oidc_jwks_url)),
            settings.oidc_issuer,
            settings.oidc_audience,
            settings.oidc_user_claim,
            settings.oidc_roles_claim,
            CrossSiteRule(frozenset(settings.cors_origins)),
        )

    async def authenticate(self, arrival: Arrival) -> Caller:
        """Return the user and roles of the token."""
        if arrival.opens_socket:
            self.pages.check(arrival)
        claims = await self._claims(_token(arrival))
        user = claims.get(self.user_claim)
        if not isinstance(user, str):
            raise _bad_token(f"the token has no claim {self.user_claim!r} that names the user")
        roles = _roles(claims.get(self.roles_claim, []))
        return Caller(person(user, "the token"), checked_roles(roles, "the token"), GATEWAY)

    async def _claims(self, token: str) -> Mapping[str, Any]:
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = await self.keys.get(kid) if isinstance(kid, str) else None
            if key is None:
                raise _bad_token("the token is not signed by a key of the identity provider")
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self.audience,
                issuer=self.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "iat"], "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError:
            raise _bad_token("the token has expired") from None
        except (jwt.PyJWTError, ValueError, RecursionError):
            # Texts of the library may hold parts of the token.
            raise _bad_token("the token is not acceptable: malformed, wrongly signed, or not for us") from None
        return claims


def _token(arrival: Arrival) -> str:
    """Return the bearer token. Pages cannot set headers of a WebSocket, so theirs comes as the subprotocol ``bearer.<token>``."""
    value = single(arrival.headers, "Authorization")
    if value is None and arrival.opens_socket:
        offered = offered_subprotocols(arrival.headers)
        tokens = [word.removeprefix(_SUBPROTOCOL) for word in offered if word.startswith(_SUBPROTOCOL)]
        if len(tokens) == 1:
            return tokens[0]
    if value is None:
        raise refuse(401, "this call needs Authorization: Bearer <token>", reason="NO_IDENTITY")
    if not value.lower().startswith(_SCHEME.lower()):
        raise _bad_token("Authorization must be of the form Bearer <token>")
    return value[len(_SCHEME) :].strip()


def _roles(value: object) -> list[str]:
    if isinstance(value, str):
        return value.split()
    if isinstance(value, list) and all(isinstance(role, str) for role in value):
        return value
    raise _bad_token("the token's roles must be a list of names, or names separated by spaces")


def _bad_token(message: str) -> HttpError:
    return refuse(401, message, reason="BAD_TOKEN", headers=[("WWW-Authenticate", 'Bearer error="invalid_token"')])
