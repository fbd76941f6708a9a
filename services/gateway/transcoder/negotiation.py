"""Content-Type and Accept: what may come in, what goes out."""

import re
from dataclasses import dataclass

from services.gateway.transcoder.errors import INVALID_ARGUMENT, refusal

JSON = "application/json"
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
ALTERNATIVES = {"sse": SSE, "ndjson": NDJSON, "json": JSON}
"""Values of the query parameter ``$alt``, which outranks Accept."""
NDJSON_TYPES = frozenset(
    {
        NDJSON,
        "application/ndjson",
        "application/jsonl",
        "application/json-lines",
        "application/x-jsonlines",
    }
)

_JSON_TYPE = re.compile(r"application/(?:json|[a-z0-9!#$&^_.+-]+\+json)")
_CHARSET = re.compile(r"charset\s*=\s*\"?([^\s\";]+)\"?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One element of an Accept header."""

    kind: str
    quality: float


def check_json(content_type: str | None, *, streaming: bool) -> bool:
    """Refuse (415) a request body that is no JSON in UTF-8; return whether it is NDJSON.

    No Content-Type counts as JSON. text/plain and forms are refused: browsers send them across
    sites without asking.
    """
    if not content_type or content_type == JSON:
        return False
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    charset = _CHARSET.search(parameters)
    utf8 = charset is None or charset[1].lower() in {"utf-8", "utf8"}
    if utf8 and streaming and kind in NDJSON_TYPES:
        return True
    if utf8 and _JSON_TYPE.fullmatch(kind):
        return False
    if kind.partition("+")[0] == "application/grpc":
        raise refusal(INVALID_ARGUMENT, "gRPC itself needs HTTP/2: use the gRPC port", http_status=415)
    accepted = f"{JSON}, {NDJSON}" if streaming else JSON
    raise refusal(
        INVALID_ARGUMENT,
        f"the body must be {accepted} in UTF-8, got {content_type[:128]!a}",
        http_status=415,
        headers=[("Accept", accepted)],
    )


def parse_accept(accept: str) -> list[MediaRange]:
    """Return the media ranges of an Accept header; malformed elements are left out."""
    ranges = []
    for element in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in element.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                quality = _quality(value.strip())
        if "/" in kind:
            ranges.append(MediaRange(kind, quality))
    return ranges


def _quality(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](?:\.[0-9]{0,3})?", text) else 0.0


def stream_type(accept: str | None) -> str:
    """Return the framing of a streamed answer: an SSE, NDJSON or JSON type, as asked; or raise 406."""
    if not accept:
        return JSON
    chosen: tuple[float, int, str] | None = None
    for item in parse_accept(accept):
        offer = _offer(item.kind)
        if offer is None or item.quality <= 0:
            continue
        rank = 2 if offer == SSE else 1 if offer in NDJSON_TYPES else 0
        if chosen is None or (item.quality, rank) > chosen[:2]:
            chosen = (item.quality, rank, offer)
    if chosen is None:
        text = f"this stream is served as {JSON}, {NDJSON} or {SSE}"
        raise refusal(INVALID_ARGUMENT, text, http_status=406)
    return chosen[2]


def _offer(kind: str) -> str | None:
    if kind == SSE or kind in NDJSON_TYPES:
        return kind
    if kind in {"*/*", "application/*"} or _JSON_TYPE.fullmatch(kind):
        return JSON
    return SSE if kind == "text/*" else None
