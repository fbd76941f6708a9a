"""Etags as callers send them."""

from services.mesh.errors import InvalidInput, Violation


def one_etag(*etags: str) -> str:
    """Return the one etag that was sent, quotes taken off, '' for none or ``*``; two that differ are ``InvalidInput``."""
    given = {etag.removeprefix("W/").strip('"') for etag in etags if etag and etag != "*"}
    if len(given) > 1:
        raise InvalidInput(
            "etag and memory.etag differ", violations=[Violation("etag", "must equal memory.etag when both are sent")]
        )
    return given.pop() if given else ""
