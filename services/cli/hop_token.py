"""`memorybox token`: a hop token for a client that calls a service over gRPC.

Whoever may read the keys folder operates the deployment, so by default the gateway's key signs, which may assert any user.
"""

import argparse
from collections.abc import Mapping

from services.cli.output import print_json
from services.cli.settings import CliSettings
from services.mesh.config import MeshSettings, load
from services.mesh.identity import HopSigner
from services.mesh.keys import GATEWAY, KeyFolder


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the token alone, or with what it says."""
    folder = KeyFolder(load(MeshSettings, environ).keys_dir)
    key = folder.read().active(arguments.key)
    user = arguments.user or (load(CliSettings, environ).user if key.kind == GATEWAY else key.own_user)
    signer = HopSigner(folder, key.name)
    token = signer.token(arguments.audience, user, arguments.role, arguments.ttl)
    if arguments.json:
        about = {"audience": arguments.audience, "user": user, "roles": sorted(set(arguments.role))}
        print_json({"token": token, **about, "key": arguments.key, "expiresInSeconds": arguments.ttl})
    else:
        print(token)
    return 0
