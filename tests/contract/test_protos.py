"""The contracts keep their own rules, checked offline against the committed descriptor set."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor_pb2 import (
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

PROTOS = Path(__file__).parents[2] / "protos"
IMAGE = PROTOS / "gen" / "memorybox" / "descriptors.binpb"
BUF = Path(sys.executable).parent / "buf"
# Field numbers of descriptor.proto, which make the path of a comment.
SERVICE, METHOD = 6, 2
MESSAGE, FIELD = 4, 2


def buf(command: str, image: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = str(PROTOS / "buf.yaml")
    return subprocess.run(
        [BUF, command, image, "--config", config, *arguments], capture_output=True, text=True, check=False
    )


def image() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(IMAGE.read_bytes())


def ours() -> Iterator[FileDescriptorProto]:
    return (file for file in image().file if file.package.startswith("memorybox."))


def comment(file: FileDescriptorProto, *path: int) -> str:
    found = (item for item in file.source_code_info.location if tuple(item.path) == path)
    return next((item.leading_comments for item in found), "")


def rpcs() -> Iterator[tuple[str, MethodDescriptorProto, str]]:
    """Yield every RPC with its full name and what its comment and its service's comment say."""
    for file in ours():
        for i, service in enumerate(file.service):
            said = comment(file, SERVICE, i)
            for j, method in enumerate(service.method):
                name = f"{file.package}.{service.name}.{method.name}"
                yield name, method, f"{said} {comment(file, SERVICE, i, METHOD, j)}"


def http_rule(method: MethodDescriptorProto) -> http_pb2.HttpRule:
    return method.options.Extensions[annotations_pb2.http]


def test_contracts_pass_buf_lint() -> None:
    result = buf("lint", IMAGE)

    assert result.returncode == 0, result.stdout


def test_lint_finds_a_field_without_comment(tmp_path: Path) -> None:
    spoilt = image()
    memory = next(file for file in spoilt.file if file.name == "memorybox/memory/v1/memory.proto")
    for location in memory.source_code_info.location:
        if tuple(location.path) == (MESSAGE, 0, FIELD, 0):
            location.leading_comments = ""
    (tmp_path / "spoilt.binpb").write_bytes(spoilt.SerializeToString())

    result = buf("lint", tmp_path / "spoilt.binpb")

    assert result.returncode != 0
    assert "non-empty comment" in result.stdout


@pytest.mark.skipif(not (PROTOS / "released.binpb").exists(), reason="nothing was released yet")
def test_contracts_do_not_break_the_last_release() -> None:
    result = buf("breaking", IMAGE, "--against", str(PROTOS / "released.binpb"))

    assert result.returncode == 0, result.stdout


def test_breaking_check_refuses_another_json_name(tmp_path: Path) -> None:
    changed = image()
    memory = next(file for file in changed.file if file.name == "memorybox/memory/v1/memory.proto").message_type[0]
    memory.field[0].name, memory.field[0].json_name = "other_id", "otherId"
    (tmp_path / "changed.binpb").write_bytes(changed.SerializeToString())

    result = buf("breaking", tmp_path / "changed.binpb", "--against", str(IMAGE))

    assert result.returncode != 0
    assert "memory_id" in result.stdout


@pytest.mark.parametrize(
    ("name", "method", "said"), [pytest.param(*item, id=item[0].removeprefix("memorybox.")) for item in rpcs()]
)
def test_rpc_has_an_http_rule_or_says_why_not(name: str, method: MethodDescriptorProto, said: str) -> None:
    public = http_rule(method).WhichOneof("pattern") is not None

    assert public != ("Not public" in said), name


def test_no_two_rpcs_share_an_http_address() -> None:
    addresses = [
        (rule.WhichOneof("pattern"), getattr(rule, str(rule.WhichOneof("pattern"))))
        for _, method, _ in rpcs()
        if (rule := http_rule(method)).WhichOneof("pattern")
    ]

    assert len(addresses) == len(set(addresses))


def test_every_request_belongs_to_one_rpc() -> None:
    requests = [method.input_type for _, method, _ in rpcs()]

    assert len(requests) == len(set(requests))


def test_services_and_packages_are_named_by_the_rule() -> None:
    services: list[tuple[str, ServiceDescriptorProto]] = [
        (file.package, item) for file in ours() for item in file.service
    ]

    assert services
    for package, service in services:
        assert service.name.endswith("Service")
        assert package.split(".")[0::2] == ["memorybox", "v1"]
