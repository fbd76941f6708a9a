"""`memorybox ask`: a question in plain language, answered over the tables of a semantic model."""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from typing import Any

import orjson

from services.cli.client import open_gateway
from services.cli.output import print_json, print_table, printable

_LONGEST_CELL = 60


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the answer; the exit code is 1 when there is none."""
    request = {
        "question": " ".join(arguments.question),
        "semanticModel": arguments.model,
        "asOf": arguments.as_of,
        "conversationId": arguments.conversation,
    }
    events = asyncio.run(_ask(request, environ))
    if arguments.json:
        print_json(events)
    else:
        for event in events:
            _print(event, with_sql=arguments.sql)
        _print_rows(events)
    return 0 if any("result" in event for event in events) else 1


async def _ask(request: Mapping[str, Any], environ: Mapping[str, str]) -> list[dict[str, Any]]:
    async with open_gateway(environ) as gateway:
        await gateway.greet()
        return [orjson.loads(line) async for line in gateway.lines("/v1/analyst:ask", {}, body=request)]


def _print(event: Mapping[str, Any], *, with_sql: bool) -> None:
    match event:
        case {"interpretation": {"text": text}}:
            print(f"Read as: {printable(text)}")
        case {"sql": {"statement": statement, "verifiedQuery": verified}}:
            if verified:
                print(f"Rests on the verified query {printable(verified)}.")
            if with_sql:
                print(statement)
        case {"warnings": {"messages": messages}}:
            for message in messages:
                print(f"memorybox: {printable(message)}", file=sys.stderr)
        case {"explanation": {"text": text}}:
            print(printable(text))
        case {"suggestions": {"reason": reason, "questions": questions}}:
            print(f"Not answered: {printable(reason)}")
            for question in questions:
                print(f"  try: {printable(question)}")


def _print_rows(events: list[dict[str, Any]]) -> None:
    pages = [event["result"] for event in events if "result" in event]
    if not pages:
        return
    rows = [tuple(_cell(value) for value in row) for page in pages for row in page["rows"]]
    print()
    print_table([printable(column["name"]) for column in pages[0]["columns"]], rows)
    if any(event.get("done", {}).get("truncated") for event in events):
        print(f"... only the first {len(rows)} rows")


def _cell(value: Any) -> str:
    text = (
        "" if value is None else f"{value:.6g}" if isinstance(value, float) and value % 1 else printable(_plain(value))
    )
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 3]}..."


def _plain(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) else str(value)
