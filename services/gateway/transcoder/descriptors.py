"""Descriptor sets in, one private descriptor pool out."""

import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# The http extension must be known before any set is parsed, or rules stay unknown bytes.
from google.api import annotations_pb2  # noqa: F401
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError

MAX_SET_BYTES = 64 * 1024 * 1024
MAX_MESSAGES = 20_000

# Files that installed packages provide when a set was built without imports.
_INSTALLED = re.compile(r"google/(?:api|rpc|protobuf|longrunning|type)/[a-z0-9_/]+\.proto")


class DescriptorError(ValueError):
    """The descriptors or their HTTP rules cannot be served; the message names method and file."""


@dataclass(frozen=True, slots=True)
class DescriptorSet:
    """A private pool and the services declared in the loaded files, by full name."""

    pool: DescriptorPool
    services: Mapping[str, ServiceDescriptor]


def load_descriptor_sets(sets: Sequence[bytes]) -> DescriptorSet:
    """Return one private pool of all *sets* (serialised FileDescriptorSet, made with imports).

    A file may occur several times with equal content. Imports of google/api, google/rpc and
    google/protobuf may be missing. Raises ``DescriptorError``.
    """
    if api_implementation.Type() != "upb":
        # The pure-Python parser has no recursion limit: CVE-2025-4565.
        raise DescriptorError("protobuf must run on upb, not on " + api_implementation.Type())
    if sum(map(len, sets)) > MAX_SET_BYTES:
        raise DescriptorError(f"descriptor sets are larger than {MAX_SET_BYTES} bytes")
    files = _collect(sets)
    pool = DescriptorPool()
    for file in _dependencies_first(files):
        try:
            pool.AddSerializedFile(file.SerializeToString())  # type: ignore[no-untyped-call]
        except (TypeError, KeyError) as error:
            raise DescriptorError(f"{file.name}: {error}") from error
    services = {
        service.full_name: service
        for name in files
        for service in pool.FindFileByName(name).services_by_name.values()  # type: ignore[no-untyped-call]
    }
    return DescriptorSet(pool, services)


def _collect(sets: Sequence[bytes]) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    messages = 0
    for data in sets:
        try:
            parsed = descriptor_pb2.FileDescriptorSet.FromString(data)
        except DecodeError as error:
            raise DescriptorError(f"not a FileDescriptorSet: {error}") from error
        for file in parsed.file:
            known = files.setdefault(file.name, file)
            if known is not file and not _same(known, file):
                raise DescriptorError(f"{file.name}: given twice with different content")
            messages += _count_messages(file)
    if messages > MAX_MESSAGES:
        raise DescriptorError(f"descriptor sets declare more than {MAX_MESSAGES} messages")
    return files


def _count_messages(file: descriptor_pb2.FileDescriptorProto) -> int:
    count = 0
    level = list(file.message_type)
    while level:
        count += len(level)
        level = [nested for message in level for nested in message.nested_type]
    return count


def _same(one: descriptor_pb2.FileDescriptorProto, other: descriptor_pb2.FileDescriptorProto) -> bool:
    return _content(one) == _content(other)


def _content(file: descriptor_pb2.FileDescriptorProto) -> bytes:
    bare = descriptor_pb2.FileDescriptorProto()
    bare.CopyFrom(file)
    bare.ClearField("source_code_info")  # comments do not make another file
    return bare.SerializeToString(deterministic=True)


def _dependencies_first(
    files: dict[str, descriptor_pb2.FileDescriptorProto],
) -> Iterator[descriptor_pb2.FileDescriptorProto]:
    """Yield every file after its imports; iterative, as import chains may be long."""
    done: set[str] = set()
    opened: set[str] = set()
    stack = [(name, name) for name in reversed(files)]
    while stack:
        name, importer = stack[-1]
        if name in done:
            stack.pop()
            continue
        file = files.get(name) or _installed(name, importer)
        missing = [other for other in file.dependency if other not in done]
        if not missing:
            stack.pop()
            done.add(name)
            yield file
        elif name in opened:
            raise DescriptorError(f"{name}: import cycle through {missing[0]}")
        else:
            opened.add(name)
            stack.extend((other, name) for other in missing)


def is_installed(name: str) -> bool:
    """Say whether *name* is a google file that the installed packages have."""
    return bool(_INSTALLED.fullmatch(name)) and importlib.util.find_spec(_module(name)) is not None


def _module(name: str) -> str:
    return name.removesuffix(".proto").replace("/", ".") + "_pb2"


def _installed(name: str, importer: str) -> descriptor_pb2.FileDescriptorProto:
    """Return a google file from the installed packages."""
    if _INSTALLED.fullmatch(name):
        try:
            module = importlib.import_module(_module(name))
        except ModuleNotFoundError:
            pass
        else:
            return descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    raise DescriptorError(f"{importer}: import {name} is missing; build the set with its imports")
