"""The product works: one command starts it, notes go in, they are found by meaning, and nothing that was acknowledged is lost."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2

from memorybox.memory.v1 import memory_pb2, memory_service_pb2, memory_service_pb2_grpc, search_pb2
from tests.support.mesh import COMMAND, SERVICES, Mesh, Up, free_ports, is_alive, wait_until

NOTES = {
    "kitchen/tea.md": "---\ntags: [drink]\n---\n# Tea\n\nPour boiling water over the leaves and wait four minutes.\n",
    "garden/roses.txt": "Cut the roses back in early spring, just above a bud.\n\nGreenfly dislike garlic.\n",
    "money.jsonl": '{"content": "The rent is due on the first of every month.", "bucket": "money"}\n',
    "work/incidents.md": "# Incidents\n\n## Database\n\nThe disk was full, so the primary refused every write.\n",
    "work/people.md": "Maria looks after invoices.\n\nTomas is on holiday until the twelfth.\n",
}
SERVES_AGAIN_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    return Mesh(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces")


@pytest.fixture(scope="module")
def up(mesh: Mesh, traces: Path) -> Iterator[Up]:
    with mesh.up("--trace-dir", str(traces)) as up:
        yield up


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    for name, text in NOTES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    return tmp_path


def contents(answer: Any) -> list[str]:
    return [hit["memory"]["content"] for hit in answer["hits"]]


def every_memory(mesh: Mesh, bucket: str) -> list[dict[str, Any]]:
    memories: list[dict[str, Any]] = []
    token = ""
    while True:
        status, page = mesh.call("GET", f"/v1/memories?bucket={bucket}&pageSize=1000&pageToken={token}")
        assert status == 200, page
        memories += page["memories"]
        token = page["nextPageToken"]
        if not token:
            return memories


def test_imported_notes_are_found_by_meaning(mesh: Mesh, up: Up, notes: Path) -> None:
    imported = mesh.command("import", str(notes), "--tag", "notes", "--json")
    again = mesh.command("import", str(notes), "--tag", "notes", "--json")
    status, answer = mesh.call("POST", "/v1/memories:search", {"query": "preparing a hot beverage", "topK": 3})

    first, second = json.loads(imported.stdout), json.loads(again.stdout)
    assert (first["imported"], first["alreadyThere"], first["failed"], first["skipped"]) == (7, 0, 0, 1)
    assert (second["imported"], second["alreadyThere"], second["failed"], second["skipped"]) == (0, 7, 0, 1)
    assert status == 200
    assert "Pour boiling water over the leaves and wait four minutes." in contents(answer)


def test_search_command_prints_what_it_found(mesh: Mesh, up: Up) -> None:
    mesh.call("POST", "/v1/memories", {"content": "The lighthouse keeper polishes the lens.", "bucket": "coast"})

    table = mesh.command("search", "who", "cleans", "the", "lamp", "--bucket", "coast", "--min-score", "-1")

    assert table.returncode == 0
    assert "The lighthouse keeper polishes the lens." in table.stdout.splitlines()[1]


def test_memory_of_another_user_is_not_found(mesh: Mesh, up: Up) -> None:
    _, memory = mesh.call("POST", "/v1/memories", {"content": "My diary is under the mattress."}, user="carol")

    status, _ = mesh.call("GET", f"/v1/memories/{memory['memoryId']}")
    _, answer = mesh.call("POST", "/v1/memories:search", {"query": "diary", "minScore": -1})

    assert status == 404
    assert "My diary is under the mattress." not in contents(answer)


def test_status_is_ready(mesh: Mesh, up: Up) -> None:
    told = mesh.command("status", "--json")

    assert told.returncode == 0
    assert {service["name"] for service in json.loads(told.stdout)["services"]} == {*SERVICES, "public HTTP"}


def test_token_lets_a_grpc_client_in_and_none_does_not(mesh: Mesh, up: Up) -> None:
    token = mesh.command("token", "--audience", "memory", "--user", "dora").stdout.strip()
    memory = memory_pb2.Memory(content="Over gRPC.")

    with grpc.insecure_channel(mesh.target("memory")) as channel:
        stub = memory_service_pb2_grpc.MemoryServiceStub(channel)
        identity = (("authorization", f"Bearer {token}"),)
        created = stub.CreateMemory(
            memory_service_pb2.CreateMemoryRequest(memory=memory), metadata=identity, timeout=30
        )
        with pytest.raises(grpc.RpcError) as refused:
            stub.SearchMemories(search_pb2.SearchMemoriesRequest(query="gRPC"), timeout=30)

    assert created.memory.owner_user == "dora"
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_revoked_key_is_refused_by_running_services(mesh: Mesh, up: Up) -> None:
    mesh.command("keys", "issue", "bot", "--user", "erin", "--audience", "memory")
    token = mesh.command("token", "--audience", "memory", "--user", "erin", "--key", "bot").stdout.strip()
    mesh.command("keys", "revoke", "bot")

    with grpc.insecure_channel(mesh.target("memory")) as channel:
        stub = memory_service_pb2_grpc.MemoryServiceStub(channel)

        def is_refused() -> bool:
            try:
                stub.ListMemories(
                    memory_service_pb2.ListMemoriesRequest(),
                    metadata=(("authorization", f"Bearer {token}"),),
                    timeout=30,
                )
            except grpc.RpcError as error:
                return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
            return False

        wait_until(is_refused, 10, "the token of a revoked key is refused")


def test_one_trace_goes_through_every_hop(mesh: Mesh, up: Up, traces: Path) -> None:
    mesh.call("POST", "/v1/memories:search", {"query": f"what leaves a trace {uuid.uuid4()}"})

    def spans() -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for path in traces.glob("*.jsonl"):
            for line in path.read_text().splitlines():
                with contextlib.suppress(json.JSONDecodeError):  # the last line may be half written
                    span = json.loads(line)
                    found.setdefault(span["trace_id"], []).append(span)
        return found

    def whole() -> list[dict[str, Any]]:
        traced = [
            trace
            for trace in spans().values()
            if {span["service"] for span in trace} == {"gateway", "memory", "embedding"}
        ]
        return next((trace for trace in traced if any("Search" in span["name"] for span in trace)), [])

    wait_until(whole, 20, "a trace with spans of all services that a search goes through")
    trace = whole()
    ids = {span["span_id"] for span in trace}
    roots = [span for span in trace if span["parent_span_id"] not in ids]
    assert [root["service"] for root in roots] == ["gateway"]


def test_second_up_on_the_same_data_is_refused(mesh: Mesh, up: Up) -> None:
    second = mesh.command("up")

    assert second.returncode == 1
    assert second.stderr.startswith(f"memorybox: `memorybox up` already runs on {mesh.data_dir} (process {up.pid});")
    assert second.stderr.count("\n") == 1


def test_taken_port_is_named(mesh: Mesh, up: Up, tmp_path: Path) -> None:
    beside = mesh.command("up", "--data-dir", str(tmp_path))

    assert beside.returncode == 1
    assert f"port {mesh.http_port} (gateway) is taken on 127.0.0.1" in beside.stderr
    assert "MEMORYBOX_HTTP_PORT moves it" in beside.stderr
    assert beside.stderr.count("\n") == 1


def test_gateway_command_fronts_any_grpc_service(mesh: Mesh, up: Up, tmp_path: Path) -> None:
    descriptors = descriptor_pb2.FileDescriptorSet()
    descriptors.file.add().ParseFromString(health_pb2.DESCRIPTOR.serialized_pb)
    path = tmp_path / "health.binpb"
    path.write_bytes(descriptors.SerializeToString())
    port = free_ports((0, 100))
    upstream = f"grpc.health.v1.Health={mesh.target('memory')}"
    words = [
        "gateway",
        "--descriptor-set",
        str(path),
        "--upstream",
        upstream,
        f"--http-port={port}",
        "--enums-as-ints=on",
    ]
    front = Mesh(tmp_path / "nothing-here", {"MEMORYBOX_HTTP_PORT": str(port)})
    front.url = f"http://127.0.0.1:{port}"

    with Up([*COMMAND, *words], front.environ):
        answers: list[tuple[int, Any]] = []

        def answered() -> bool:
            answers.append(front.call("POST", "/grpc.health.v1.Health/Check", {}))
            return answers[-1][0] == 200

        wait_until(answered, 20, "the front answers")

    assert answers[-1] == (200, {"status": 1})
    assert not (tmp_path / "nothing-here").exists()


class Creates:
    """Creates memories one after the other, each under its own request id until it is acknowledged."""

    def __init__(self, mesh: Mesh, bucket: str) -> None:
        self.acknowledged: dict[str, str] = {}  # content -> memory id
        self._mesh = mesh
        self._bucket = bucket
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._create, args=(number,)) for number in range(2)]
        for thread in self._threads:
            thread.start()

    def wait_for_more(self, count: int, within_s: float) -> None:
        enough = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= enough, within_s, "creates are acknowledged")

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _create(self, number: int) -> None:
        count = 0
        while not self._stopped.is_set():
            count += 1
            content = f"ledger entry n{number}x{count} of the stream"
            while not self._send(content):
                time.sleep(0.05)

    def _send(self, content: str) -> bool:
        request = {"content": content, "bucket": self._bucket}
        path = f"/v1/memories?requestId={content.replace(' ', '-')}"
        status, memory = self._mesh.call("POST", path, request)
        if status == 200:
            self.acknowledged[content] = memory["memoryId"]
        else:
            assert status in {0, 429, 503, 504}, memory
        return status == 200


def test_killed_memory_serves_again_and_keeps_every_acknowledged_memory_once(mesh: Mesh, up: Up) -> None:
    creates = Creates(mesh, "stream")
    try:
        for _ in range(3):
            creates.wait_for_more(5, 20)
            killed = up.service("memory")
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            creates.wait_for_more(3, SERVES_AGAIN_WITHIN_S)
    finally:
        creates.stop()

    kept = Counter((memory["content"], memory["memoryId"]) for memory in every_memory(mesh, "stream"))
    found: set[str] = set()
    request = {"query": "ledger entry", "bucket": "stream", "mode": "KEYWORD", "topK": 1000, "pageSize": 100}
    token = ""
    while len(found) < len(kept):
        status, answer = mesh.call("POST", "/v1/memories:search", {**request, "pageToken": token})
        assert status == 200, answer
        found |= set(contents(answer))
        token = answer["nextPageToken"]
        if not token:
            break
    assert kept == Counter(creates.acknowledged.items())
    assert found == set(creates.acknowledged)


def test_data_survive_ctrl_c_and_the_death_of_up(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    with mesh.up() as up:
        status, memory = mesh.call("POST", "/v1/memories", {"content": "Written before the end."})
        pids = up.services()

        up.tell(signal.SIGINT)
        code = up.wait()

        assert (status, code) == (200, 0)
        assert not any(is_alive(pid) for pid in pids)

    with mesh.up() as up:
        status, again = mesh.call("GET", f"/v1/memories/{memory['memoryId']}")
        pids = up.services()

        up.tell(signal.SIGKILL)

        assert (status, again["content"]) == (200, "Written before the end.")
        assert len(pids) == len(SERVICES)
        wait_until(lambda: not any(is_alive(pid) for pid in pids), 20, "services end with their supervisor")
        with socket.create_server(("127.0.0.1", mesh.http_port)):
            pass  # nobody listens any more
