"""The analyst as a product: a mesh of processes, data and models from the command line, questions over HTTP."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.support.analyst import STAFF_CSV, STAFF_YAML
from tests.support.mesh import Mesh, Up, wait_until

TOUR_QUESTIONS = Path(__file__).parents[2] / "bench" / "analyst_questions" / "flights.jsonl"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    return Mesh(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def up(mesh: Mesh) -> Iterator[Up]:
    with mesh.up() as running:
        yield running


@pytest.fixture(scope="module")
def staff(mesh: Mesh, up: Up, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Load the staff and their model as Ann, from files, by the command line; return the folder of the files."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "staff.csv").write_bytes(STAFF_CSV)
    (folder / "staff.yaml").write_text(STAFF_YAML)
    assert mesh.command("data", "load", str(folder / "staff.csv")).returncode == 0
    assert mesh.command("model", "put", str(folder / "staff.yaml")).returncode == 0
    return folder


def stream(mesh: Mesh, question: str, accept: str = "text/event-stream", user: str = "ann") -> str:
    """Return the answer to *question* as it came over the wire."""
    body = json.dumps({"question": question, "semanticModel": "staff"}).encode()
    headers = {"X-Memorybox-User": user, "Content-Type": "application/json", "Accept": accept}
    with urlopen(Request(f"{mesh.url}/v1/analyst:ask", body, headers), timeout=30) as answer:  # noqa: S310
        text: str = answer.read().decode()
    return text


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the names and documents of server-sent events."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((fields["event"], json.loads(fields["data"])))
    return found


def test_question_is_answered_as_server_sent_events(mesh: Mesh, staff: Path) -> None:
    answer = events(stream(mesh, "headcount by base"))

    assert [name for name, _ in answer] == [
        "status",
        "interpretation",
        "sql",
        "status",
        "result",
        "explanation",
        "chart",
        "done",
    ]
    result = dict(answer)["result"]["result"]
    assert sorted(result["rows"]) == [["JFK", 2], ["LGA", 1]]
    assert [column["type"] for column in result["columns"]] == ["VARCHAR", "BIGINT"]
    assert dict(answer)["sql"]["sql"]["verifiedQuery"] == ""


def test_chart_of_an_answer_comes_back_as_an_image(mesh: Mesh, staff: Path) -> None:
    spec = dict(events(stream(mesh, "headcount by base")))["chart"]["chart"]["spec"]
    body = json.dumps({"spec": spec, "format": "PNG"}).encode()
    headers = {"X-Memorybox-User": "ann", "Content-Type": "application/json"}

    with urlopen(Request(f"{mesh.url}/v1/analyst:renderChart", body, headers), timeout=30) as answer:  # noqa: S310
        kind, image = answer.headers["Content-Type"], answer.read()

    assert kind == "image/png"
    assert image.startswith(b"\x89PNG")


def test_question_that_is_not_covered_gives_suggestions_and_no_rows(mesh: Mesh, staff: Path) -> None:
    lines = [json.loads(line) for line in stream(mesh, "who will win", "application/x-ndjson").splitlines()]

    (refused,) = [line["suggestions"] for line in lines if "suggestions" in line]
    assert refused["reason"]
    assert refused["questions"]
    assert not any("result" in line for line in lines)


def test_model_goes_round_by_http(mesh: Mesh, up: Up) -> None:
    status, kept = mesh.call("PUT", "/v1/semanticModels/round", {"yaml": STAFF_YAML})
    _, found = mesh.call("GET", "/v1/semanticModels/round")
    hidden, _ = mesh.call("GET", "/v1/semanticModels/round", user="bob")
    wrong, refused = mesh.call("PUT", "/v1/semanticModels/round", {"yaml": "name: [\n"})

    assert (status, kept["version"], kept["ownerUser"]) == (200, "1", "ann")
    assert found["yaml"] == STAFF_YAML
    assert (hidden, wrong) == (404, 400)
    assert "line" in refused["details"][1]["fieldViolations"][0]["description"]


def test_command_line_drafts_checks_keeps_and_asks(mesh: Mesh, staff: Path) -> None:
    drafted = mesh.command("model", "draft", "staff", "--name", "second")
    (staff / "second.yaml").write_text(drafted.stdout)
    checked = mesh.command("model", "check", str(staff / "second.yaml"))
    kept = mesh.command("model", "put", str(staff / "second.yaml"))
    listed = mesh.command("model", "list", "--json")
    asked = mesh.command("ask", "--model", "staff", "headcount", "by", "base")
    refused = mesh.command("ask", "--model", "staff", "who", "will", "win")

    assert [drafted.returncode, checked.returncode, kept.returncode] == [0, 0, 0]
    assert "second" in [model["name"] for model in json.loads(listed.stdout)["semanticModels"]]
    assert asked.returncode == 0
    assert "JFK" in asked.stdout
    assert refused.returncode == 1
    assert refused.stdout.startswith("Not answered: ")


def test_calls_reach_the_audit_log_and_an_erased_person_leaves_nothing(mesh: Mesh, staff: Path) -> None:
    mesh.call("PUT", "/v1/semanticModels/mine", {"yaml": STAFF_YAML}, user="zacharias")

    def recorded() -> bool:
        _, page = mesh.call("GET", "/v1/auditEvents", user="zacharias")
        return any(event["method"].endswith("AnalystService/PutSemanticModel") for event in page["auditEvents"])

    wait_until(recorded, 10, "the call is in the audit log")
    _, operation = mesh.call("POST", "/v1/owners/zacharias:erase", {}, user="zacharias")
    path = f"/v1/{operation['name']}"
    wait_until(lambda: mesh.call("GET", path, user="zacharias")[1]["done"], 20, "the erasure ends")

    _, done = mesh.call("GET", path, user="zacharias")
    counts = {item["service"]: item["counts"] for item in done["response"]["services"]}
    assert counts["analyst"]["semantic_models"] == "1"
    assert mesh.call("GET", "/v1/semanticModels/mine", user="zacharias")[0] == 404


def test_killed_analyst_serves_again_and_keeps_what_it_acknowledged(mesh: Mesh, up: Up, staff: Path) -> None:
    (staff / "lasting.csv").write_text("name,base\nann,JFK\n")
    loaded = mesh.command("data", "load", str(staff / "lasting.csv"))
    status, _ = mesh.call("PUT", "/v1/semanticModels/lasting", {"yaml": STAFF_YAML.replace("STAFF", "lasting")})
    killed = up.service("analyst")
    assert killed is not None
    os.kill(killed, signal.SIGKILL)

    def answered() -> list[Any]:
        body = {"statement": "SELECT name FROM lasting", "semanticModel": "lasting"}
        code, answer = mesh.call("POST", "/v1/analyst:execute", body)
        return [event["result"]["rows"] for event in answer if "result" in event] if code == 200 else []

    wait_until(answered, 30, "the analyst answers again")
    assert (loaded.returncode, status) == (0, 200)
    assert answered() == [[["ann"]]]


@pytest.mark.slow
def test_tour_loads_and_its_questions_end(mesh: Mesh, up: Up) -> None:
    assert mesh.command("data", "tour").returncode == 0
    questions = [json.loads(line)["question"] for line in TOUR_QUESTIONS.read_text().splitlines()]

    broken = []
    for question in questions:
        body = {"question": question, "semanticModel": "flights"}
        status, answer = mesh.call("POST", "/v1/analyst:ask", body)
        told = {name for event in answer for name in event} if status == 200 else set()
        if status != 200 or ("result" in told) == ("suggestions" in told):
            broken.append(question)

    assert broken == []
