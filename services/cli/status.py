"""`memorybox status`: whether everything is ready."""

import argparse
import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from services.cli.output import print_json, print_table
from services.cli.settings import public_url, reachable
from services.mesh.config import BUILT_SERVICES, MeshSettings, load

ANSWER_WITHIN_S = 3.0
READY, NOT_READY, DOWN = "ready", "not ready", "down"


@dataclass(frozen=True, slots=True)
class State:
    """What a port answered."""

    name: str
    url: str
    state: str
    detail: str


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the state of each service's ops port and of the public port; 0 only when all are ready."""
    states = asyncio.run(ask_all(environ))
    ready = all(state.state == READY for state in states)
    if arguments.json:
        services = [{"name": s.name, "url": s.url, "state": s.state, "detail": s.detail} for s in states]
        print_json({"ready": ready, "services": services})
    else:
        print_table(("SERVICE", "STATE", "ASKED", "DETAIL"), [(s.name, s.state, s.url, s.detail) for s in states])
    return 0 if ready else 1


async def ask_all(environ: Mapping[str, str]) -> list[State]:
    """Return the state of every service's ops port and of the public port."""
    mesh = load(MeshSettings, environ)
    host = reachable(mesh.bind)
    asked = {name: f"http://{host}:{mesh.ops_port(name)}/readyz" for name in BUILT_SERVICES}
    asked["public HTTP"] = f"{public_url(environ)}/readyz"
    limit = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    async with aiohttp.ClientSession(timeout=limit) as http:
        return list(await asyncio.gather(*(_ask(http, name, url) for name, url in asked.items())))


async def _ask(http: aiohttp.ClientSession, name: str, url: str) -> State:
    try:
        async with http.get(url) as answer:
            ready = answer.status == HTTPStatus.OK
            detail = _detail(await answer.json(content_type=None)) if answer.content_type.endswith("json") else ""
            return State(name, url, READY if ready else NOT_READY, detail)
    except TimeoutError:
        return State(name, url, DOWN, f"no answer within {ANSWER_WITHIN_S:g} s")
    except (aiohttp.ClientError, ValueError) as error:
        return State(
            name, url, DOWN, "nobody listens" if isinstance(error, aiohttp.ClientConnectorError) else str(error)
        )


def _detail(document: Any) -> str:
    """Return what a readiness answer says, except that all is well."""
    if not isinstance(document, dict):
        return ""
    return ", ".join(f"{key}: {value}" for key, value in document.items() if (key, value) != ("status", READY))
