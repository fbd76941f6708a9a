"""`memorybox model`: semantic models of the running mesh."""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from services.cli.client import open_gateway
from services.cli.output import print_json, print_table, printable


def run_draft(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print a first semantic model of tables."""
    body = {"name": arguments.name, "tables": arguments.tables}
    answer = asyncio.run(_call("POST", "/v1/semanticModels:draft", body, environ))
    if arguments.json:
        print_json(answer)
    elif arguments.output:
        arguments.output.write_text(answer["yaml"])
    else:
        sys.stdout.write(answer["yaml"])
    return 0


def run_put(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Keep a file as a semantic model."""
    body: dict[str, Any] = {"yaml": arguments.file.read_text()}
    if arguments.access:
        body |= {"accessLevel": arguments.access, "readerRoles": arguments.role}
    answer = asyncio.run(_call("PUT", _path(arguments.name or _name(arguments.file)), body, environ))
    if arguments.json:
        print_json(answer)
    else:
        print(f"{answer['name']}, version {answer['version']}")
        _print_findings(answer.get("findings", []), arguments.file)
    return 0


def run_check(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Say what is wrong or odd in a file; the exit code is 1 when something is wrong."""
    body = {"yaml": arguments.file.read_text()}
    answer = asyncio.run(_call("POST", "/v1/semanticModels:validate", body, environ))
    if arguments.json:
        print_json(answer)
    else:
        _print_findings(answer.get("findings", []), arguments.file)
    return 0 if answer["valid"] else 1


def run_list(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the semantic models that one may see."""
    answer = asyncio.run(_call("GET", "/v1/semanticModels?pageSize=1000", None, environ))
    if arguments.json:
        print_json(answer)
        return 0
    models = answer["semanticModels"]
    rows = [
        (
            printable(item["name"]),
            str(item["version"]),
            printable(item["ownerUser"]),
            item["accessLevel"],
            printable(item["description"]),
        )
        for item in models
    ]
    print_table(("MODEL", "VERSION", "OWNER", "ACCESS", "DESCRIPTION"), rows)
    return 0


async def _call(method: str, path: str, body: Mapping[str, Any] | None, environ: Mapping[str, str]) -> dict[str, Any]:
    async with open_gateway(environ) as gateway:
        return await gateway.require(path, body, method=method)


def _path(name: str) -> str:
    return f"/v1/semanticModels/{quote(name, safe='')}"


def _name(file: Path) -> str:
    return file.name.partition(".")[0]


def _print_findings(findings: list[dict[str, Any]], file: Path) -> None:
    for item in findings:
        place = f"{file}:{item['line']}:{item['column']}"
        print(f"{place}: {item['severity'].lower()}: {printable(item['message'])}", file=sys.stderr)
