"""What the gateway says of its API: ``/openapi.json``, and ``/docs``, which shows it by Swagger UI's own files."""

import gzip
import hashlib
import html
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aiohttp import web

from services.gateway.edge.auth import ROLES_HEADER, USER_HEADER
from services.gateway.edge.pages import Page
from services.gateway.transcoder import Transcoder
from services.gateway.transcoder.openapi import About, openapi_json

OPENAPI_PATH = "/openapi.json"
DOCS_PATH = "/docs"

# The package is a carrier of files: its code, which would need Flask, is never imported.
_ASSETS_PACKAGE = "flask_swagger_ui"
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
_START = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  queryConfigEnabled: false,
  validatorUrl: null,
});
"""
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; the description itself is <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# Only our own files run and style. Swagger UI has small images in its style sheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Document:
    """Bytes that stay the same while the process lives, with what HTTP caches need."""

    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    packed: bytes = field(init=False)
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "packed", gzip.compress(self.body, compresslevel=6, mtime=0))
        object.__setattr__(self, "etag", hashlib.sha256(self.body).hexdigest()[:32])

    def __call__(self, request: web.BaseRequest) -> web.Response:
        """Answer 304, packed or plain, as *request* can take it; each form has an ETag of its own."""
        packed = len(self.packed) < len(self.body) and _takes_gzip(request)
        headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding", **self.headers}
        headers["ETag"] = f'"{self.etag}{".gzip" if packed else ""}"'
        if _is_known(request, headers["ETag"]):
            return web.Response(status=304, headers=headers)
        if packed:
            headers["Content-Encoding"] = "gzip"
        charset = "utf-8" if self.content_type.startswith("text/") else None
        body = self.packed if packed else self.body
        return web.Response(body=body, content_type=self.content_type, charset=charset, headers=headers)


def _takes_gzip(request: web.BaseRequest) -> bool:
    for item in request.headers.get("Accept-Encoding", "").split(","):
        coding, _, parameter = (part.strip() for part in item.partition(";"))
        if coding.lower() in {"gzip", "*"}:
            return parameter.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _is_known(request: web.BaseRequest, etag: str) -> bool:
    known = {item.strip().removeprefix("W/") for item in request.headers.get("If-None-Match", "").split(",")}
    return bool(known & {etag, "*"})


def api_pages(transcoder: Transcoder, about: About) -> dict[str, Page]:
    """Return the description of *transcoder*'s API and the page that shows it; takes a while, so not for the loop."""
    description = Document(openapi_json(transcoder, about), "application/json")
    return {OPENAPI_PATH: description, **_docs_pages(about.title)}


def _docs_pages(title: str) -> dict[str, Page]:
    """Return the page and its files; nothing where the package with the files is not installed."""
    spec = importlib.util.find_spec(_ASSETS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return {}
    folder = Path(spec.submodule_search_locations[0]) / "dist"
    page = Document(_PAGE.format(title=html.escape(title)).encode(), "text/html", {"Content-Security-Policy": _POLICY})
    pages: dict[str, Page] = {DOCS_PATH: page, f"{DOCS_PATH}/start.js": Document(_START.encode(), "text/javascript")}
    for name, kind in _ASSETS.items():
        pages[f"{DOCS_PATH}/{name}"] = Document((folder / name).read_bytes(), kind)
    return pages


def own_about(auth: str) -> About:
    """Return what is to be said of Memory Box's own API; *auth* is the gateway's mode of ``MEMORYBOX_AUTH``."""
    return About(
        title="Memory Box",
        version=version("memorybox"),
        description=(
            "Remembers what people and agents tell it, finds it again by meaning, and answers by what it may show.\n\n"
            "JSON is that of proto3: lowerCamelCase, 64-bit integers as text. Every error is a google.rpc.Status. "
            "The gRPC services behind it are described in the same words in their contracts."
        ),
        **_security(auth),
    )


def stranger_about(title: str, auth: str) -> About:
    """Return what is to be said of services that only their descriptors tell of."""
    return About(title=title, version="1", **_security(auth))


def _security(auth: str) -> dict[str, Any]:
    """Return how callers prove who they are, as the document says it."""
    if auth == "oidc":
        scheme = {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token of the OpenID provider.",
        }
        return {"security_schemes": {"bearer": scheme}, "security": [{"bearer": []}]}
    if auth == "spcs":
        text = 'Snowflake\'s ingress signs callers in: `Snowflake Token="<token>"`, or its cookie in browsers.'
        scheme = {"type": "apiKey", "in": "header", "name": "Authorization", "description": text}
        return {"security_schemes": {"snowflake": scheme}, "security": [{"snowflake": []}]}
    user = {
        "type": "apiKey",
        "in": "header",
        "name": USER_HEADER,
        "description": "Whom to act for; default the OS user.",
    }
    roles = {
        "type": "apiKey",
        "in": "header",
        "name": ROLES_HEADER,
        "description": "The user's roles, comma-separated.",
    }
    return {
        "security_schemes": {"user": user, "roles": roles},
        "security": [{}, {"user": []}, {"user": [], "roles": []}],
    }
