"""What the gateway answers itself on the public port."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

from aiohttp import web

from services.gateway.transcoder import Route
from services.mesh.ops import Readiness

log = logging.getLogger(__name__)

Page = Callable[[web.BaseRequest], web.Response]
Pages = Mapping[str, Page]

PROBES = frozenset({"/livez", "/readyz"})


def probe_pages(readiness: Readiness) -> dict[str, Page]:
    """Return the probes; what is behind the gateway never makes it unready, and is not told here."""

    def livez(_request: web.BaseRequest) -> web.Response:
        return _json({"status": "live"})

    def readyz(_request: web.BaseRequest) -> web.Response:
        state = "ready" if readiness.ready else "draining" if readiness.draining else "starting"
        return _json({"status": state}, status=200 if readiness.ready else 503)

    return {"/livez": livez, "/readyz": readyz}


def own_pages(readiness: Readiness) -> dict[str, Page]:
    """Return the pages of Memory Box's own gateway."""

    def root(_request: web.BaseRequest) -> web.Response:
        about = {"name": "Memory Box", "version": version("memorybox"), "api": "/v1/memories"}
        return _json({**about, "description": "/openapi.json", "docs": "/docs"})

    return {"/": root, **probe_pages(readiness)}


def without_clashes(pages: Pages, routes: Sequence[Route]) -> dict[str, Page]:
    """Return *pages* without those whose path is a template of *routes*; each clash is logged."""
    taken = {route.template: route.grpc_method for route in routes}
    for path in pages:
        if path in taken:
            log.warning("%s serves %s, so the gateway's own page is not there", taken[path], path)
    return {path: page for path, page in pages.items() if path not in taken}


def _json(document: Mapping[str, str], status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(document).encode(), status=status, content_type="application/json")
