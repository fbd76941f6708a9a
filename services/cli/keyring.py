"""`memorybox keys`: who may sign hop tokens, and for what."""

import argparse
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from services.cli.arguments import UsageError
from services.cli.grants import CLIENT_RPCS, standard_keys
from services.cli.output import print_json, print_table
from services.mesh.config import MeshSettings, load
from services.mesh.keys import ANY, Grant, Key, KeyFolder

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
RPC = re.compile(r"/[A-Za-z_][\w.]*/(\*|[A-Za-z_]\w*)")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do what ``arguments.action`` says."""
    folder = KeyFolder(load(MeshSettings, environ).keys_dir)
    match arguments.action:
        case "issue":
            keys: Iterable[Key] = [folder.issue(_new_name(arguments.name), "client", _grant(arguments))]
            told = "issued"
        case "rotate":
            present = folder.read().active(arguments.name)
            keys = [folder.issue(present.name, present.kind, present.grant)]
            told = f"stays valid beside {present.kid}; end that with `memorybox keys revoke {present.kid}`"
        case "revoke":
            keys = folder.revoke(arguments.name)
            told = "revoked"
        case _:
            keys = folder.read().keys
            told = ""
    _print(list(keys), told, as_json=arguments.json)
    return 0


def _new_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UsageError(f"a key's name is 1 to 63 of a-z 0-9 . _ - and starts with a letter or digit, got {name!r}")
    if name in {standard for standard, _, _ in standard_keys("")}:
        raise UsageError(f"{name!r} is a key that the mesh itself uses; `memorybox keys rotate {name}` renews it")
    return name


def _grant(arguments: argparse.Namespace) -> Grant:
    unknown = sorted(set(arguments.audience) - set(CLIENT_RPCS))
    if unknown:
        raise UsageError(f"no service {unknown[0]!r} takes clients; audiences are {', '.join(CLIENT_RPCS)}")
    if ANY in {*arguments.user, *arguments.role}:
        raise UsageError("only the gateway's key may vouch for any user or role; name them one by one")
    rpcs = arguments.rpc or [rpc for audience in arguments.audience for rpc in CLIENT_RPCS[audience]]
    for rpc in rpcs:
        if not RPC.fullmatch(rpc):
            raise UsageError(f"--rpc is /package.Service/Method or /package.Service/*, got {rpc!r}")
    return Grant(_unique(arguments.user), _unique(arguments.role), _unique(arguments.audience), _unique(rpcs))


def _unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def _print(keys: list[Key], told: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"keys": [_document(key) for key in keys]})
    elif told:
        for key in keys:
            print(f"{key.name} {key.kid}: {told}")
    else:
        print_table(("NAME", "KID", "KIND", "STATE", "MAY"), [_row(key) for key in keys])


def _document(key: Key) -> dict[str, object]:
    grant = {
        "users": key.grant.users,
        "roles": key.grant.roles,
        "audiences": key.grant.audiences,
        "rpcs": key.grant.rpcs,
    }
    about = {"name": key.name, "kid": key.kid, "kind": key.kind, "createdAt": _time(key.created_at)}
    return {**about, "revokedAt": _time(key.revoked_at), "grant": grant}


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _row(key: Key) -> tuple[str, ...]:
    state = "active" if key.revoked_at is None else f"revoked {_time(key.revoked_at)}"
    users = ", ".join((key.own_user, *key.grant.users))
    roles = f" with roles {', '.join(key.grant.roles)}" if key.grant.roles else ""
    return key.name, key.kid, key.kind, state, f"{users}{roles} at {', '.join(key.grant.audiences) or 'no service'}"
