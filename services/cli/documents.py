"""From files to memories that a server is asked to keep: which files, cut how, and under which request ids."""

import codecs
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from services.cli.front_matter import split_front_matter
from services.cli.markdown import Passage, split_markdown, split_text
from services.mesh.errors import NotFound

MARKDOWN = frozenset({".md", ".markdown", ".mdown", ".mkd"})
JSON_LINES = frozenset({".jsonl", ".ndjson"})
# Text, but nothing that anyone told: markup, code and data. Passed over in folders; imported when named on the command line.
_MARKUP = (".css", ".htm", ".html", ".less", ".scss", ".svg", ".vue", ".xml")
_DATA = (".cfg", ".conf", ".csv", ".ini", ".ipynb", ".json", ".lock", ".map", ".toml", ".tsv", ".yaml", ".yml")
_CODE = tuple(
    f".{name}"
    for name in (
        *(
            "bat",
            "c",
            "cc",
            "cpp",
            "cs",
            "go",
            "h",
            "hpp",
            "java",
            "js",
            "jsx",
            "kt",
            "mjs",
            "php",
            "pl",
            "proto",
            "ps1",
        ),
        *("py", "pyi", "rb", "rs", "sh", "sql", "swift", "ts", "tsx"),
        *(
            "asm",
            "bash",
            "cmake",
            "csh",
            "cu",
            "cxx",
            "dart",
            "f",
            "f77",
            "f90",
            "f95",
            "fish",
            "hh",
            "hxx",
            "inc",
            "jl",
        ),
        *("lua", "m", "mm", "pxd", "pxi", "pyf", "pyx", "s", "scala", "tcl", "zig", "zsh"),
    )
)
NOT_PROSE = frozenset((*_MARKUP, *_DATA, *_CODE))
LARGEST_FILE = 64 * 1024 * 1024  # bytes; read whole, unless it is JSON Lines
LARGEST_CONTENT = 1024 * 1024  # bytes of UTF-8, the server's limit
_LOOK_AT = 8192  # bytes in which a zero byte shows that a file is not text


class NoSuchPath(NotFound):
    """A path to import does not exist."""

    reason = "NO_SUCH_PATH"


