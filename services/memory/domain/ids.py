"""Ids of memories: made by the server, ordered by time; or derived from a request id, so that repeating a create is harmless."""

import hashlib
import hmac
import secrets
import uuid
from datetime import datetime


def new_memory_id(now: datetime) -> str:
    """Return a UUIDv7 (RFC 9562 section 5.7): 48 bits of milliseconds, then 74 random bits."""
    milliseconds = int(now.timestamp() * 1000)
    value = milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))


def derived_memory_id(key: bytes, owner: str, request_id: str) -> str:
    """Return the id that *owner*'s *request_id* always leads to: a UUIDv8 (RFC 9562 section 5.8) of an HMAC under *key*."""
    message = f"{len(owner)}:{owner}{request_id}".encode()
    value = int.from_bytes(hmac.digest(key, message, hashlib.sha256)[:16], "big")
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0b11 << 62) | 0b10 << 62
    return str(uuid.UUID(int=value))
