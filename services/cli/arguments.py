"""The command line's words: every command, its arguments and their help. Loads nothing that a command runs with."""

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from services.mesh.config import BUILT_SERVICES, SERVICE_OFFSETS, integer, one_of
from services.mesh.errors import InvalidInput
from services.mesh.keys import GATEWAY

LONGEST_TOKEN_S = 60


class UsageError(InvalidInput):
    """The command line is wrong as it stands."""

    reason = "USAGE"


class _Parser(argparse.ArgumentParser):
    def format_help(self) -> str:
        module = self.get_default("more_help")  # has more options to tell of; loaded only for that
        return super().format_help() + (importlib.import_module(module).options_help() if module else "")

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


if TYPE_CHECKING:
    # argparse has no public name for what add_subparsers returns, and at run time it takes no parameter.
    Commands = argparse._SubParsersAction[_Parser]  # noqa: SLF001
else:
    Commands = argparse.Action


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return what *argv* asks for; raises ``UsageError``.

    ``module`` and ``run`` name the function that does the work; ``options`` has what only that module can read.
    """
    arguments, options = parser().parse_known_args(argv)
    if options and arguments.action != "gateway":
        raise UsageError(f"unrecognized arguments: {' '.join(options)}; see `memorybox {arguments.action} --help`")
    arguments.options = options
    return arguments


def parser() -> argparse.ArgumentParser:
    """Return the parser of the words that are the same everywhere."""
    root = _Parser(
        prog="memorybox",
        description="Remembers what people and agents tell it, and finds it again by meaning.",
        epilog="It finds a mesh by the same MEMORYBOX_ variables that started it. Exit codes: 0 done, 1 failed, 2 usage.",
    )
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_running(commands)
    _add_gateway(commands)
    _add_emulator(commands)
    _add_content(commands)
    _add_analyst(commands)
    _add_keys(commands)
    _add_safety(commands)
    return root


def _add(
    commands: Commands, name: str, module: str, summary: str, *, json: bool = True, run: str = "run"
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
    command.set_defaults(module=f"services.cli.{module}", run=run, action=name)
    if json:
        command.add_argument("--json", action="store_true", help="print JSON, for scripts")
    return command


def _add_running(commands: Commands) -> None:
    up = _add(
        commands, "up", "up", "Start every service on this machine and stay with them; Ctrl-C ends all.", json=False
    )
    up.add_argument("--profile", choices=("local", "snowflake"), help="backends to run (MEMORYBOX_PROFILE)")
    up.add_argument("--data-dir", type=Path, metavar="DIR", help="where everything is kept (MEMORYBOX_DATA_DIR)")
    up.add_argument(
        "--trace-dir", type=Path, metavar="DIR", help="write spans there as JSON lines (MEMORYBOX_TRACE_DIR)"
    )
    up.add_argument("--http-port", metavar="PORT", help="the gateway's public port (MEMORYBOX_HTTP_PORT)")
    up.add_argument("--port-base", metavar="PORT", help="gRPC port of memory; others follow (MEMORYBOX_PORT_BASE)")
    up.add_argument(
        "--log-format",
        choices=("auto", "text", "json"),
        default="auto",
        help="log lines for people or for machines; auto: text on a terminal, JSON elsewhere",
    )
    serve = _add(commands, "serve", "serve", "Run one service in this process.", json=False)
    serve.add_argument("name", choices=BUILT_SERVICES, metavar="NAME", help=", ".join(BUILT_SERVICES))
    _add(commands, "status", "status", "Ask every service whether it is ready; exit code 0 only if all are.")
    _add(commands, "version", "version", "Print the version.")


def _add_gateway(commands: Commands) -> None:
    gateway = _add(
        commands,
        "gateway",
        "stranger",
        "Put an HTTP JSON gateway in front of any gRPC services, from their descriptors.",
        json=False,
    )
    gateway.add_argument(
        "--descriptor-set",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a FileDescriptorSet with all its imports; read again at SIGHUP; repeatable",
    )
    gateway.add_argument(
        "--upstream",
        action="append",
        default=[],
        metavar="package.Service=host:port",
        help="where a service answers; once for each service",
    )
    gateway.add_argument(
        "--reflect",
        action="append",
        default=[],
        metavar="host:port",
        help="serve what this server tells by reflection; asked again at SIGHUP; repeatable",
    )
    gateway.add_argument("--upstream-tls", action="store_true", help="speak TLS to all services")
    gateway.add_argument(
        "--upstream-ca",
        type=Path,
        metavar="FILE",
        help="PEM file of the authorities to believe in place of the system's",
    )
    gateway.add_argument("--bind", metavar="ADDRESS", help="address to listen on (MEMORYBOX_BIND)")
    gateway.add_argument("--http-port", type=_port, metavar="PORT", help="port to listen on (MEMORYBOX_HTTP_PORT)")
    gateway.add_argument("--auth", choices=("dev", "oidc", "spcs"), help="who says who calls (MEMORYBOX_AUTH)")
    gateway.add_argument("--print-routes", action="store_true", help="print what would be served, and end")
    gateway.set_defaults(more_help="services.cli.stranger")


def _add_emulator(commands: Commands) -> None:
    emulate = _add(commands, "emulate", "emulate", "Serve a local Snowflake for development and tests.", json=False)
    emulate.add_argument("--port", type=_port, default=8085, metavar="PORT", help="port to listen on; default 8085")
    emulate.add_argument(
        "--bind", default="127.0.0.1", metavar="ADDRESS", help="address to listen on; default 127.0.0.1"
    )
    emulate.add_argument("--account", default="test", metavar="NAME", help="name of the account; default test")
    emulate.add_argument("--user", default="TEST", metavar="NAME", help="the account's administrator; default TEST")
    emulate.add_argument(
        "--password", default="test", metavar="TEXT", help="the administrator's password; default test"
    )
    emulate.add_argument("--data", type=Path, metavar="DIR", help="keep everything there; in memory without it")


def _add_content(commands: Commands) -> None:
    imports = _add(
        commands, "import", "importing", "Keep files as memories: Markdown, text, JSON Lines, whole folders."
    )
    imports.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="file or folder")
    imports.add_argument("--bucket", default="", help="bucket to put them in; default `default`")
    imports.add_argument("--tag", action="append", default=[], metavar="TAG", help="tag to put on each; repeatable")
    imports.add_argument(
        "--chunk",
        choices=("paragraph", "file"),
        default="paragraph",
        help="one memory a paragraph, or one a file; a line of JSON is always one",
    )
    imports.add_argument(
        "--ndjson",
        action="store_true",
        help="each PATH is a file that `memorybox export` wrote, kept whole, vectors too",
    )
    export = _add(commands, "export", "moving", "Write all of your own memories to a file, vectors included.")
    export.add_argument("file", nargs="?", type=Path, metavar="FILE", help="where to; default standard output")
    export.add_argument("--no-embeddings", action="store_true", help="leave the vectors out")
    export.add_argument(
        "--sealed",
        action="store_true",
        help="seal it with your own key: only this deployment reads it, until you are erased",
    )
    search = _add(commands, "search", "search", "Find memories by meaning.")
    search.add_argument("text", nargs="+", metavar="TEXT", help="what to look for")
    search.add_argument("--mode", type=_mode, help="VECTOR, KEYWORD or HYBRID; default HYBRID")
    search.add_argument("--top-k", type=int, default=0, metavar="N", help="hits at most; default 10")
    search.add_argument("--bucket", default="", help="only in this bucket")
    search.add_argument(
        "--min-score", type=float, metavar="S", help="lowest cosine, from -1 to 1; default the model's own"
    )


def _add_analyst(commands: Commands) -> None:
    ask = _add(commands, "ask", "ask", "Ask a question in plain language about tables.")
    ask.add_argument("question", nargs="+", metavar="QUESTION", help="what to ask")
    ask.add_argument("--model", required=True, metavar="NAME", help="semantic model to answer it by")
    ask.add_argument("--as-of", default="", metavar="YYYY-MM-DD", help="what today means; default the day it is")
    ask.add_argument("--conversation", default="", metavar="ID", help="conversation to go on with, or to begin")
    ask.add_argument("--sql", action="store_true", help="print the statement too")
    data = commands.add_parser("data", help="Load tables to ask about, from files or for the tour.")
    actions = data.add_subparsers(title="actions", metavar="ACTION", required=True)
    load = _add(actions, "load", "data", "Load CSV, Parquet or JSON files as tables, in place of those of their names.")
    load.add_argument("files", nargs="+", type=Path, metavar="FILE", help="CSV, Parquet, JSON; may be gzip, or zip")
    load.add_argument("--table", default="", metavar="NAME", help="table to make; default the file's name")
    _add(
        actions,
        "tour",
        "data",
        "Load the flights that left New York in 2013, and their semantic model.",
        run="run_tour",
    )
    _add(actions, "list", "data", "List the tables that there are.", run="run_list")
    model = commands.add_parser("model", help="Draft, check, keep and list semantic models.")
    actions = model.add_subparsers(title="actions", metavar="ACTION", required=True)
    draft = _add(actions, "draft", "model", "Write a first semantic model of tables, to go on from.", run="run_draft")
    draft.add_argument("tables", nargs="+", metavar="TABLE", help="table to describe")
    draft.add_argument("--name", default="", help="the model's name; default the first table's")
    draft.add_argument("--output", type=Path, metavar="FILE", help="where to; default standard output")
    check = _add(actions, "check", "model", "Say what is wrong or odd in a semantic model.", run="run_check")
    check.add_argument("file", type=Path, metavar="FILE", help="YAML to check")
    put = _add(actions, "put", "model", "Keep a semantic model, as a first or next version.", run="run_put")
    put.add_argument("file", type=Path, metavar="FILE", help="YAML to keep")
    put.add_argument("--name", default="", help="what to call it; default the file's name")
    put.add_argument("--access", choices=("PRIVATE", "ROLE", "PUBLIC"), help="who else may read; default as before")
    put.add_argument("--role", action="append", default=[], help="role that may read, with --access ROLE; repeatable")
    _add(actions, "list", "model", "List the semantic models that you may see.", run="run_list")


def _add_keys(commands: Commands) -> None:
    keys = commands.add_parser("keys", help="Issue, list, rotate and revoke the keys that sign hop tokens.")
    actions = keys.add_subparsers(title="actions", metavar="ACTION", required=True)
    issue = _add(actions, "issue", "keyring", "Make a client's key.")
    issue.add_argument("name", metavar="NAME", help="what to call it")
    issue.add_argument("--user", action="append", default=[], help="user it may vouch for; repeatable")
    issue.add_argument("--role", action="append", default=[], help="role it may vouch for; repeatable")
    issue.add_argument("--audience", action="append", required=True, help="service it may call; repeatable")
    issue.add_argument(
        "--rpc",
        action="append",
        default=[],
        metavar="RPC",
        help="/package.Service/Method or /package.Service/*; default all for clients of the audiences; repeatable",
    )
    _add(actions, "list", "keyring", "List all keys.")
    rotate = _add(actions, "rotate", "keyring", "Make a new key with the grant of the present one, which stays valid.")
    rotate.add_argument("name", metavar="NAME")
    revoke = _add(actions, "revoke", "keyring", "Revoke keys at once, in running services too.")
    revoke.add_argument("name", metavar="NAME_OR_KID")
    token = _add(commands, "token", "hop_token", "Print a token for calling one service over gRPC.")
    token.add_argument("--audience", required=True, choices=tuple(SERVICE_OFFSETS), help="the service to call")
    token.add_argument("--user", help="user to act for; default MEMORYBOX_USER, for a client's key the client itself")
    token.add_argument("--role", action="append", default=[], help="role that the user holds; repeatable")
    token.add_argument("--key", default=GATEWAY, metavar="NAME", help="key to sign with; default the gateway's")
    token.add_argument(
        "--ttl", type=_life, default=LONGEST_TOKEN_S, metavar="S", help=f"life in seconds, 1 to {LONGEST_TOKEN_S}"
    )


def _add_safety(commands: Commands) -> None:
    backup = _add(commands, "backup", "backup", "Make a backup of everything, list the backups, or read one back.")
    backup.add_argument(
        "what", nargs="?", choices=("create", "list", "verify"), default="create", help="default create"
    )
    backup.add_argument("backup", nargs="?", metavar="BACKUP", help="which to verify; default the newest")
    restore = _add(commands, "restore", "restore", "Bring a backup back; with the mesh down as well.")
    restore.add_argument("backup", metavar="BACKUP", help="its id, or `latest`")
    where = restore.add_mutually_exclusive_group(required=True)
    where.add_argument("--aside", type=Path, metavar="DIR", help="make a new data folder of it")
    where.add_argument("--in-place", action="store_true", help="replace the live data, which are set aside")
    _add(commands, "doctor", "doctor", "Look at all that a mesh stands on; exit code 0 only if nothing is wrong.")


def _mode(text: str) -> str:
    try:
        return one_of("VECTOR", "KEYWORD", "HYBRID")(text.upper())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _port(text: str) -> int:
    try:
        return integer(1, 65535)(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _life(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LONGEST_TOKEN_S:
        raise argparse.ArgumentTypeError(f"must be a whole number of seconds from 1 to {LONGEST_TOKEN_S}")
    return int(text)
