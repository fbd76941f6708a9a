"""Every deliberate error has its own reason and stands where the tree of mesh.errors says."""

import re
from collections import Counter
from collections.abc import Iterator

import grpc

from services.mesh import errors
from services.mesh.errors import MemoryBoxError
from tests.support.modules import load_all

TREE = dict(re.findall(r"^ +x (\w+) +([A-Z_]+)  ", errors.__doc__ or "", re.MULTILINE))


def children(cls: type[MemoryBoxError]) -> Iterator[type[MemoryBoxError]]:
    for child in cls.__subclasses__():
        yield child
        yield from children(child)


def ours() -> list[type[MemoryBoxError]]:
    """Return every error class of the services; tests define others."""
    load_all()
    return [cls for cls in children(MemoryBoxError) if cls.__module__.startswith("services.")]


def test_tree_lists_exactly_the_errors_of_the_mesh_with_their_codes() -> None:
    bases = {cls.__name__: cls.code for cls in ours() if cls.__module__ == errors.__name__}

    assert bases == TREE


def test_every_code_is_a_grpc_status() -> None:
    assert set(TREE.values()) <= {code.name for code in grpc.StatusCode}


def test_every_error_of_a_service_refines_one_of_the_tree_and_keeps_its_code() -> None:
    # The command line prints its errors; only what a service raises becomes a status.
    for cls in (cls for cls in ours() if not cls.__module__.startswith("services.cli.")):
        family = [base for base in cls.__mro__ if base.__module__ == errors.__name__ and base.__name__ in TREE]
        assert family, f"{cls.__name__} derives from MemoryBoxError itself"
        assert cls.code == TREE[family[0].__name__], cls.__name__


def test_every_error_has_a_reason_of_its_own() -> None:
    reasons = Counter(cls.reason for cls in ours())

    assert [cls.__name__ for cls in ours() if "reason" not in vars(cls)] == []
    assert [reason for reason, count in reasons.items() if count > 1] == []
    # google.rpc.ErrorInfo: at most 63 characters of UPPER_SNAKE_CASE.
    assert [reason for reason in reasons if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,61}[A-Z0-9]", reason)] == []
