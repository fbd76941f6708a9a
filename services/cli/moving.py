"""`memorybox export` and `memorybox import --ndjson`: all of one's own memories to a file, and from one. Both go on after a break."""

import argparse
import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson

from services.cli.client import Gateway, StreamBroke, open_gateway
from services.cli.output import print_json
from services.mesh.errors import FailedPrecondition, InvalidInput

ATTEMPTS = 5  # to go on without a line of progress
PAUSE_S = 1.0
_SHOWN_REFUSALS = 10
_BLOCK = 1 << 20


class FileUnusable(FailedPrecondition):
    """A file cannot be read or written."""

    reason = "FILE_UNUSABLE"


class NotAnExport(InvalidInput):
    """A file is not what an export wrote."""

    reason = "NOT_AN_EXPORT"


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Export to a file that appears when it is whole, or to standard output."""
    try:
        with _target(arguments.file) as target:
            wanted = {"includeEmbeddings": not arguments.no_embeddings, "sealed": arguments.sealed}
            count = asyncio.run(_export(target, environ, wanted))
    except OSError as error:
        raise FileUnusable(f"cannot write {arguments.file}: {error.strerror}") from error
    if arguments.json and arguments.file:
        print_json({"exported": count, "file": str(arguments.file)})
    else:
        print(f"{count} exported", file=sys.stderr)
    return 0


@contextmanager
def _target(path: Path | None) -> Iterator[IO[bytes]]:
    if path is None:
        yield sys.stdout.buffer
        return
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as target:
        yield target
    partial.replace(path)


async def _export(target: IO[bytes], environ: Mapping[str, str], wanted: Mapping[str, bool]) -> int:
    count, failures, token = 0, 0, ""
    kind = "sealed" if wanted["sealed"] else "memory"
    async with open_gateway(environ) as gateway:
        await gateway.greet()
        while True:
            query = {name: str(value).lower() for name, value in wanted.items()} | {"resumeToken": token}
            try:
                async for line in gateway.lines("/v1/memories:export", query):
                    message = orjson.loads(line)
                    target.write(orjson.dumps({kind: message[kind]}) + b"\n")
                    token, count, failures = message["resumeToken"], count + 1, 0
            except StreamBroke as broken:
                failures += 1
                if failures == ATTEMPTS or not broken.is_passing:
                    raise
                await asyncio.sleep(PAUSE_S)
            else:
                return count


def run_import(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Import files that an export wrote; the exit code is 1 when something could not be kept."""
    answers = []
    for path in arguments.paths:
        try:
            answers.append(asyncio.run(_import(path, environ)))
        except OSError as error:
            raise FileUnusable(f"cannot read {path}: {error.strerror}") from error
    imported, failed = (sum(int(answer[key]) for answer in answers) for key in ("importedCount", "failedCount"))
    if arguments.json:
        errors = [refused for answer in answers for refused in answer["errors"]]
        print_json({"imported": imported, "failed": failed, "errors": errors})
    else:
        print(f"{imported} imported, {failed} failed")
        for path, answer in zip(arguments.paths, answers, strict=True):
            for refused in answer["errors"][:_SHOWN_REFUSALS]:
                print(f"failed {path}:{int(refused['index']) + 1}: {refused['error']['message']}", file=sys.stderr)
    return 1 if failed else 0


async def _import(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    import_id = await asyncio.to_thread(_digest, path)
    async with open_gateway(environ) as gateway:
        await gateway.greet()
        failures, reached = 0, "-1"
        while True:
            try:
                return await _send(gateway, path, import_id)
            except StreamBroke as broken:
                if not broken.is_passing:
                    raise
                now = (await gateway.upload("/v1/memories:import", _lines(None, import_id)))["lastCommittedIndex"]
                failures, reached = (failures + 1 if now == reached else 0), now
                if failures == ATTEMPTS:
                    raise
                await asyncio.sleep(PAUSE_S)


async def _send(gateway: Gateway, path: Path, import_id: str) -> dict[str, Any]:
    return await gateway.upload("/v1/memories:import", _lines(path, import_id))


async def _lines(path: Path | None, import_id: str) -> AsyncIterator[bytes]:
    """Yield an import's lines; without *path* they only ask how far it is."""
    yield orjson.dumps({"config": {"importId": import_id}}) + b"\n"
    if path is None:
        return
    with path.open("rb") as source:
        while line := await asyncio.to_thread(source.readline):
            if not line.lstrip().startswith(b"{"):
                raise NotAnExport(f"{path} is not an export: each line must be a JSON object")
            yield line if line.endswith(b"\n") else line + b"\n"


def _digest(path: Path) -> str:
    """Return what names the import of a file: the same contents are the same import."""
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while block := source.read(_BLOCK):
            digest.update(block)
    return f"file-{digest.hexdigest()}"
