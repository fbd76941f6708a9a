"""`memorybox version`."""

import argparse
import platform
from collections.abc import Mapping
from importlib.metadata import version

from services.cli.output import print_json


def run(arguments: argparse.Namespace, _environ: Mapping[str, str]) -> int:
    """Print the version; as JSON also that of what it runs on."""
    if arguments.json:
        print_json({"version": version("memorybox"), "python": platform.python_version(), "grpc": version("grpcio")})
    else:
        print(f"memorybox {version('memorybox')}")
    return 0
