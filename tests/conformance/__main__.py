"""``python -m tests.conformance``: run the suite before a gateway and say which rules it keeps."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tests.conformance.cases import CASES, load
from tests.conformance.contract import descriptor_set
from tests.conformance.gateways import Envoy, Gateway, MemoryBox, Running, Unavailable
from tests.conformance.report import page, summary
from tests.conformance.runner import FAILED, Result, run


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 when a case of a single gateway failed."""
    arguments = _parser().parse_args(words)
    if arguments.write_descriptors:
        arguments.write_descriptors.write_bytes(descriptor_set())
        return 0
    chapters = load(arguments.cases)
    if arguments.only:
        for chapter in chapters:
            chapter.cases[:] = [
                case for case in chapter.cases if any(case.name.startswith(word) for word in arguments.only)
            ]
    cases = [case for chapter in chapters for case in chapter.cases]
    results: dict[str, list[Result]] = {}
    for gateway in _gateways(arguments):
        try:
            results[gateway.name] = asyncio.run(run(gateway, cases, backend_port=arguments.backend_port))
        except Unavailable as reason:
            print(f"{gateway.name} cannot run here: {reason}", file=sys.stderr)
            return 2
        if not arguments.quiet:
            for result in results[gateway.name]:
                if result.outcome == FAILED:
                    print(f"{result.case.name}: {result.text}")
    if arguments.page:
        arguments.page.write_text(page(chapters, results), encoding="utf-8")
    print(summary(chapters, results))
    failed = any(result.outcome == FAILED for result in results[next(iter(results))])
    return int(failed and len(results) == 1)


def _gateways(arguments: argparse.Namespace) -> list[Gateway]:
    if arguments.gateway:
        url = urlsplit(arguments.gateway)
        options = dict(pair.split("=", 1) for pair in arguments.option)
        return [Running(url.hostname or "127.0.0.1", url.port or 80, options)]
    known: dict[str, Gateway] = {"memorybox": MemoryBox(), "envoy": Envoy()}
    return [known[name] for name in arguments.start or known]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--gateway", metavar="URL", help="a gateway that runs already, before --backend-port")
    parser.add_argument(
        "--backend-port", type=int, default=0, metavar="PORT", help="where the scripted gRPC backend listens"
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting it was started with; runs the cases of that table",
    )
    parser.add_argument(
        "--start", action="append", choices=["memorybox", "envoy"], help="start this gateway; by default both"
    )
    parser.add_argument(
        "--write-descriptors", type=Path, metavar="FILE", help="write the suite's descriptor set, and end"
    )
    parser.add_argument(
        "--only", action="append", metavar="PREFIX", help="run only cases whose id begins so, such as T-35"
    )
    parser.add_argument("--cases", type=Path, default=CASES, metavar="FOLDER", help="other cases")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table of scores")
    parser.add_argument("--quiet", action="store_true", help="only the summary")
    return parser


if __name__ == "__main__":
    sys.exit(main())
