"""Page tokens: what a next page needs to know, encrypted, and worth nothing to another caller, request or hour."""

import base64
import binascii
import hashlib
import secrets
from datetime import datetime

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.memory.domain.memory import Json
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, Violation

LIFE_S = 3600
MAX_TOKEN_LENGTH = 4096
_NONCE_BYTES = 12


class InvalidPageToken(InvalidInput):
    """The token was not made by us for this caller and request, or is over an hour old."""

    reason = "INVALID_PAGE_TOKEN"


class Pager:
    """Seals and opens page tokens with one key, which all instances of a store share."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, caller: Caller, request: Json, state: Json, now: datetime) -> str:
        """Return a token that carries *state* to the next call of the same *caller* with the same *request*."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        plain = orjson.dumps({"until": now.timestamp() + LIFE_S, "state": state})
        sealed = nonce + self._cipher.encrypt(nonce, plain, _binding(caller, request))
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, token: str, caller: Caller, request: Json, now: datetime) -> Json:
        """Return the state sealed in *token*, or raise ``InvalidPageToken``."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise _invalid(f"is longer than any of ours ({MAX_TOKEN_LENGTH})")
        try:
            sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _binding(caller, request))
        except (ValueError, binascii.Error, InvalidTag):
            raise _invalid("is not one that this caller got for this request; start again without it") from None
        document: Json = orjson.loads(plain)
        if document["until"] < now.timestamp():
            raise _invalid("has expired (after an hour); start again without it")
        state: Json = document["state"]
        return state


def _binding(caller: Caller, request: Json) -> bytes:
    return hashlib.sha256(orjson.dumps([caller.user, request], option=orjson.OPT_SORT_KEYS)).digest()


def _invalid(description: str) -> InvalidPageToken:
    return InvalidPageToken(f"page_token {description}", violations=[Violation("page_token", description)])
