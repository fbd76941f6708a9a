"""The description of the API and the page that shows it, as a running gateway serves them."""

import asyncio
import gzip
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from services.gateway.app import memorybox_transcoder
from services.gateway.edge.auth import open_authenticator
from services.gateway.edge.documents import api_pages, own_about, stranger_about
from services.gateway.edge.exchange import Recorder
from services.gateway.edge.front import Behind
from services.gateway.edge.pages import Pages, own_pages, probe_pages, without_clashes
from services.gateway.process import public_server
from services.gateway.settings import GatewaySettings
from services.gateway.transcoder import CLIENT_STREAM, SERVER_STREAM, DescriptorError, Options, Transcoder
from services.gateway.transcoder.openapi import openapi_json
from services.mesh.config import MeshSettings, load
from services.mesh.ops import Readiness
from services.mesh.telemetry import Telemetry
from tests.support.gateway import FakeUpstream, Gateway, gateway
from tests.support.openapi import compile_contract, contract, rpc

DOCS_FILES = ("/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/favicon-32x32.png")


def no_channel(service: str) -> object:
    raise AssertionError(f"{service} was called for a page")


@asynccontextmanager
async def edge(transcoder: Transcoder, pages: Pages) -> AsyncIterator[Gateway]:
    """Serve *pages* before nothing: no page may need a backend."""
    mesh, settings, readiness = load(MeshSettings, {}), load(GatewaySettings, {}), Readiness()
    telemetry = Telemetry("gateway", mesh)
    behind = Behind(transcoder=transcoder, channels=no_channel, meshed=False, max_body=1024, pages=pages)  # type: ignore[arg-type]
    server = public_server(
        behind, settings, open_authenticator(mesh.bind, settings), Recorder(telemetry, mesh.trace_inbound), readiness
    )
    await server.start(mesh.bind, 0, "MEMORYBOX_HTTP_PORT")
    try:
        yield Gateway(server.port, server, readiness, settings)
    finally:
        await server.close()
        telemetry.shutdown()


@asynccontextmanager
async def memorybox(auth: str = "dev") -> AsyncIterator[Gateway]:
    transcoder = memorybox_transcoder(load(GatewaySettings, {}))
    async with edge(transcoder, {**own_pages(Readiness()), **api_pages(transcoder, own_about(auth))}) as served:
        yield served


@asynccontextmanager
async def stranger(path: str) -> AsyncIterator[Gateway]:
    """Serve a contract with one route at *path*, as ``memorybox gateway`` does."""
    transcoder = Transcoder([compile_contract(contract(rpc("Get", f'get: "{path}"')))], Options())
    documents = api_pages(transcoder, stranger_about("shop.v1.Shop", "dev"))
    async with edge(
        transcoder, without_clashes({**probe_pages(Readiness()), **documents}, transcoder.routes)
    ) as served:
        yield served


async def test_own_description_is_valid_and_tells_of_every_resource() -> None:
    async with memorybox() as served:
        reply = await served.ask("GET", "/openapi.json")

    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert list(OpenAPIV31SpecValidator(reply.json).iter_errors()) == []
    assert {"/v1/memories", "/v1/memories/{memory_id}", "/v1/memories:search"} <= set(reply.json["paths"])
    create = reply.json["paths"]["/v1/memories"]["post"]
    assert "Idempotency-Key" in {one["name"] for one in create["parameters"]}


@pytest.mark.parametrize(
    ("auth", "schemes"),
    [("dev", {"user", "roles"}), ("oidc", {"bearer"}), ("spcs", {"snowflake"})],
    ids=["dev", "oidc", "spcs"],
)
async def test_description_names_how_callers_sign_in(auth: str, schemes: set[str]) -> None:
    async with memorybox(auth) as served:
        document = (await served.ask("GET", "/openapi.json")).json

    assert set(document["components"]["securitySchemes"]) == schemes
    assert ({} in document["security"]) is (auth == "dev")


async def test_known_description_is_not_sent_again() -> None:
    async with memorybox() as served:
        first = await served.ask("GET", "/openapi.json")
        again = await served.ask("GET", "/openapi.json", [("If-None-Match", f'"other", W/{first.headers["ETag"]}')])
        changed = await served.ask("GET", "/openapi.json", [("If-None-Match", '"other"')])

    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert changed.status == 200


