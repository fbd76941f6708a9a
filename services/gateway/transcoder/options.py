"""Settings of the transcoder; every keyword is also the name of a gateway setting."""

from dataclasses import dataclass
from typing import Literal

MIB = 1024 * 1024

Policy = Literal["reject", "ignore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one route table reads requests and prints responses. Durations are seconds, sizes bytes."""

    default_routes: bool = True
    """Serve ``POST /package.Service/Method`` for unary methods and for all methods without a rule."""
    allow_nested_body: bool = False
    """Accept ``body: "a.b"`` in rules, which google/api/http.proto forbids."""
    unexpected_body: Policy = "reject"
    """What to do with a body where the rule has none."""
    body_conflict: Literal["reject", "path_wins"] = "reject"
    """What to do when body or query give a path-bound field another value than the path."""
    strict_slash: bool = False
    """Answer 404 to a trailing slash instead of dropping it."""
    path_decoding: Literal["all_except_slash", "all_except_reserved", "all"] = "all_except_slash"
    """Which escapes are decoded in variables of several segments."""
    form_fallback: bool = False
    """Let an urlencoded POST carry the query parameters of another method."""
    plus_as_space: bool = True
    """Read ``+`` in the query as a space."""
    unknown_query: Policy = "reject"
    """What to do with a query parameter that names no field."""
    ignored_query_parameters: tuple[str, ...] = ()
    """Query names dropped before binding."""
    query_maps: bool = False
    """Accept ``field[key]=value`` for map fields."""
    unknown_json: Policy = "reject"
    """What to do with a JSON member that names no field."""
    validation: bool = True
    """Refuse requests that break the rules which their contract states with protovalidate's options (buf.validate)."""
    rules_package: str = "buf.validate"
    """Package that declares the options of such rules; another one may state its own by the same names."""
    required_fields: bool = False
    """Refuse requests without a field of behaviour REQUIRED (google.api.field_behavior)."""
    inexact_integers: Policy = "ignore"
    """What to do with whole numbers beyond 2^53 in a Struct, which a double would round."""
    emit_defaults: bool = False
    """Print fields without presence also when they hold their default."""
    emit_empty_details: bool = False
    """Print ``details`` of errors also when there are none."""
    preserve_proto_field_names: bool = False
    """Print proto names instead of lowerCamelCase; both are always read."""
    enums_as_ints: bool = False
    """Print enum numbers instead of names."""
    auto_update_mask: bool = True
    """Fill the update mask of a PATCH from the members of its body."""
    heartbeat: float = 15.0
    """Longest silence on a stream before a filler is sent."""
    sse_end_event: bool = False
    """End a finished SSE stream with ``event: end``."""
    sse_id_field: str = "resume_token"
    """Field of a streamed message that becomes the SSE ``id``; empty turns it off."""
    sse_event_oneof: str = "event"
    """Oneof of a streamed message whose set member names the SSE ``event``; empty turns it off."""
    ndjson_heartbeat: bool = False
    """Send empty lines as heartbeats on NDJSON streams."""
    write_timeout: float = 30.0
    """Longest wait for a client that does not read."""
    max_body: int = 4 * MIB
    """Longest request body after decompression; streamed uploads are bounded by max_message."""
    max_message: int = 4 * MIB
    """Longest single request message, in JSON and in protobuf (gRPC's own default)."""
    max_response: int = 64 * MIB
    """Longest response message; channels must be opened with at least this receive limit."""
    max_depth: int = 100
    """Deepest nesting of JSON containers (upb parses no deeper messages)."""
    max_params: int = 200
    """Most query parameters of one request."""
    max_keys: int = 200_000
    """Most object members in one JSON body."""
    max_headers: int = 128
    """Most request headers."""
    max_header_size: int = 8 * 1024
    """Longest request header."""
    max_headers_size: int = 32 * 1024
    """Longest sum of all request headers."""
    default_timeout: float = 30.0
    """Deadline of a unary call that names none."""
    max_timeout: float = 300.0
    """Longest deadline of a unary call."""
    max_stream_timeout: float = 3600.0
    """Longest deadline of a streaming call, and its default."""
    allowed_headers: tuple[str, ...] = (
        "traceparent",
        "tracestate",
        "x-request-id",
        "accept-language",
    )
    """Request headers forwarded as metadata under their own name."""
    denied_metadata: tuple[str, ...] = ()
    """Metadata names that ``Grpc-Metadata-`` headers may not set, beyond the built-in list."""
    response_headers: tuple[str, ...] = (
        "etag",
        "last-modified",
        "cache-control",
        "retry-after",
        "x-request-id",
        "content-language",
        "content-disposition",
        "www-authenticate",
    )
    """Initial metadata of the backend that become response headers."""
    response_trailers: tuple[str, ...] = ()
    """Trailing metadata of unary calls that become ``Grpc-Trailer-`` headers."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose forwarding headers the edge believes; not read by the transcoder itself."""
    cors_origins: tuple[str, ...] = ()
    """Origins that the edge's CORS layer allows; not read by the transcoder itself."""
    header_fields: tuple[tuple[str, str], ...] = ()
    """Pairs (header, request field path) for headers that set a field, such as If-Match."""
    expose_internal_errors: bool = False
    """Show callers the text of UNKNOWN, INTERNAL and DATA_LOSS errors."""
    require_connect_version: bool = False
    """Refuse Connect requests without ``Connect-Protocol-Version``."""
    compress: Literal["public", "all", "off"] = "public"
    """Which answers are compressed; ``public`` leaves out requests that carry credentials (BREACH)."""
