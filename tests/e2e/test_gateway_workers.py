"""A mesh whose gateway is several processes: the same product, and whole again when any of them is killed."""

import os
import signal
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.mesh import Mesh, children, wait_until

pytestmark = pytest.mark.slow

BACK_WITHIN_S = 20.0
WORKERS = 2


def is_answered(mesh: Mesh) -> bool:
    """Say whether searches are answered by every process, whichever takes the connection."""
    return {mesh.call("POST", "/v1/memories:search", {"query": "peanuts"})[0] for _ in range(8)} == {200}


def metrics(mesh: Mesh) -> str:
    with urlopen(f"http://127.0.0.1:{mesh.http_port + 100}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def test_mesh_serves_by_several_gateway_processes_and_outlives_each(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path, {"MEMORYBOX_GATEWAY_WORKERS": str(WORKERS)})

    with mesh.up() as up:
        created = [
            mesh.call("POST", "/v1/memories", {"content": f"Tim avoids peanuts, {number}"})[0] for number in range(8)
        ]
        wait_until(lambda: metrics(mesh).count("memorybox_gateway_worker_up{") == WORKERS, BACK_WITHIN_S, "both tell")
        parent = up.service("gateway")
        assert parent is not None
        workers = children(parent)

        os.kill(workers[0], signal.SIGKILL)
        wait_until(
            lambda: workers[0] not in children(parent) and len(children(parent)) == WORKERS, BACK_WITHIN_S, "replaced"
        )
        wait_until(lambda: is_answered(mesh), BACK_WITHIN_S, "answers after a worker died")
        os.kill(parent, signal.SIGKILL)
        wait_until(lambda: up.service("gateway") not in {None, parent}, BACK_WITHIN_S, "a new parent")
        wait_until(lambda: is_answered(mesh), BACK_WITHIN_S, "answers after the parent died")

    assert created == [200] * 8
    assert up.wait() == 0
