"""Semantic models in pages."""

import base64
import binascii
import secrets
from dataclasses import dataclass

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.analyst.domain.models import DEFAULT_PAGE, MAX_PAGE, Clock, SemanticModels, utc_now
from services.analyst.domain.ports import KeptModel
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, Violation

LIFE_S = 3600.0
_NONCE_BYTES = 12


class InvalidModelPageToken(InvalidInput):
    """The token is not the caller's, or over an hour old."""

    reason = "INVALID_MODEL_PAGE_TOKEN"


@dataclass(frozen=True, slots=True)
class ModelPage:
    """One page and the token of the next, '' at the end."""

    models: tuple[KeptModel, ...]
    next_page_token: str


class ModelPages:
    """Lists models; a token is sealed for its caller with *key*, which all instances share."""

    def __init__(self, models: SemanticModels, key: bytes, clock: Clock = utc_now) -> None:
        self._models = models
        self._cipher = AESGCM(key)
        self._clock = clock

    async def page(self, caller: Caller, page_size: int, page_token: str) -> ModelPage:
        """Return one page by name. Raises ``InvalidModelPageToken``."""
        limit = page_size or DEFAULT_PAGE
        if not 1 <= limit <= MAX_PAGE:
            raise _wrong(InvalidInput, "page_size", f"must be 1 to {MAX_PAGE}, got {page_size}")
        after = self._open(caller, page_token) if page_token else ("", "")
        models = await self._models.page(caller, after, limit + 1)
        shown = tuple(models[:limit])
        token = self._seal(caller, shown[-1]) if len(models) > limit else ""
        return ModelPage(shown, token)

    def _seal(self, caller: Caller, last: KeptModel) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        plain = orjson.dumps([self._clock().timestamp() + LIFE_S, last.name, last.owner_user])
        sealed = nonce + self._cipher.encrypt(nonce, plain, caller.user.encode())
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def _open(self, caller: Caller, token: str) -> tuple[str, str]:
        try:
            sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], caller.user.encode())
        except (ValueError, binascii.Error, InvalidTag):
            raise _wrong(
                InvalidModelPageToken, "page_token", "must be one that this caller got; start again without it"
            ) from None
        until, name, owner = orjson.loads(plain)
        if until < self._clock().timestamp():
            raise _wrong(InvalidModelPageToken, "page_token", "has expired (after an hour); start again without it")
        return name, owner


def _wrong(kind: type[InvalidInput], field: str, description: str) -> InvalidInput:
    return kind(f"{field} {description}", violations=[Violation(field, description)])
