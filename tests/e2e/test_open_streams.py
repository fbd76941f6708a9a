"""Rules take effect within a second, also for streams that are open, and stopping ends those with what goes on from there."""

import json
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from queue import Empty, Queue
from socket import SHUT_RDWR
from typing import Any, Self

import pytest

from tests.support.mesh import Mesh, Up, wait_until

PROMISED_S = 1.0
MACHINE_S = 1.0  # that a busy machine may add
STOP_WITHIN_S = 6.0  # two are usual; a stream that nobody ends would take twelve
GOVERNOR = "MEMORYBOX_GOVERNOR"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    return Mesh(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def up(mesh: Mesh) -> Iterator[Up]:
    with mesh.up() as up:
        yield up


class Watch:
    """An open watch: its events, each with the time at which it came."""

    def __init__(self, mesh: Mesh, user: str, roles: str = "", resume: str = "") -> None:
        self._connection = HTTPConnection("127.0.0.1", mesh.http_port, timeout=60)
        headers = {"X-Memorybox-User": user, "X-Memorybox-Roles": roles, "Accept": "text/event-stream"}
        self._connection.request("GET", f"/v1/memories:watch?resumeToken={resume}", headers=headers)
        self._socket = self._connection.sock
        self._answer = self._connection.getresponse()
        self._events: Queue[tuple[str, dict[str, Any], float]] = Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # it may have ended by itself
            self._socket.shutdown(SHUT_RDWR)
        self._reader.join()
        self._connection.close()

    def next(self, within_s: float = 10.0) -> tuple[str, dict[str, Any], float]:
        """Return the next event: its kind, its data and when it came."""
        try:
            return self._events.get(timeout=within_s)
        except Empty:
            raise AssertionError(f"no event within {within_s} s") from None

    def _read(self) -> None:
        kind = ""
        with suppress(OSError, HTTPException):  # how it ends is told by its last event
            for line in self._answer:
                kind = self._take(line.decode().rstrip("\n"), kind)

    def _take(self, text: str, kind: str) -> str:
        name, _, value = text.partition(": ")
        if name == "data":
            self._events.put((kind, json.loads(value), time.time()))
        return value if name == "event" else kind


def soon(seconds: float) -> datetime:
    """Return a moment in the future."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def create(mesh: Mesh, user: str, **fields: Any) -> dict[str, Any]:
    """Create a memory."""
    status, made = mesh.call("POST", "/v1/memories", {"content": "tea", **fields}, user=user)
    assert status == 200, made
    found: dict[str, Any] = made
    return found


def as_governor(mesh: Mesh, method: str, path: str, body: object) -> None:
    """Do what only governors may."""
    connection = HTTPConnection("127.0.0.1", mesh.http_port, timeout=30)
    headers = {"X-Memorybox-User": "gwen", "X-Memorybox-Roles": GOVERNOR, "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 200, text


def test_expiry_reaches_an_open_watch(mesh: Mesh, up: Up) -> None:
    with Watch(mesh, "eve") as watch:
        expires = soon(1.5)
        made = create(mesh, "eve", expiresAt=expires.isoformat())

        first, last = watch.next(), watch.next()

    assert (first[0], last[0]) == ("created", "deleted")
    assert last[1]["deleted"]["memoryId"] == made["memoryId"]
    assert 0 <= last[2] - expires.timestamp() <= PROMISED_S + MACHINE_S


def test_revoked_role_reaches_an_open_watch(mesh: Mesh, up: Up) -> None:
    shared = create(mesh, "rita", accessLevel="ROLE", readerRoles=["NURSE"])
    path = f"/v1/memories/{shared['memoryId']}"
    with Watch(mesh, "nina", "NURSE") as watch:
        began = time.time()
        mesh.call("PATCH", path, {"accessLevel": "PRIVATE", "readerRoles": []}, user="rita")

        kind, data, came = watch.next()

    assert (kind, data["deleted"]["memoryId"], data["deleted"]["content"]) == ("deleted", shared["memoryId"], "")
    assert came - began <= PROMISED_S + MACHINE_S


def test_retention_rule_reaches_an_open_watch(mesh: Mesh, up: Up) -> None:
    old = {"content": "old", "createdAt": soon(-200_000).isoformat(), "updatedAt": soon(-200_000).isoformat()}
    lines = "\n".join(json.dumps(one) for one in ({"config": {"importId": "old"}}, {"memory": old}))
    connection = HTTPConnection("127.0.0.1", mesh.http_port, timeout=30)
    headers = {"X-Memorybox-User": "olga", "Content-Type": "application/x-ndjson"}
    connection.request("POST", "/v1/memories:import", lines, headers)
    assert json.load(connection.getresponse())["importedCount"] == "1"
    connection.close()
    with Watch(mesh, "olga") as watch:
        began = time.time()
        as_governor(mesh, "PUT", "/v1/retentionPolicy", {"archiveAfter": "86400s"})

        kind, data, came = watch.next()

    assert (kind, data["deleted"]["content"]) == ("deleted", "old")
    assert came - began <= PROMISED_S + MACHINE_S
    as_governor(mesh, "PUT", "/v1/retentionPolicy", {})


def test_quota_ends_an_open_import_and_refuses_the_next_create(mesh: Mesh, up: Up) -> None:
    connection = HTTPConnection("127.0.0.1", mesh.http_port, timeout=30)
    connection.putrequest("POST", "/v1/memories:import")
    for name, value in (("X-Memorybox-User", "quentin"), ("Content-Type", "application/x-ndjson")):
        connection.putheader(name, value)
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    send_line(connection, {"config": {"importId": "many"}})
    for number in range(100):
        send_line(connection, {"memory": {"content": f"tea {number}"}})
    wait_until(lambda: usage(mesh, "quentin") == 100, 20, "the first chunk")
    as_governor(mesh, "PUT", "/v1/owners/quentin/quota", {"maxMemories": "100"})

    status, refusal = mesh.call("POST", "/v1/memories", {"content": "one more"}, user="quentin")
    for number in range(100):
        send_line(connection, {"memory": {"content": f"cake {number}"}})
    connection.send(b"0\r\n\r\n")
    answer = connection.getresponse()
    told = json.load(answer)
    connection.close()

    assert (status, refusal["details"][0]["reason"]) == (429, "QUOTA_EXCEEDED")
    assert (answer.status, told["details"][0]["reason"]) == (429, "QUOTA_EXCEEDED")
    assert usage(mesh, "quentin") == 100


def send_line(connection: HTTPConnection, item: object) -> None:
    """Send one line of a body in pieces."""
    line = json.dumps(item).encode() + b"\n"
    connection.send(f"{len(line):x}\r\n".encode() + line + b"\r\n")


def usage(mesh: Mesh, user: str) -> int:
    """Return how many memories *user* has stored."""
    _, told = mesh.call("GET", "/v1/usage", user=user)
    return int(told["memoryCount"])


def test_expiry_reaches_an_open_export(mesh: Mesh, up: Up) -> None:
    filler = [{"memory": {"content": uuid.uuid4().hex * 2000, "bucket": "b"}} for _ in range(40)]
    for start in range(0, 400, 40):
        requests = [{"memory": {**item["memory"], "tags": [str(start)]}} for item in filler]
        status, _ = mesh.call("POST", "/v1/memories:batchCreate", {"requests": requests}, user="xenia")
        assert status == 200
    expires = soon(3)
    create(mesh, "xenia", content="secret", expiresAt=expires.isoformat())
    connection = HTTPConnection("127.0.0.1", mesh.http_port, timeout=60)
    headers = {"X-Memorybox-User": "xenia", "Accept": "application/x-ndjson"}
    connection.request("GET", "/v1/memories:export", headers=headers)
    answer = connection.getresponse()
    first = answer.readline()
    assert datetime.now(UTC) < expires
    time.sleep((expires - datetime.now(UTC)).total_seconds() + PROMISED_S)

    rest = contents_of(answer)
    connection.close()

    assert json.loads(first)["memory"]["bucket"] == "b"
    assert len(rest) == 399
    assert "secret" not in rest


def contents_of(answer: HTTPResponse) -> list[str]:
    """Return the contents of what is left of an export."""
    return [json.loads(line)["memory"]["content"] for line in answer if line.strip()]


def test_stopping_ends_an_open_watch_with_what_goes_on_from_there(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path, {"MEMORYBOX_DRAIN": "0.3"})
    with mesh.up() as up, Watch(mesh, "ann") as watch:
        create(mesh, "ann", content="before")
        assert watch.next()[0] == "created"
        began = time.monotonic()

        up.tell(signal.SIGTERM)
        kind, data, _ = watch.next(STOP_WITHIN_S)
        code = up.wait()
        took_s = time.monotonic() - began

    assert (kind, code) == ("done", 0)
    assert took_s < STOP_WITHIN_S
    with mesh.up():
        create(mesh, "ann", content="after")
        with Watch(mesh, "ann", resume=data["resumeToken"]) as watch:
            again = watch.next()
    assert (again[0], again[1]["created"]["content"]) == ("created", "after")
