"""Comments of contract files, by the full name of what they stand at."""

import re
from collections.abc import Iterator, Mapping, Sequence

from google.protobuf import descriptor_pb2

Comments = Mapping[str, str]
"""Full name of a service, method, message, field, oneof, enum or value to its comment."""

_LINTER = re.compile(r"^\s*(?:buf:lint:|@exclude\b).*$", re.MULTILINE)
_INTERNAL = re.compile(r"\(--.*?--\)", re.DOTALL)  # google.aip.dev/192: not for readers of the API
_SENTENCE = re.compile(r"(.+?[.!?])(?:\s|$)", re.DOTALL)
_MAX_SUMMARY = 120

# Field numbers of descriptor.proto: where lists of declarations stand, and which list lies in which declaration.
_FILE = {4: "message_type", 5: "enum_type", 6: "service", 7: "extension"}
_MESSAGE = {2: "field", 3: "nested_type", 4: "enum_type", 6: "extension", 8: "oneof_decl"}
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "message_type": _MESSAGE,
    "nested_type": _MESSAGE,
    "enum_type": {2: "value"},
    "service": {2: "method"},
}


def read_comments(sets: Sequence[bytes]) -> Comments:
    """Return all comments of *sets*, which have any only if made with source info.

    Descriptor pools forget them, so they are read from the sets themselves.
    """
    found: dict[str, str] = {}
    for data in sets:
        for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
            for location in file.source_code_info.location:
                text = _clean(location.leading_comments, location.trailing_comments)
                if text:
                    name = _named(file, location.path)
                    if name:
                        found.setdefault(name, text)
    return found


def summary(text: str) -> str:
    """Return the first sentence of *text* on one line, cut at 120 characters."""
    first = text.split("\n\n", 1)[0]
    match = _SENTENCE.match(first)
    line = " ".join((match[1] if match else first).split())
    return line if len(line) <= _MAX_SUMMARY else line[: _MAX_SUMMARY - 1].rstrip() + "…"


def _clean(*parts: str) -> str:
    texts = []
    for part in parts:
        shown = _INTERNAL.sub("", _LINTER.sub("", part))
        lines = [line[1:].rstrip() if line.startswith(" ") else line.rstrip() for line in shown.splitlines()]
        texts.append("\n".join(lines).strip("\n"))
    return "\n\n".join(text for text in texts if text.strip())


def _named(file: descriptor_pb2.FileDescriptorProto, path: Sequence[int]) -> str:
    """Return the full name of the declaration at *path*, ``""`` for a part of one, or where there is none."""
    if not path or len(path) % 2:
        return ""
    try:
        return ".".join(_names(file, path))
    except IndexError:  # source info is not checked by anyone: it may speak of what the file does not have
        return ""


def _names(file: descriptor_pb2.FileDescriptorProto, path: Sequence[int]) -> Iterator[str]:
    if file.package:
        yield file.package
    at: object = file
    lists: Mapping[int, str] = _FILE
    for number, index in zip(path[::2], path[1::2], strict=True):
        attribute = lists.get(number)
        if attribute is None:
            yield ""  # an option or a range: the name gets an empty part, which nothing else has
            return
        at = getattr(at, attribute)[index]
        yield str(getattr(at, "name", ""))
        lists = _INSIDE.get(attribute, {})
