"""Who may sign in and with what: passwords, key pairs, access tokens, a service's tokens; and the session tokens given out."""

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization

from services.emulator.engine.account import Account
from services.emulator.engine.objects import User
from services.emulator.errors import SqlError

SESSION_LIFE_S = 3600
MASTER_LIFE_S = 14400
LONGEST_JWT_S = 3660  # an hour and a minute of clock skew
CALLER_TOKEN_LIFE_S = 120  # docs: SERVICE_CALLER_TOKEN_VALIDITY_SECS


def refused(
    code: int = 390100, text: str = "Incorrect username or password was specified.", state: str = "08001"
) -> SqlError:
    return SqlError(code, state, text)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed in; ``service_role`` is set for a caller's-rights session."""

    user: str
    role: str = ""
    service_role: str = ""
    user_type: str = "PERSON"


@dataclass(slots=True)
class Ticket:
    """A session token or master token."""

    session_id: int
    expires: float
    master: bool = False


@dataclass(slots=True)
class _ServiceToken:
    role: str
    service: str
    expires: float


@dataclass(slots=True)
class _CallerToken:
    user: str
    expires: float


@dataclass(slots=True)
class Credentials:
    """Secrets in memory only; none is ever logged."""

    account: Account
    clock: Callable[[], float] = time.time
    session_life_s: float = SESSION_LIFE_S
    master_life_s: float = MASTER_LIFE_S
    require_spcs_token: bool = False
    _tickets: dict[str, Ticket] = field(default_factory=dict)
    _service: dict[str, _ServiceToken] = field(default_factory=dict)
    _callers: dict[str, _CallerToken] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def sign_in(self, data: dict[str, Any]) -> Identity:
        """Return who the login request proves to be, or refuse."""
        method = str(data.get("AUTHENTICATOR") or "SNOWFLAKE").upper()
        token = str(data.get("TOKEN") or "")
        match method:
            case "SNOWFLAKE" | "USERNAME_PASSWORD_MFA":
                return self._by_password(str(data.get("LOGIN_NAME") or ""), str(data.get("PASSWORD") or ""))
            case "SNOWFLAKE_JWT":
                return self.by_jwt(token)
            case "PROGRAMMATIC_ACCESS_TOKEN":
                return self.by_pat(token)
            case "OAUTH":
                return self.by_oauth(token)
        raise refused(390146, f"Authenticator {method} is not supported by the emulator.")

    def _user(self, name: str) -> User:
        user = self.account.catalog.users.get(name.upper()) or self.account.catalog.users.get(name)
        if user is None:
            raise refused()
        if user.disabled:
            raise refused(390101, "User temporarily locked or disabled. Contact your account administrator.")
        return user

    def _by_password(self, name: str, password: str) -> Identity:
        user = self._user(name)
        if not user.password or not secrets.compare_digest(user.password.encode(), password.encode()):
            if any(secrets.compare_digest(str(token["secret"]), password) for token in user.tokens.values()):
                return self.by_pat(password)
            raise refused()
        return Identity(user.name, user_type=user.kind)

    def by_jwt(self, token: str) -> Identity:
        """Check a key pair's JWT: issuer ACCOUNT.USER.SHA256:fingerprint, subject ACCOUNT.USER."""
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
            issuer, subject = str(claims["iss"]), str(claims["sub"])
            _, user_name = subject.split(".", 1)
            fingerprint = issuer.rsplit(".", 1)[1]
        except (jwt.PyJWTError, KeyError, ValueError, IndexError):
            raise refused(390144, "JWT token is invalid.") from None
        user = self._user(user_name)
        key = next((held for held in user.public_keys if fingerprint_of(held) == fingerprint), None)
        if key is None:
            raise refused(390144, "JWT token is invalid.")
        try:
            checked = jwt.decode(
                token, _public_key(key), algorithms=["RS256"], options={"require": ["exp", "iat"]}, leeway=60
            )
        except jwt.ExpiredSignatureError:
            raise refused(390144, "JWT token is invalid. The token has expired.") from None
        except jwt.PyJWTError:
            raise refused(390144, "JWT token is invalid.") from None
        if checked["exp"] - checked["iat"] > LONGEST_JWT_S:
            raise refused(390144, "JWT token is invalid. Its life is longer than one hour.")
        return Identity(user.name, user_type=user.kind)

    def by_pat(self, token: str) -> Identity:
        for user in list(self.account.catalog.users.values()):
            for held in user.tokens.values():
                if secrets.compare_digest(str(held["secret"]), token):
                    if float(held["expires"]) < self.clock():
                        raise refused(394400, "Programmatic access token is expired.")
                    if user.disabled or held.get("disabled"):
                        raise refused(394401, "Programmatic access token is disabled.")
                    return Identity(user.name, str(held.get("role") or ""), user_type=user.kind)
        raise refused(394400, "Programmatic access token is invalid.")

    def by_oauth(self, token: str) -> Identity:
        """Check a service's token, alone or joined to a caller's: ``<service>.<user>``."""
        with self._guard:
            service = self._service.get(token)
            if service is None:
                head, _, tail = token.rpartition(".")
                service, caller = self._service.get(head), self._callers.get(tail)
            else:
                caller = None
                tail = ""
        if service is None:
            raise refused(390303, "Invalid OAuth access token. ")
        if service.expires < self.clock() or (caller is not None and caller.expires < self.clock()):
            raise refused(390318, "OAuth access token expired. ")
        if tail and caller is None:
            raise refused(390303, "Invalid OAuth access token. ")
        if caller is None:
            return Identity(service.service, service.role, user_type="SNOWFLAKE_SERVICE")
        return Identity(caller.user, "", service.role)

    # minting, for the control endpoint, ingress and services

    def service_token(self, service: str, role: str, life_s: float = SESSION_LIFE_S) -> str:
        token = "sv" + secrets.token_urlsafe(32)
        with self._guard:
            self._service[token] = _ServiceToken(role.upper(), service.upper(), self.clock() + life_s)
        return token

    def caller_token(self, user: str, life_s: float = CALLER_TOKEN_LIFE_S) -> str:
        token = "cu" + secrets.token_urlsafe(32)
        with self._guard:
            self._callers[token] = _CallerToken(self._user(user).name, self.clock() + life_s)
        return token

    def caller_token_expiry(self, token: str) -> float | None:
        with self._guard:
            held = self._callers.get(token.rpartition(".")[2])
        return held.expires if held else None

    def issue(self, session_id: int) -> tuple[str, str]:
        """Return a session token and a master token."""
        token, master = secrets.token_urlsafe(48), secrets.token_urlsafe(48)
        with self._guard:
            self._tickets[token] = Ticket(session_id, self.clock() + self.session_life_s)
            self._tickets[master] = Ticket(session_id, self.clock() + self.master_life_s, master=True)
        return token, master

    def check(self, token: str) -> int:
        """Return the session of a session token, or refuse with what makes the client renew or sign in again."""
        with self._guard:
            ticket = self._tickets.get(token)
        if ticket is None or ticket.master:
            raise SqlError(390104, "08001", "Authentication token is missing or invalid. The user must log in again.")
        if ticket.expires < self.clock():
            raise SqlError(390112, "08001", "Your session has expired. Please login again.")
        return ticket.session_id

    def renew(self, master: str, old: str) -> tuple[int, str, str]:
        """Return the session with new tokens for a master token; *old* stops working."""
        with self._guard:
            ticket = self._tickets.get(master)
        if ticket is None or not ticket.master:
            raise SqlError(390113, "08001", "The master token is invalid.")
        if ticket.expires < self.clock():
            raise SqlError(390114, "08001", "Authentication token has expired.  The user must authenticate again.")
        with self._guard:
            self._tickets.pop(old, None)
        return (ticket.session_id, *self.issue(ticket.session_id))

    def extend(self, token: str) -> None:
        """Keep the master tokens of the session alive, as a heartbeat does."""
        session_id = self.check(token)
        with self._guard:
            for ticket in self._tickets.values():
                if ticket.session_id == session_id and ticket.master:
                    ticket.expires = self.clock() + self.master_life_s

    def expire(self, *, sessions: bool = True, masters: bool = False, services: bool = False) -> int:
        """Let tokens end now; return how many did."""
        ended = 0
        with self._guard:
            for ticket in self._tickets.values():
                if (masters if ticket.master else sessions) and ticket.expires >= self.clock():
                    ticket.expires, ended = 0.0, ended + 1
            for held in self._service.values() if services else ():
                held.expires, ended = 0.0, ended + 1
        return ended

    def forget(self, session_id: int) -> None:
        with self._guard:
            self._tickets = {
                token: ticket for token, ticket in self._tickets.items() if ticket.session_id != session_id
            }


def _public_key(text: str) -> Any:
    return serialization.load_der_public_key(base64.b64decode(text))


def fingerprint_of(key: str) -> str:
    """Return ``SHA256:...`` of a public key given as base64 of its DER form."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(base64.b64decode(key)).digest()).decode()
