"""gRPC-Web and Connect with the clients of npm: @connectrpc/connect-web, @connectrpc/connect-node and grpc-web (T-384).

They are installed from the lock file of clients/web-protocols into a temporary folder, which needs a registry.
"""

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from services.gateway.transcoder import Options, Transcoder
from tests.support.transcoder_contract import compile_protos
from tests.support.transcoder_mesh import running
from tests.support.web_protocols import SONGS, Jukebox

pytestmark = pytest.mark.slow

CLIENTS = Path(__file__).parents[2] / "clients" / "web-protocols"
INSTALL_S = 60
CALLS_S = 60
OPTIONS = Options(default_routes=False, response_trailers=("x-cost",))
CONNECT = ["connectJson", "connectBinary", "connectGetJson", "connectGetBinary"]
GRPC_WEB = ["grpcWebBinary", "grpcWebJson", "nodeGrpcWeb"]
UPLOADING = ["nodeConnectJson", "nodeConnectBinary"]
FETCHING = [*CONNECT, *GRPC_WEB, *UPLOADING]
NPM_GRPC_WEB = ["grpcWebClientText", "grpcWebClientBinary"]
WRONG = {"code": "NotFound", "message": "100% wrong: 5 ü\n", "details": ["google.rpc.RetryInfo"]}

_TOO_LONG = -1
# What npm says of a network or registry that is not there; a lock file that does not fit is a fault of ours.
_NO_REGISTRY = re.compile(r"\bE(?:NOTFOUND|AI_AGAIN|CONN[A-Z]+|TIMEDOUT|[A-Z]*UNREACH|[45][0-9]{2})\b")

Seen = dict[str, Any]


async def _run(*command: str, cwd: Path, within_s: float) -> tuple[int, str, str]:
    """Return exit code, output and errors of a command."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(within_s):
            out, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return _TOO_LONG, "", f"took longer than {within_s:g} s"
    return process.returncode or 0, out.decode(), errors.decode()


async def _everything(folder: Path) -> Seen:
    """Return what every client saw, or skip where the clients cannot be had."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    for name in ("package.json", "package-lock.json", ".npmrc", "calls.mjs"):
        shutil.copy(CLIENTS / name, folder)
    code, _, errors = await _run("npm", "ci", "--loglevel=error", "--ignore-scripts", cwd=folder, within_s=INSTALL_S)
    if code and (code == _TOO_LONG or _NO_REGISTRY.search(errors)):
        pytest.skip(f"npm reaches no registry that has the clients: {errors.strip()[:200]}")
    assert code == 0, errors
    descriptors = compile_protos(songs=SONGS)
    (folder / "set.binpb").write_bytes(descriptors)
    transcoder = Transcoder([descriptors], OPTIONS)
    async with running(transcoder, Jukebox(transcoder).handlers) as gateway:
        code, out, errors = await _run("node", "calls.mjs", gateway.url, "set.binpb", cwd=folder, within_s=CALLS_S)
    assert code == 0, errors
    seen: Seen = json.loads(out)
    return seen


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return asyncio.run(_everything(tmp_path_factory.mktemp("clients")))


@pytest.mark.parametrize("client", [*FETCHING, *NPM_GRPC_WEB])
def test_unary_calls_are_answered(seen: Seen, client: str) -> None:
    assert seen[client]["unary"] == {"title": "aü+%", "plays": "2"}


@pytest.mark.parametrize("client", FETCHING)
def test_methods_without_side_effects_are_answered(seen: Seen, client: str) -> None:
    assert seen[client]["look"] == {"title": "aü+%/ b", "plays": "2"}
    assert seen[client]["empty"] == {"plays": "1"}


@pytest.mark.parametrize("client", FETCHING)
def test_errors_keep_code_text_and_details(seen: Seen, client: str) -> None:
    assert seen[client]["error"]["error"] == WRONG
    assert seen[client]["late"]["error"]["code"] == "DeadlineExceeded"
    assert seen[client]["hidden"]["error"]["code"] == "Unimplemented"


@pytest.mark.parametrize("client", [*FETCHING, *NPM_GRPC_WEB])
def test_streams_come_whole(seen: Seen, client: str) -> None:
    assert seen[client]["stream"] == {"plays": [0, 1, 2]}


@pytest.mark.parametrize("client", FETCHING)
def test_streams_may_be_empty(seen: Seen, client: str) -> None:
    assert seen[client]["nothing"] == {"plays": []}


@pytest.mark.parametrize("client", FETCHING)
def test_errors_in_mid_stream_are_told(seen: Seen, client: str) -> None:
    assert seen[client]["broken"] == {"plays": [0, 1], "error": WRONG}


@pytest.mark.parametrize("client", NPM_GRPC_WEB)
def test_npm_grpc_web_hears_errors(seen: Seen, client: str) -> None:
    told = {"code": 5, "message": WRONG["message"]}

    assert seen[client]["error"]["error"] == told
    assert seen[client]["broken"] == {"plays": [0, 1], "error": told}


@pytest.mark.parametrize("client", FETCHING)
@pytest.mark.parametrize("kind", ["metadata", "streamMetadata"])
def test_allowed_metadata_arrive(seen: Seen, client: str, kind: str) -> None:
    assert seen[client][kind] == {"etag": '"e"', "cost": "5", "other": None}


@pytest.mark.parametrize("client", UPLOADING)
def test_uploads_are_gathered(seen: Seen, client: str) -> None:
    assert seen[client]["gather"] == ["a", "b"]
    assert seen[client]["gatherBroken"]["error"] == WRONG
