"""Files on the way into the local warehouse: read in an engine of their own that sees nothing but one folder, with types found out."""

import gzip
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from services.analyst.domain.warehouse import FileUnreadable

_PARQUET, _ZIP, _GZIP = b"PAR1", b"PK\x03\x04", b"\x1f\x8b"
_UNPACK = 8  # times the largest file: what one may grow to
_BLOCK = 1 << 20
_MARK = "NA"  # what R and pandas write for a missing value
_SAMPLE = -1  # rows that types are told from: all, so that no late row surprises
_ARROW_ROWS = 100_000  # of one batch
_STAGED = "staged"


@contextmanager
def staged(file: Path, kind: str, null_text: str, *, max_bytes: int, memory_mib: int) -> Iterator[Any]:
    """Yield the rows of *file* as a reader of Arrow batches. Raises ``FileUnreadable``.

    *kind* is ``CSV``, ``PARQUET``, ``JSON`` or empty: told by the first bytes. Times with a zone become times in UTC.
    """
    file = _unpacked(file, max_bytes * _UNPACK)
    kind = kind or _kind(file)
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{memory_mib}MB",
        "threads": "2",
        "temp_directory": str(file.parent / "spill"),
        "autoinstall_known_extensions": "false",
    }
    with duckdb.connect(":memory:", config=settings) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET allowed_directories = ?", [[str(file.parent)]])
        connection.execute("SET enable_external_access = false")
        try:
            relation = _relation(connection, file, kind, null_text)
            yield _without_zones(relation).to_arrow_reader(_ARROW_ROWS)
        except duckdb.Error as error:
            raise FileUnreadable(f"the file cannot be read as {kind}: {_first_line(error)}") from error


def _relation(connection: duckdb.DuckDBPyConnection, file: Path, kind: str, null_text: str) -> duckdb.DuckDBPyRelation:
    match kind:
        case "PARQUET":
            return connection.read_parquet(str(file))
        case "JSON":
            return connection.read_json(str(file), sample_size=_SAMPLE)
        case _:
            return _csv(connection, file, null_text)


def _csv(connection: duckdb.DuckDBPyConnection, file: Path, null_text: str) -> duckdb.DuckDBPyRelation:
    """Read a CSV file; without a *null_text*, ``NA`` stands for NULL where that makes something else of a text column."""

    def read(nulls: list[str]) -> duckdb.DuckDBPyRelation:
        return connection.read_csv(str(file), na_values=nulls, sample_size=_SAMPLE)

    if null_text:
        return read(["", null_text])
    plain, marked = read([""]), read(["", _MARK])
    return plain if plain.types == marked.types else marked


def _without_zones(relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    if not any("WITH TIME ZONE" in str(kind) for kind in relation.types):
        return relation
    shown = [
        f"CAST({_quoted(name)} AS TIMESTAMP) AS {_quoted(name)}"
        if str(kind) == "TIMESTAMP WITH TIME ZONE"
        else _quoted(name)
        for name, kind in zip(relation.columns, relation.types, strict=True)
    ]
    return relation.project(", ".join(shown))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _kind(file: Path) -> str:
    with file.open("rb") as opened:
        start = opened.read(4096)
    if start.startswith(_PARQUET):
        return "PARQUET"
    return "JSON" if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")) else "CSV"


def _unpacked(file: Path, max_bytes: int) -> Path:
    """Return *file*, or what it holds when it is packed."""
    with file.open("rb") as opened:
        start = opened.read(4)
    if not start.startswith((_ZIP, _GZIP)):
        return file
    target = file.with_name(f"{file.name}.unpacked")
    try:
        with _opened(file, start) as source, target.open("wb") as out:
            while block := source.read(_BLOCK):
                if out.tell() + len(block) > max_bytes:
                    raise FileUnreadable(f"the file unpacks to more than {max_bytes} bytes")
                out.write(block)
    except (
        zipfile.BadZipFile,
        gzip.BadGzipFile,
        EOFError,
        zlib.error,
        RuntimeError,
    ) as error:  # the last: locked, or packed strangely
        raise FileUnreadable("the file is packed, but cannot be unpacked") from error
    return target


@contextmanager
def _opened(file: Path, start: bytes) -> Iterator[Any]:
    if start.startswith(_GZIP):
        with gzip.open(file) as source:
            yield source
        return
    with zipfile.ZipFile(file) as archive:
        names = [item for item in archive.infolist() if not item.is_dir() and not item.filename.startswith("__MACOSX/")]
        if len(names) != 1:
            raise FileUnreadable(f"an archive must hold one file, got {len(names)}")
        with archive.open(names[0]) as source:
            yield source


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(": ")[2][:300] or "its form is not understood"


def clear(folder: Path) -> None:
    """Remove what an earlier process left on its way."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