async def test_packed_description_has_an_etag_of_its_own() -> None:
    async with memorybox() as served:
        plain = await served.ask("GET", "/openapi.json", [("Accept-Encoding", "br, gzip;q=0")])
        packed = await served.ask("GET", "/openapi.json", [("Accept-Encoding", "br, gzip")])

    assert json.loads(gzip.decompress(packed.body)) == plain.json
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert packed.headers["Vary"] == "Accept-Encoding"


async def test_head_of_the_description_has_no_body() -> None:
    async with memorybox() as served:
        reply = await served.ask("HEAD", "/openapi.json")

    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["Content-Length"]) > 0


async def test_docs_run_only_files_of_this_server() -> None:
    async with memorybox() as served:
        page = await served.ask("GET", "/docs")
        files = {path: await served.ask("GET", path) for path in DOCS_FILES}

    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    html = page.body.decode()
    assert re.findall(r"<script[^>]*>", html) == [
        '<script src="docs/swagger-ui-bundle.js">',
        '<script src="docs/start.js">',
    ]
    assert not re.search(r"<style|\son[a-z]+=|style=|//", html)
    assert {path: reply.status for path, reply in files.items()} == dict.fromkeys(DOCS_FILES, 200)
    assert b"openapi.json" in files["/docs/start.js"].body


async def test_stranger_is_described_from_descriptors_alone() -> None:
    async with stranger("/items/{id}") as served:
        document = (await served.ask("GET", "/openapi.json")).json
        docs = await served.ask("GET", "/docs")

    assert document["info"]["title"] == "shop.v1.Shop"
    assert set(document["paths"]) == {"/items/{id}", "/shop.v1.Shop/Get"}
    assert docs.status == 200


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_rule_of_a_stranger_wins_over_the_description(path: str) -> None:
    async with stranger(path) as served:
        reply = await served.ask("GET", f"{path}?nobody=1")

    assert reply.status == 400
    assert "nobody" in reply.json["message"]


async def test_own_route_at_the_path_of_a_page_is_a_start_up_error() -> None:
    transcoder = Transcoder([compile_contract(contract(rpc("Get", 'get: "/openapi.json"')))], Options())

    with pytest.raises(DescriptorError, match=r"/openapi\.json"):
        async with edge(transcoder, api_pages(transcoder, own_about("dev"))):
            pass


async def test_title_of_a_stranger_cannot_break_the_page() -> None:
    transcoder = Transcoder([compile_contract(contract(rpc("Get", 'get: "/g"')))], Options())
    async with edge(transcoder, api_pages(transcoder, stranger_about("<script>x</script>", "dev"))) as served:
        page = await served.ask("GET", "/docs")

    assert b"<script>x" not in page.body


CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


@pytest.mark.slow
async def test_schemathesis_finds_no_server_error_and_nothing_undocumented(tmp_path: Path) -> None:
    upstream = FakeUpstream()
    for route in memorybox_transcoder(load(GatewaySettings, {})).routes:
        name = route.grpc_method.rpartition("/")[2]
        if route.kind == SERVER_STREAM:
            upstream.streams[name] = one_message
        elif route.kind == CLIENT_STREAM:
            upstream.uploads[name] = all_messages
    async with upstream.serving() as target, gateway(target) as served:
        description = tmp_path / "openapi.json"
        transcoder = memorybox_transcoder(load(GatewaySettings, {}))
        description.write_bytes(openapi_json(transcoder, own_about("dev")))
        command = [
            *(str(Path(sys.executable).with_name("schemathesis")), "run", str(description)),
            *("--url", f"http://127.0.0.1:{served.port}", "--phases", "coverage,fuzzing", "--max-examples", "5"),
            *(
                "--checks",
                ",".join(CHECKS),
                "--seed",
                "1",
                "--generation-deterministic",
                "--continue-on-failure",
                "--no-color",
            ),
        ]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()

    assert process.returncode == 0, output.decode()[-8000:]
    assert len(upstream.seen) > len(transcoder.routes)


async def one_message(_request: bytes, _context: object) -> AsyncIterator[bytes]:
    yield b""


async def all_messages(requests: AsyncIterator[bytes], _context: object) -> bytes:
    async for _ in requests:
        pass
    return b""
