"""Sealing what leaves the data folder with a key of its owner, so that shredding the key erases it wherever a copy may lie."""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.mesh.errors import FailedPrecondition

KEY_BYTES = 32
KEY_ID_BYTES = 16
_SALT_BYTES = 16
_NONCE_BYTES = 12
_VERSION = b"\x01"
_EXPORT = b"export"


class SealBroken(FailedPrecondition):
    """The key that sealed it does not exist any more, is somebody else's, or the bytes were changed."""

    reason = "SEAL_BROKEN"


class SealingUnavailable(FailedPrecondition):
    """There are no keys to seal with in a process without backups."""

    reason = "SEALING_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class OwnerKey:
    """The key of one owner; *key_id* is random and says nothing about them."""

    key_id: bytes
    secret: bytes = field(repr=False)


class OwnerKeys(Protocol):
    """Where the keys of owners are kept, outside of every backup."""

    def of(self, owner: str) -> OwnerKey:
        """Return the key of *owner*, made when there is none; one just made may be lost until ``sync`` returns."""
        ...

    def existing(self, owner: str) -> OwnerKey | None:
        """Return the key of *owner* if there is one."""
        ...

    def find(self, key_id: bytes) -> OwnerKey | None:
        """Return a key by its id, None if it was shredded. Raises ``BackupKeysMissing`` if it was never among these keys."""
        ...

    def sync(self) -> None:
        """Return once every key made so far is durable."""
        ...


def derive(key: bytes, *info: bytes) -> bytes:
    """Return a key for one purpose: HKDF-Expand of one block (RFC 5869, section 2.3), *info* told apart by its lengths."""
    joined = b"".join(len(part).to_bytes(4) + part for part in info)
    return hmac.digest(key, joined + b"\x01", hashlib.sha256)


def nonce_of(number: int) -> bytes:
    """Return the nonce of message *number* under a key that numbers its messages, which never repeats."""
    return number.to_bytes(_NONCE_BYTES)


def seal_alone(key: OwnerKey, purpose: bytes, plain: bytes) -> bytes:
    """Return *plain* sealed as a message of its own, under a key made for it alone from a random salt."""
    head = _VERSION + key.key_id + secrets.token_bytes(_SALT_BYTES)
    cipher = AESGCM(derive(key.secret, purpose, head))
    return head + cipher.encrypt(nonce_of(0), plain, purpose + head)


def open_alone(key: OwnerKey, purpose: bytes, sealed: bytes) -> bytes:
    """Return what ``seal_alone`` sealed with *key*, or raise ``SealBroken``."""
    head = sealed[: len(_VERSION) + KEY_ID_BYTES + _SALT_BYTES]
    cipher = AESGCM(derive(key.secret, purpose, head))
    try:
        return cipher.decrypt(nonce_of(0), sealed[len(head) :], purpose + head)
    except (InvalidTag, ValueError):
        raise SealBroken(
            "the key of the caller does not open it: it was erased, is another's, or the bytes were changed"
        ) from None


class Sealer:
    """Seals what one person takes out, and opens it when the same person brings it back; nothing of either without *keys*."""

    def __init__(self, keys: OwnerKeys | None) -> None:
        self._keys = keys

    async def sealing(self, owner: str) -> Callable[[bytes], bytes]:
        """Return what seals with the key of *owner*, which is durable."""
        key = await asyncio.to_thread(self._durable_key, owner)
        return lambda plain: seal_alone(key, _EXPORT, plain)

    async def opening(self, owner: str) -> Callable[[bytes], bytes]:
        """Return what opens with the key of *owner*, or raises ``SealBroken``."""
        key = await asyncio.to_thread(self._required().existing, owner)
        # Without a key an empty one stands in: it opens nothing, and the refusal is the same.
        return lambda sealed: open_alone(key or OwnerKey(b"", b""), _EXPORT, sealed)

    def _durable_key(self, owner: str) -> OwnerKey:
        keys = self._required()
        key = keys.of(owner)
        keys.sync()
        return key

    def _required(self) -> OwnerKeys:
        if self._keys is None:
            raise SealingUnavailable("this service has no keys to seal with")
        return self._keys
