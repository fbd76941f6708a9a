"""`memorybox restore`: bring a backup back, aside or in place; with the mesh down as well, and when the data folder is lost."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import Any

from services.cli.backup import wait_for
from services.cli.client import open_gateway
from services.cli.output import print_json
from services.memory.domain.backups import Restored
from services.memory.settings import Settings
from services.memory.stores.embedded import offline
from services.mesh.config import MeshSettings, load

LATEST = "latest"


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Restore and say what came back."""
    mesh, settings = load(MeshSettings, environ), load(Settings, environ)
    backups = offline.open_backups(mesh.data_dir, mesh.keys_dir, settings.backup_dir)
    backup_id = offline.newest(backups).backup_id if arguments.backup == LATEST else arguments.backup
    if arguments.aside is not None:
        folder = arguments.aside.absolute()
        answer = _to_json(offline.restore_aside(backups, backup_id, folder)) | {"folder": str(folder)}
        where = f"to {folder}; `MEMORYBOX_DATA_DIR={folder} memorybox up` runs on it"
    else:
        where = "in place"
        if offline.is_in_use(backups):
            answer = asyncio.run(_replace_online(mesh, environ, backup_id))
        else:
            answer = _to_json(offline.restore_in_place(backups, backup_id))
    if arguments.json:
        print_json(answer)
    else:
        print(f"restored {answer['memoryCount']} memories of backup {backup_id} {where}")
        if int(answer["shreddedOwnerCount"]):
            print(f"left out: {answer['shreddedRowCount']} rows of {answer['shreddedOwnerCount']} owners erased since")
    return 0


async def _replace_online(mesh: MeshSettings, environ: Mapping[str, str], backup_id: str) -> dict[str, Any]:
    async with open_gateway(environ, roles=(mesh.governor_role,)) as gateway:
        started = await gateway.require(f"/v1/backups/{backup_id}:restore", {"inPlace": True})
        return await wait_for(gateway, started)


def _to_json(restored: Restored) -> dict[str, Any]:
    return {
        "backupId": restored.backup_id,
        "memoryCount": str(restored.memory_count),
        "shreddedRowCount": str(restored.shredded_row_count),
        "shreddedOwnerCount": str(restored.shredded_owner_count),
    }
