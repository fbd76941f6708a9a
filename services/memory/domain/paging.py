"""Page tokens: what a next page needs to know, encrypted, and worth nothing to another caller, request or hour."""

import base64
import binascii
import hashlib
import secrets
from datetime import datetime
from typing import ClassVar

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
    field: ClassVar[str] = "page_token"


class InvalidResumeToken(InvalidPageToken):
    """The same, of a token that continues a stream."""

    reason = "INVALID_RESUME_TOKEN"
    field = "resume_token"


class Pager:
    """Seals and opens tokens with one key, which all instances of a store share; *refusal* is what a bad one raises."""

    def __init__(self, key: bytes, refusal: type[InvalidPageToken] = InvalidPageToken) -> None:
        self._cipher = AESGCM(key)
        self._refusal = refusal

    def seal(self, caller: Caller, request: Json, state: Json, now: datetime) -> str:
        """Return a token that carries *state* to the next call of the same *caller* with the same *request*."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        plain = orjson.dumps({"until": now.timestamp() + LIFE_S, "state": state})
        sealed = nonce + self._cipher.encrypt(nonce, plain, _binding(caller, request))
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, token: str, caller: Caller, request: Json, now: datetime) -> Json:
        """Return the state sealed in *token*, or raise ``InvalidPageToken``."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise self._invalid(f"is longer than any of ours ({MAX_TOKEN_LENGTH})")
        try:
            sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _binding(caller, request))
        except (ValueError, binascii.Error, InvalidTag):
            raise self._invalid("is not one that this caller got for this request; start again without it") from None
        document: Json = orjson.loads(plain)
        if document["until"] < now.timestamp():
            raise self._invalid("has expired (after an hour); start again without it")
        state: Json = document["state"]
        return state

    def _invalid(self, description: str) -> InvalidPageToken:
        field = self._refusal.field
        return self._refusal(f"{field} {description}", violations=[Violation(field, description)])


def _binding(caller: Caller, request: Json) -> bytes:
    return hashlib.sha256(orjson.dumps([caller.user, request], option=orjson.OPT_SORT_KEYS)).digest()
