"""`memorybox search`: finds memories by meaning, by words, or both."""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from services.cli.client import open_gateway
from services.cli.output import print_json, print_table, printable, terminal_columns

_BEFORE_MATCH = 30  # code points of a snippet that stand before the first match
_LEAST_SNIPPET = 40
_LONGEST_SOURCE = 30
_CUT = "..."


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the hits, best first."""
    request: dict[str, Any] = {"query": " ".join(arguments.text)}
    optional = {"mode": arguments.mode, "topK": arguments.top_k, "bucket": arguments.bucket}
    request.update({name: value for name, value in optional.items() if value})
    if arguments.min_score is not None:
        request["minScore"] = arguments.min_score
    answer = asyncio.run(_search(request, environ))
    if arguments.json:
        print_json(answer)
        return 0
    for warning in answer.get("warnings", []):
        print(f"memorybox: {printable(warning)}", file=sys.stderr)
    hits = answer.get("hits", [])
    if hits:
        _print(hits)
    else:
        print("nothing found")
    return 0


async def _search(request: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    async with open_gateway(environ) as gateway:
        return await gateway.require("/v1/memories:search", request)


def _print(hits: list[dict[str, Any]]) -> None:
    rows = []
    for rank, hit in enumerate(hits, start=1):
        memory, score = hit["memory"], hit.get("score")
        shown_score = "-" if score is None else f"{score:.3f}"
        rows.append((str(rank), shown_score, printable(memory.get("bucket", "")), _source(memory)))
    taken = sum(max(len(row[column]) for row in rows) for column in range(4)) + 12
    width = max(_LEAST_SNIPPET, terminal_columns() - taken)
    texts = [_snippet(hit, width) for hit in hits]
    print_table(
        ("#", "SCORE", "BUCKET", "SOURCE", "TEXT"), [(*row, text) for row, text in zip(rows, texts, strict=True)]
    )


def _source(memory: Mapping[str, Any]) -> str:
    """Return where a memory came from; of a file its folder and name, and the end of what is long."""
    uri = printable((memory.get("source") or {}).get("uri", ""))
    path = urlsplit(uri)
    shown = "/".join(printable(unquote(path.path)).split("/")[-2:]) if path.scheme == "file" else uri
    return (shown if len(shown) <= _LONGEST_SOURCE else f"...{shown[3 - _LONGEST_SOURCE :]}") or "-"


def _snippet(hit: Mapping[str, Any], width: int) -> str:
    """Return *width* code points of the content, from a little before the first word found, or the part that matched."""
    content = printable(hit["memory"].get("content", ""))
    before = hit["memory"].get("content", "")[: _place(hit)]
    start = len(printable(before)) - _BEFORE_MATCH  # blanks have been folded, so places have moved
    start = max(0, min(start, len(content) - width + len(_CUT)))
    text = f"{_CUT}{content[start:]}" if start else content
    return text if len(text) <= width else f"{text[: width - len(_CUT)]}{_CUT}"


def _place(hit: Mapping[str, Any]) -> int:
    starts = [highlight.get("start", 0) for highlight in hit.get("highlights", [])]
    place: int = min(starts) if starts else (hit.get("matchedPart") or {}).get("start", 0)
    return place
