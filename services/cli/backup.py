"""`memorybox backup`: make, list and verify backups. A running mesh makes them itself; they are read without it."""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from services.cli.client import Gateway, open_gateway
from services.cli.output import print_json, print_table
from services.memory.domain.backups import Backup
from services.memory.settings import Settings
from services.memory.stores.embedded import offline
from services.mesh.config import MeshSettings, load
from services.mesh.errors import MemoryBoxError

LOOK_EVERY_S = 0.5


class OperationFailed(MemoryBoxError):
    """The operation that a command waited for ended with an error; the message is its own."""

    reason = "OPERATION_FAILED"


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do what was asked for; to verify is 0 only when all is well."""
    mesh, settings = load(MeshSettings, environ), load(Settings, environ)
    match arguments.what:
        case "create":
            made = _create(mesh, settings, environ)
            _print(
                arguments, made, f"backup {made['backupId']}: {made['memoryCount']} memories, {made['sizeBytes']} bytes"
            )
        case "list":
            found = [
                _to_json(backup)
                for backup in offline.open_backups(mesh.data_dir, mesh.keys_dir, settings.backup_dir).backups()
            ]
            if arguments.json:
                print_json({"backups": found})
            else:
                print_table(("BACKUP", "MADE", "BYTES", "MEMORIES", "WHOLE"), [_row(backup) for backup in found])
        case _:
            backups = offline.open_backups(mesh.data_dir, mesh.keys_dir, settings.backup_dir)
            backup_id = arguments.backup or offline.newest(backups).backup_id
            rows, owners = offline.verify(backups, backup_id)
            answer = {"backupId": backup_id, "valid": True, "shreddedRowCount": rows, "shreddedOwnerCount": owners}
            shredded = f"; {rows} rows of {owners} erased owners can be read no more" if rows else ""
            _print(arguments, answer, f"backup {backup_id} is whole{shredded}")
    return 0


async def wait_for(gateway: Gateway, operation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of an operation, telling on standard error how far it is. Raises ``OperationFailed``."""
    told = ""
    while not operation.get("done"):
        metadata = operation["metadata"]
        told = _tell(told, f"{metadata['kind']}: {metadata['doneCount']} of {metadata['totalCount']}")
        await asyncio.sleep(LOOK_EVERY_S)
        reply = await gateway.call("GET", f"/v1/{operation['name']}", None)
        operation = reply.body if reply.ok else operation  # whoever starts again does not answer for a moment
    if "error" in operation:
        raise OperationFailed(operation["error"]["message"])
    result: dict[str, Any] = operation["response"]
    return result


def _tell(told: str, line: str) -> str:
    if line != told:
        print(line, file=sys.stderr)
    return line


def _create(mesh: MeshSettings, settings: Settings, environ: Mapping[str, str]) -> dict[str, Any]:
    backups = offline.open_backups(mesh.data_dir, mesh.keys_dir, settings.backup_dir, read_only=False)
    if offline.is_in_use(backups):
        return asyncio.run(_create_online(mesh, environ))
    return _to_json(offline.create(backups, settings.backup_keep))


async def _create_online(mesh: MeshSettings, environ: Mapping[str, str]) -> dict[str, Any]:
    async with open_gateway(environ, roles=(mesh.governor_role,)) as gateway:
        return await wait_for(gateway, await gateway.require("/v1/backups", {}))


def _to_json(backup: Backup) -> dict[str, Any]:
    return {
        "backupId": backup.backup_id,
        "createdAt": backup.created_at.isoformat(),
        "sizeBytes": str(backup.size_bytes),
        "verified": backup.verified,
        "memoryCount": str(backup.memory_count),
        "schemaVersion": backup.schema_version,
    }


def _row(backup: Mapping[str, Any]) -> tuple[str, ...]:
    whole = "yes" if backup["verified"] else "no"
    return (backup["backupId"], backup["createdAt"], backup["sizeBytes"], backup["memoryCount"], whole)


def _print(arguments: argparse.Namespace, document: Mapping[str, Any], text: str) -> None:
    if arguments.json:
        print_json(document)
    else:
        print(text)
