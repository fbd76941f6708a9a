"""`memorybox gateway`: JSON over HTTP in front of anyone's gRPC services, with no line of code and nothing of Memory Box."""

import argparse
import asyncio
import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from services.cli import unknown, workers
from services.cli.arguments import UsageError
from services.cli.serve import run_to_end
from services.gateway.app import route_lines, serve_stranger, stranger_routes
from services.gateway.settings import names, size, span
from services.gateway.strangers import Upstreams
from services.gateway.transcoder import DescriptorError, Options
from services.mesh.config import LifetimeSettings, MeshSettings, load, one_of, switch
from services.mesh.errors import InvalidInput

PREFIX = "MEMORYBOX_GATEWAY_"
_UPSTREAM = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)=(\S+)")
# An option's own bounds are checked by the transcoder; these keep its numbers sane.
_MAX_SIZE = 1 << 50
_MAX_SPAN_S = 366 * 24 * 3600.0


class BadDescriptors(InvalidInput):
    """The descriptors cannot be served."""

    reason = "BAD_DESCRIPTORS"


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serve until told to stop, then drain; with ``--print-routes`` only say what would be served."""
    options = read_options(arguments.options, environ)
    upstreams = Upstreams(
        descriptor_sets=arguments.descriptor_set,
        targets=read_upstreams(arguments.upstream),
        reflected=tuple(dict.fromkeys(arguments.reflect)),
        tls=arguments.upstream_tls or arguments.upstream_ca is not None,
        ca=arguments.upstream_ca,
    )
    if not upstreams.reflected and not (upstreams.descriptor_sets and upstreams.targets):
        raise UsageError("say what to serve: --reflect host:port, or --descriptor-set FILE with --upstream")
    try:
        if arguments.print_routes:
            print("\n".join(route_lines(asyncio.run(stranger_routes(upstreams, options)))))
            return 0
        for line in unknown.warnings(environ) if load(LifetimeSettings, environ).supervisor_fd is None else ():
            print(f"memorybox: {line}", file=sys.stderr, flush=True)
        if workers.are_asked_for(environ):
            workers.run(workers.words_of(arguments), environ, _mesh(arguments, environ))
            return 0
        run_to_end(
            serve_stranger(
                upstreams,
                options,
                environ=environ,
                bind=arguments.bind,
                port=arguments.http_port,
                auth=arguments.auth,
            )
        )
    except DescriptorError as error:
        raise BadDescriptors(str(error)) from error
    return 0


def _mesh(arguments: argparse.Namespace, environ: Mapping[str, str]) -> MeshSettings:
    """Return the settings that the flags change."""
    mesh = load(MeshSettings, environ)
    return dataclasses.replace(mesh, bind=arguments.bind or mesh.bind, http_port=arguments.http_port or mesh.http_port)


def read_upstreams(words: Sequence[str]) -> dict[str, str]:
    """Return gRPC targets by full service name, or raise ``UsageError``."""
    upstreams: dict[str, str] = {}
    for word in words:
        match = _UPSTREAM.fullmatch(word)
        if match is None:
            raise UsageError(f"--upstream is package.Service=host:port, got {word!r}")
        if match[1] in upstreams:
            raise UsageError(f"--upstream names {match[1]} twice")
        upstreams[match[1]] = match[2]
    return upstreams


def read_options(words: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Return the transcoder's options: flags such as ``--default-timeout=30s`` first, then the environment, then defaults."""
    parsers = {name: _parser_of(kind) for name, kind in get_type_hints(Options).items()}
    texts = {
        name: (f"{PREFIX}{name.upper()}", text) for name in parsers if (text := environ.get(f"{PREFIX}{name.upper()}"))
    }
    for flag, text in _flags(words):
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in parsers:
            raise UsageError(f"no option {flag!r}; see `memorybox gateway --help`")
        texts[name] = (flag, text)
    return Options(**{name: _parsed(parsers[name], *source) for name, source in texts.items()})


def options_help() -> str:
    """Return a line for every option with its default."""
    lines = [f"  --{field.name.replace('_', '-')}={_shown(field.default)}" for field in dataclasses.fields(Options)]
    told = (
        "on or off for switches, commas between items of lists,",
        "ms, s or m after spans of time, KiB or MiB after sizes:",
    )
    return "\n".join(("", "options of the transcoder with their defaults;", *told, *lines, ""))


def _flags(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (flag, value) of ``--flag=value`` and ``--flag value``."""
    rest = iter(words)
    for word in rest:
        flag, given, text = word.partition("=")
        yield flag, text if given else next(rest, "")


def _parsed(parse: Callable[[str], Any], origin: str, text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{origin}={text}: {error}") from error


def _parser_of(kind: Any) -> Callable[[str], Any]:
    if get_origin(kind) is Literal:
        return one_of(*get_args(kind))
    if get_origin(kind) is tuple:
        several = _pairs if get_origin(get_args(kind)[0]) is tuple else names
        return lambda text: several(text) if text else ()
    simple: Mapping[Any, Callable[[str], Any]] = {
        bool: switch,
        int: size(0, _MAX_SIZE),
        float: span(0, _MAX_SPAN_S),
        str: str,
    }
    return simple[kind]


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [item.partition("=") for item in names(text)]
    if not all(header and name for header, _, name in pairs):
        raise ValueError("must be a comma-separated list of Header=field")
    return tuple((header, name) for header, _, name in pairs)


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return ",".join(default)
    return f"{default:g}s" if isinstance(default, float) else str(default)
