"""Settings of the command line."""

import importlib
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.mesh.config import MeshSettings, load, setting

_SERVICE_SETTINGS = {
    "analyst": "Settings",
    "embedding": "EmbeddingSettings",
    "gateway": "GatewaySettings",
    "memory": "Settings",
}


def service_settings(name: str) -> type[Any]:
    """Return what the service *name* reads beside ``MeshSettings``; only then is it loaded."""
    found: type[Any] = getattr(importlib.import_module(f"services.{name}.settings"), _SERVICE_SETTINGS[name])
    return found


def operating_system_user() -> str:
    """Return the name of whoever runs this process; its number when it has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def user_name(text: str) -> str:
    """Parse a user's name: it travels in an HTTP header."""
    if not text.isprintable() or text != text.strip():
        raise ValueError("must be printable, without spaces around it")
    return text


@dataclass(frozen=True, slots=True)
class CliSettings:
    """What the command line alone knows."""

    user: str = setting(
        "MEMORYBOX_USER",
        default=operating_system_user,
        parse=user_name,
        doc="User that the command line acts as; default the OS user.",
    )


def reachable(bind: str) -> str:
    """Return the host part of an address at which whatever listens on *bind* answers on this machine."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104
    return f"[{host}]" if ":" in host else host


def public_url(environ: Mapping[str, str]) -> str:
    """Return where the gateway of this machine's mesh answers."""
    mesh = load(MeshSettings, environ)
    scheme = "https" if environ.get("MEMORYBOX_GATEWAY_TLS_CERT") else "http"
    return f"{scheme}://{reachable(mesh.bind)}:{mesh.http_port}"
