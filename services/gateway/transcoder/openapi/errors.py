"""The answers that are no success, as every operation may give them."""

from typing import Any

from services.gateway.transcoder.openapi.schemas import STATUS
from services.gateway.transcoder.rules import UNARY

Responses = dict[str, Any]

# HTTP status to the key of its response and what it means here; every body is a google.rpc.Status.
_ANSWERS = {
    "400": ("BadRequest", "INVALID_ARGUMENT, FAILED_PRECONDITION or OUT_OF_RANGE: the request must be changed."),
    "401": ("Unauthorized", "UNAUTHENTICATED: who calls is not known."),
    "403": ("Forbidden", "PERMISSION_DENIED: the caller may not do this."),
    "404": ("NotFound", "NOT_FOUND: there is no such thing for this caller."),
    "405": ("MethodNotAllowed", "UNIMPLEMENTED: the path is served for the methods of the header Allow."),
    "406": ("NotAcceptable", "INVALID_ARGUMENT: the stream has none of the accepted media types."),
    "408": ("RequestTimeout", "DEADLINE_EXCEEDED: the request came in too slowly."),
    "409": ("Conflict", "ALREADY_EXISTS or ABORTED: read again, then decide."),
    "412": ("PreconditionFailed", "ABORTED: the thing has changed since the etag of If-Match."),
    "413": ("ContentTooLarge", "RESOURCE_EXHAUSTED: the body or a message in it is too long."),
    "415": ("UnsupportedMediaType", "INVALID_ARGUMENT: Content-Type or Content-Encoding is not understood."),
    "417": ("ExpectationFailed", "INVALID_ARGUMENT: only Expect: 100-continue is understood."),
    "426": ("UpgradeRequired", "UNIMPLEMENTED: this stream is served over WebSocket."),
    "429": ("TooManyRequests", "RESOURCE_EXHAUSTED: try again after the seconds of Retry-After."),
    "431": ("HeadersTooLarge", "RESOURCE_EXHAUSTED: the headers are too long."),
    "499": ("Cancelled", "CANCELLED: the call was cancelled."),
    "500": ("InternalError", "UNKNOWN, INTERNAL or DATA_LOSS: a fault of the server."),
    "501": ("NotImplemented", "UNIMPLEMENTED: the service does not have this method, or the coding is not understood."),
    "503": ("Unavailable", "UNAVAILABLE: try again after the seconds of Retry-After."),
    "504": ("Timeout", "DEADLINE_EXCEEDED: the deadline passed; whether the call took effect is not known."),
}
_DEFAULT = ("Error", "Any other error.")
_STREAMS_ONLY = frozenset({"406", "426"})
_BY_IF_MATCH = "412"
_RETRY_AFTER = frozenset({"429", "503"})


def components() -> Responses:
    """Return the error responses by key."""
    found = {key: _response(text) for key, text in [*_ANSWERS.values(), _DEFAULT]}
    for status in _RETRY_AFTER:
        found[_ANSWERS[status][0]]["headers"] = {
            "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}
        }
    return found


def responses(kind: str, *, if_match: bool) -> Responses:
    """Return the errors of an operation of *kind* by status; *if_match* tells that it takes an etag by header."""
    found = {
        status: _reference(key)
        for status, (key, _) in _ANSWERS.items()
        if (kind != UNARY or status not in _STREAMS_ONLY) and (if_match or status != _BY_IF_MATCH)
    }
    return {**found, "default": _reference(_DEFAULT[0])}


def _response(text: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{STATUS}"}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _reference(key: str) -> dict[str, str]:
    return {"$ref": f"#/components/responses/{key}"}