@dataclass(frozen=True, slots=True)
class Item:
    """One memory to keep. The request id follows from where it stands and what it says, so sending it again keeps it once."""

    memory: dict[str, Any]
    request_id: str
    origin: str  # for people: file, and line where there is one


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that cannot be a memory, and why. A *skipped* one was not meant to be one."""

    origin: str
    why: str
    skipped: bool


@dataclass(frozen=True, slots=True)
class Manner:
    """How to make memories: where to put them, how to tag them, where to cut."""

    bucket: str = ""
    tags: tuple[str, ...] = ()
    by_paragraph: bool = True


Found = Iterator[tuple[dict[str, Any] | Fault, str]]  # (memory or why there is none, origin)


def find_files(paths: Sequence[Path]) -> tuple[list[Path], list[Fault]]:
    """Return every file at *paths*, each once, folders walked in order of names; what is passed over there is told."""
    files: dict[Path, None] = {}
    faults: list[Fault] = []
    for path in paths:
        if path.is_dir():
            _walk(path, files, faults)
        elif path.exists():
            files[path.absolute()] = None
        else:
            raise NoSuchPath(f"no such file or folder: {path}")
    return list(files), faults


def _walk(root: Path, files: dict[Path, None], faults: list[Fault]) -> None:
    def unreadable(error: OSError) -> None:
        faults.append(Fault(displayable(str(error.filename)), error.strerror or "unreadable", skipped=True))

    for folder, names, file_names in os.walk(root.absolute(), onerror=unreadable):
        for name in (*names, *file_names):
            if name.startswith("."):  # a hidden folder is not entered
                faults.append(Fault(displayable(Path(folder, name)), "hidden", skipped=True))
            elif name in names and Path(folder, name).is_symlink():
                faults.append(Fault(displayable(Path(folder, name)), "a link to a folder", skipped=True))
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(file_names):
            path = Path(folder, name)
            if path.suffix.lower() in NOT_PROSE:
                faults.append(
                    Fault(displayable(path), f"{path.suffix} is not prose; name the file to import it", skipped=True)
                )
            elif not name.startswith("."):
                files[path] = None


def read_items(path: Path, manner: Manner) -> Iterator[Item | Fault]:
    """Yield a memory for each passage or line of one file, and what cannot be one."""
    seen: Counter[bytes] = Counter()
    name = displayable(path)
    try:
        why = _unfit(path)
        if why:
            yield Fault(name, why, skipped=True)
            return
        read = _from_json_lines if path.suffix.lower() in JSON_LINES else _from_text
        for memory, origin in read(path, name, manner):
            if isinstance(memory, Fault):
                yield memory
            else:
                yield Item(memory, _request_id(path, memory, seen), origin)
    except UnicodeDecodeError:
        yield Fault(name, "not UTF-8 text", skipped=True)
    except OSError as error:
        yield Fault(name, error.strerror or str(error), skipped=True)


def displayable(path: Path | str) -> str:
    """Return *path* as text that can be printed, also where its name is not UTF-8."""
    return str(path).encode(errors="replace").decode()


def _unfit(path: Path) -> str:
    """Return why *path* is no text to read, or nothing."""
    if not path.is_file():
        return "not a regular file"
    with path.open("rb") as file:
        start = file.read(_LOOK_AT)
    if not start.strip():
        return "empty"
    if b"\0" in start:
        return "binary"
    if path.suffix.lower() not in JSON_LINES and path.stat().st_size > LARGEST_FILE:
        return f"larger than {LARGEST_FILE} bytes"
    return ""


def _from_text(path: Path, name: str, manner: Manner) -> Found:
    text = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    is_markdown = path.suffix.lower() in MARKDOWN
    metadata, text = split_front_matter(text) if is_markdown else ({}, text)
    if manner.by_paragraph:
        passages = split_markdown(text) if is_markdown else split_text(text)
    else:
        passages = [Passage(text.strip("\n").rstrip())]
    for passage in passages:
        if len(passage.content.encode()) > LARGEST_CONTENT:
            yield Fault(name, f"a passage is larger than 1 MiB: {passage.content[:40]!r} ...", skipped=False), name
        elif passage.content:
            yield _from_passage(path, passage, metadata, manner), name


def _from_passage(path: Path, passage: Passage, metadata: dict[str, Any], manner: Manner) -> dict[str, Any]:
    memory: dict[str, Any] = {"content": passage.content}
    if path.suffix.lower() in MARKDOWN:
        memory["contentType"] = "text/markdown"
    about = {**metadata, **({"headings": list(passage.headings)} if passage.headings else {})}
    if about:
        memory["metadata"] = about
    tags = metadata.get("tags")
    if isinstance(tags, list):
        memory["tags"] = [tag for tag in tags if isinstance(tag, str)]
    return _placed(memory, path, manner)


def _from_json_lines(path: Path, name: str, manner: Manner) -> Found:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text, origin = line.removeprefix(codecs.BOM_UTF8).strip(), f"{name}:{number}"
            if not text:
                continue
            try:
                memory = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                yield Fault(origin, f"not JSON: {error}", skipped=False), origin
                continue
            if isinstance(memory, dict):
                yield _placed(memory, path, manner), origin
            else:
                yield Fault(origin, "not a JSON object", skipped=False), origin


def _placed(memory: dict[str, Any], path: Path, manner: Manner) -> dict[str, Any]:
    """Add to *memory* what the command line says, and where it came from; what it says itself stays."""
    tags = memory.get("tags", [])
    if isinstance(tags, list) and (tags or manner.tags):
        memory["tags"] = [*tags, *(tag for tag in manner.tags if tag not in tags)]
    if manner.bucket and not memory.get("bucket"):
        memory["bucket"] = manner.bucket
    memory.setdefault("source", {"uri": path.as_uri(), "kind": "file"})
    return memory


def _request_id(path: Path, memory: dict[str, Any], seen: Counter[bytes]) -> str:
    """Return an id from the path, the whole memory, and which of its equals in this file it is.

    The place among equals, not the line, so that text added above does not make new memories of all that follows.
    """
    content = hashlib.sha256(orjson.dumps(memory, option=orjson.OPT_SORT_KEYS)).digest()
    seen[content] += 1
    place = f"{path}\0{seen[content]}\0".encode(errors="surrogateescape")
    return f"import-{hashlib.sha256(place + content).hexdigest()[:48]}"
