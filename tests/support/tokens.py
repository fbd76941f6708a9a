"""Tokens as an attacker might make them: any claim, any header, any key that a folder holds."""

import time
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.mesh.identity import ALGORITHM, HOP_TYPE
from services.mesh.keys import KeyFolder

DROP = object()  # as a claim's value: leave the claim out


class Forger:
    """Signs with the named keys of one folder, and says whatever it is told to."""

    def __init__(self, folder: KeyFolder) -> None:
        self._folder = folder

    def token(
        self,
        key: str,
        claims: Mapping[str, Any] | None = None,
        *,
        typ: str = HOP_TYPE,
        header: Mapping[str, Any] | None = None,
        private: Ed25519PrivateKey | None = None,
    ) -> str:
        """Return a good token of *key* for audience ``memory``, with *claims* and *header* changed."""
        registry = self._folder.read()
        known = next(item for item in reversed(registry.keys) if item.name == key)
        now = int(time.time())
        good = {
            "iss": key,
            "aud": "memory",
            "sub": known.own_user,
            "roles": [],
            "dep": registry.deployment,
            "iat": now,
            "exp": now + 60,
            "jti": "0123456789abcdef",
        }
        full = {name: value for name, value in {**good, **(claims or {})}.items() if value is not DROP}
        headers = {"typ": typ, "kid": known.kid, **(header or {})}
        signing = private or self._folder.private_key(known.kid)
        return jwt.encode(full, signing, ALGORITHM, headers={k: v for k, v in headers.items() if v is not DROP})
