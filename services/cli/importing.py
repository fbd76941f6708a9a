"""`memorybox import`: files become memories. Running it twice, or again after Ctrl-C, keeps everything once."""

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.cli.client import open_gateway
from services.cli.documents import Fault, Item, Manner, find_files, read_items
from services.cli.moving import run_import
from services.cli.output import print_json
from services.cli.upload import Counts, ImportInterrupted, Uploader, batches

SHOW_EVERY_S = 0.2
SHOWN_TO_PEOPLE = 10  # faults that are printed one by one


@dataclass(slots=True)
class _Progress:
    files: int
    files_read: int = 0


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Import; the exit code is 1 when something could not be kept, and 130 when it was interrupted."""
    if arguments.ndjson:
        return run_import(arguments, environ)
    manner = Manner(arguments.bucket, tuple(dict.fromkeys(arguments.tag)), arguments.chunk == "paragraph")
    files, skipped = find_files(arguments.paths)
    counts = Counts()
    for fault in skipped:
        counts.add_fault(fault)
    why = ""
    code = 0
    try:
        asyncio.run(_import(files, manner, counts, environ))
    except KeyboardInterrupt:
        why, code = "interrupted", 130
    except ImportInterrupted as error:
        why, code = str(error), 1
    _report(counts, why, as_json=arguments.json)
    return code or (1 if counts.failed else 0)


async def _import(files: list[Path], manner: Manner, counts: Counts, environ: Mapping[str, str]) -> None:
    progress = _Progress(len(files))
    async with open_gateway(environ) as gateway:
        await gateway.greet()
        uploader = Uploader(gateway.post, counts, began_at=datetime.now(UTC))
        showing = asyncio.create_task(_show(progress, counts))
        try:
            await uploader.send_all(batches(_read(files, manner, progress)))
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)


def _read(files: list[Path], manner: Manner, progress: _Progress) -> Iterator[Item | Fault]:
    for path in files:
        yield from read_items(path, manner)
        progress.files_read += 1


async def _show(progress: _Progress, counts: Counts) -> None:
    """Keep one line on a terminal up to date, and take it away in the end."""
    if not sys.stderr.isatty():
        return
    shown = ""
    try:
        while True:
            line = f"file {progress.files_read} of {progress.files}: {_sum(counts)}"
            if line != shown:
                print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
                shown = line
            await asyncio.sleep(SHOW_EVERY_S)
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _sum(counts: Counts) -> str:
    return f"{counts.imported} imported, {counts.already_there} already there, {counts.failed} failed"


def _report(counts: Counts, why: str, *, as_json: bool) -> None:
    if as_json:
        faults = [{"origin": f.origin, "message": f.why, "skipped": f.skipped} for f in counts.faults]
        numbers = {"imported": counts.imported, "alreadyThere": counts.already_there}
        rest = {"failed": counts.failed, "skipped": counts.skipped, "interrupted": why or None, "faults": faults}
        print_json({**numbers, **rest})
    else:
        print(_sum(counts) + (f", {counts.skipped} skipped" if counts.skipped else ""))
    if why:
        print(f"memorybox: {why}; run the same command again to go on where it ended", file=sys.stderr)
    if not as_json:
        _print_faults(counts)


def _print_faults(counts: Counts) -> None:
    """Print the first faults, those that failed before those that were skipped."""
    shown = sorted(counts.faults, key=lambda fault: fault.skipped)[:SHOWN_TO_PEOPLE]
    for fault in shown:
        print(f"{'skipped' if fault.skipped else 'failed'} {fault.origin}: {fault.why}", file=sys.stderr)
    rest = counts.failed + counts.skipped - len(shown)
    if rest:
        print(f"and {rest} more; --json lists the first {len(counts.faults)}", file=sys.stderr)
