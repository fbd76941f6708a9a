"""What the mesh still does when a part of it is gone, and how soon it is whole again."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesh import Mesh, free_ports, wait_until
from tests.support.parts import Part, make_keys

BACK_WITHIN_S = 5.0
NOTE = "The landlord raised the rent of the workshop to nine hundred from March on."


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mesh, dict[str, Part]]]:
    """Run one embedding, one memory and one gateway process that nobody restarts, with one note kept."""
    mesh = Mesh(tmp_path_factory.mktemp("parts"))
    make_keys(mesh)
    with ExitStack() as stack:
        running = {name: stack.enter_context(Part(name, mesh)) for name in ("embedding", "memory", "gateway")}
        assert create(mesh, NOTE)[0] == 200
        yield mesh, running


def create(mesh: Mesh, content: str, request_id: str = "") -> tuple[int, Any]:
    """Keep *content*."""
    return mesh.call(
        "POST", f"/v1/memories?requestId={request_id}" if request_id else "/v1/memories", {"content": content}
    )


def search(mesh: Mesh, mode: str) -> tuple[int, Any]:
    """Search for the note."""
    return mesh.call("POST", "/v1/memories:search", {"query": "rent of the workshop", "mode": mode})


def assert_degraded(mesh: Mesh) -> None:
    """Check each promise for a mesh whose embedding service gives no answer."""
    status, answer = search(mesh, "KEYWORD")
    assert (status, answer["hits"][0]["memory"]["content"], answer["mode"]) == (200, NOTE, "KEYWORD")

    status, answer = search(mesh, "HYBRID")
    assert (status, answer["hits"][0]["memory"]["content"], answer["mode"]) == (200, NOTE, "KEYWORD")
    assert "words only" in answer["warnings"][0]

    for status, answer in (search(mesh, "VECTOR"), create(mesh, f"A note of {time.time_ns()}.")):
        assert (status, answer["code"]) == (503, 14)
        details = {detail["@type"].rpartition(".")[2]: detail for detail in answer["details"]}
        assert details["ErrorInfo"]["reason"] == "EMBEDDING_UNAVAILABLE"
        assert details["RetryInfo"]["retryDelay"]


def assert_whole_again(mesh: Mesh) -> None:
    """Check that creates and vector searches succeed soon."""
    wait_until(lambda: create(mesh, f"A note of {time.time_ns()}.")[0] == 200, BACK_WITHIN_S, "creates succeed")
    status, answer = search(mesh, "VECTOR")
    assert (status, answer["hits"][0]["memory"]["content"]) == (200, NOTE)


def test_mesh_without_embedding_finds_by_words_and_recovers(parts: tuple[Mesh, dict[str, Part]]) -> None:
    mesh, running = parts

    running["embedding"].kill()

    assert_degraded(mesh)
    running["embedding"].start()
    assert_whole_again(mesh)


def test_mesh_with_hanging_embedding_finds_by_words_and_recovers(parts: tuple[Mesh, dict[str, Part]]) -> None:
    mesh, running = parts

    running["embedding"].freeze()

    try:
        assert_degraded(mesh)
    finally:
        running["embedding"].thaw()
    assert_whole_again(mesh)


class Writer(threading.Thread):
    """Creates memories through one of several gateways, as a client with a list of addresses does; repeats what is not answered."""

    def __init__(self, number: int, gateways: list[Mesh], stop: threading.Event) -> None:
        super().__init__()
        self._number = number
        self._gateways = gateways
        self._stop_asked = stop
        self.acknowledged: list[str] = []
        self.answers: list[tuple[float, int]] = []

    def run(self) -> None:
        """Write until told to stop."""
        count = 0
        while not self._stop_asked.is_set():
            count += 1
            content = f"Writer {self._number} says {count}."
            for attempt in range(20):
                gateway = self._gateways[(self._number + count + attempt) % len(self._gateways)]
                status, answer = create(gateway, content, request_id=f"w{self._number}-{count}")
                self.answers.append((time.monotonic(), status))
                if status == 200:
                    self.acknowledged.append(answer["memoryId"])
                    break
                time.sleep(0.05)


def test_killed_gateway_and_embedding_lose_no_acknowledged_write(tmp_path: Path) -> None:
    second_base = free_ports((1, 101))
    first = Mesh(tmp_path / "data")
    both = f"ipv4:127.0.0.1:{first.port_base + 1},127.0.0.1:{second_base + 1}"
    first.environ["MEMORYBOX_EMBEDDING_TARGET"] = both
    second = Mesh(tmp_path / "data")
    second.environ |= {"MEMORYBOX_PORT_BASE": str(first.port_base), "MEMORYBOX_EMBEDDING_TARGET": both}
    second.environ["MEMORYBOX_HTTP_PORT"] = str(free_ports((2000, 2100)) + 2000)
    second.url = f"http://127.0.0.1:{second.environ['MEMORYBOX_HTTP_PORT']}"
    make_keys(first)
    stop = threading.Event()
    writers = [Writer(number, [first, second], stop) for number in range(6)]

    with ExitStack() as stack:
        stack.enter_context(Part("embedding", first))
        doomed_embedding = stack.enter_context(Part("embedding", first, {"MEMORYBOX_PORT_BASE": str(second_base)}))
        stack.enter_context(Part("memory", first))
        stack.enter_context(Part("gateway", first))
        doomed_gateway = stack.enter_context(Part("gateway", second))
        for writer in writers:
            writer.start()
        time.sleep(1.5)
        doomed_embedding.kill()
        doomed_gateway.kill()
        killed_at = time.monotonic()
        time.sleep(BACK_WITHIN_S + 1.5)
        stop.set()
        for writer in writers:
            writer.join()

        acknowledged = [memory_id for writer in writers for memory_id in writer.acknowledged]
        assert len(acknowledged) > 50
        assert len(set(acknowledged)) == len(acknowledged)
        for memory_id in acknowledged:
            assert first.call("GET", f"/v1/memories/{memory_id}")[0] == 200
    # The dead gateway refuses connections (0) for ever; the living one serves without errors within the time promised.
    late = [status for writer in writers for at, status in writer.answers if at > killed_at + BACK_WITHIN_S]
    assert late.count(200) > 20
    assert set(late) <= {200, 0}
