"""What `up` promises of processes, shown with services that do nothing else."""

import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.mesh import Up, free_ports, is_alive, wait_until

DRIVER = str(Path(__file__).parents[1] / "support" / "fake_up.py")


def start(data_dir: Path, *behaviours: str, base: int = 0, **settings: str) -> Up:
    base = base or free_ports(range(len(behaviours)))
    words = [f"s{number}:{base + number}:{behaviour}" for number, behaviour in enumerate(behaviours)]
    return Up([sys.executable, DRIVER, *words], environ(data_dir, settings))


def environ(data_dir: Path, settings: Mapping[str, str]) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    own = {"MEMORYBOX_DATA_DIR": str(data_dir), "MEMORYBOX_DRAIN": "0", "MEMORYBOX_GRACE": "1", "PYTHONPATH": root}
    return {**os.environ, **own, **settings}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["ctrl-c", "SIGTERM", "closed"])
def test_up_ends_services_in_reverse_order_and_leaves_none(tmp_path: Path, number: signal.Signals) -> None:
    with start(tmp_path, "steady", "steady") as up:
        up.wait_until_ready()
        pids = up.services()

        up.tell(number)
        code = up.wait()

        ended = [message for message in up.messages() if message.endswith("has ended")]
        assert (code, ended) == (0, ["s1 has ended", "s0 has ended"])
        assert not any(is_alive(pid) for pid in pids)


def test_up_prints_where_it_answers_once_all_are_ready(tmp_path: Path) -> None:
    with start(tmp_path, "steady", "steady", MEMORYBOX_HTTP_PORT="8099") as up:
        up.wait_until_ready()

        assert up.output == ["Memory Box is ready at http://127.0.0.1:8099"]


def test_up_forwards_what_services_log(tmp_path: Path) -> None:
    with start(tmp_path, "steady") as up:
        up.wait_until_ready()

        assert "listening" in up.messages()


def test_up_starts_a_killed_service_again(tmp_path: Path) -> None:
    with start(tmp_path, "steady", "steady") as up:
        up.wait_until_ready()
        killed = up.service("s0")
        assert killed is not None

        os.kill(killed, signal.SIGKILL)

        wait_until(lambda: up.messages().count("s0 is ready") == 2, 20, "ready again")
        assert up.service("s0") not in {None, killed}
        assert "s0 ended: killed by SIGKILL; starting it again" in up.messages()


def test_up_leaves_no_service_when_it_is_killed(tmp_path: Path) -> None:
    with start(tmp_path, "steady", "steady") as up:
        up.wait_until_ready()
        pids = up.services()

        up.tell(signal.SIGKILL)

        wait_until(lambda: not any(is_alive(pid) for pid in pids), 20, "services end with their supervisor")


def test_up_kills_a_service_that_does_not_end(tmp_path: Path) -> None:
    with start(tmp_path, "steady", "stubborn") as up:
        up.wait_until_ready()
        pids = up.services()

        up.tell(signal.SIGTERM)
        code = up.wait()

        assert code == 0
        assert "s1 did not end in time and is killed" in up.messages()
        assert not any(is_alive(pid) for pid in pids)


def test_up_ends_at_once_at_the_second_signal(tmp_path: Path) -> None:
    with start(tmp_path, "stubborn", MEMORYBOX_GRACE="300") as up:
        up.wait_until_ready()
        pids = up.services()
        up.tell(signal.SIGINT)
        wait_until(lambda: any("ending" in message for message in up.messages()), 20, "the first signal is seen")

        up.tell(signal.SIGINT)

        assert up.wait() == 130
        wait_until(lambda: not any(is_alive(pid) for pid in pids), 20, "all are killed")


def test_up_stops_with_the_reason_when_a_service_cannot_start(tmp_path: Path) -> None:
    with start(tmp_path, "steady", "refuses") as up:
        code = up.wait()

        assert (code, up.output) == (1, [])
        assert up.log[-1] == "memorybox: s1 does not start: MEMORYBOX_COLOUR='x': must be red or green"


def test_up_names_a_taken_port_and_its_setting(tmp_path: Path) -> None:
    base = free_ports((0, 1))
    with socket.create_server(("127.0.0.1", base + 1)), start(tmp_path, "steady", "steady", base=base) as up:
        code = up.wait()

        assert code == 1
        assert up.log == [
            f"memorybox: port {base + 1} (s1) is taken on 127.0.0.1: Address already in use; MEMORYBOX_PORT_BASE moves it"
        ]


def test_up_refuses_a_second_one_on_the_same_data(tmp_path: Path) -> None:
    with start(tmp_path, "steady") as first:
        first.wait_until_ready()

        with start(tmp_path, "steady") as second:
            code = second.wait()

        assert code == 1
        assert second.log[0].startswith(f"memorybox: `memorybox up` already runs on {tmp_path} (process {first.pid});")


def test_up_waits_for_the_services_of_a_killed_one(tmp_path: Path) -> None:
    base = free_ports((0,))
    with start(tmp_path, "steady", base=base) as first:
        first.wait_until_ready()
        first.services()
        first.tell(signal.SIGKILL)
        first.wait()

        with start(tmp_path, "steady", base=base) as second:
            second.wait_until_ready()


def test_service_ends_at_once_at_the_second_signal(tmp_path: Path) -> None:
    fake = str(Path(DRIVER).with_name("fake_service.py"))
    port = free_ports((0,))
    with Up([sys.executable, fake, "alone", str(port), "stubborn"], environ(tmp_path, {})) as service:
        wait_until(lambda: "listening" in service.messages(), 20, "the service runs")
        service.tell(signal.SIGTERM)
        wait_until(lambda: "received SIGTERM" in service.messages(), 20, "the first signal is seen")

        service.tell(signal.SIGTERM)

        assert service.wait() == 128 + signal.SIGTERM
