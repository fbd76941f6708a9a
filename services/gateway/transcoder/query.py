"""Query parameters to field values."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.errors import Violation
from services.gateway.transcoder.fields import WELL_KNOWN, FieldPath, is_map, message_name
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.text import TextReader, is_query_kind, text_reader
from services.gateway.transcoder.values import JsonRefused, map_key_reader

MAX_PATH_PARTS = 32
MAX_NAME_BYTES = 512
MAX_REPEATED = 100
_MAX_CACHED_NAMES = 1024
_MAX_EDITS = 2
_MAX_HINTED_NAME = 64  # edit distances cost time quadratic in length

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class BadQuery(ValueError):
    """The query as a whole cannot be read; *name* is the parameter, if one is to blame."""

    def __init__(self, name: str, description: str) -> None:
        super().__init__(description)
        self.violation: Violation = (name, description)


def split_query(raw: str, options: Options) -> list[tuple[str, str]]:
    """Return decoded (name, value) pairs in order; limits are checked before decoding."""
    pieces = [piece for piece in raw.split("&") if piece]
    if len(pieces) > options.max_params:
        raise BadQuery("", f"more than {options.max_params} query parameters")
    pairs = []
    for piece in pieces:
        name, _, value = piece.partition("=")
        if len(name) > MAX_NAME_BYTES:
            raise BadQuery("", f"a query parameter name is longer than {MAX_NAME_BYTES} bytes")
        pairs.append((_decode(name, options), _decode(value, options)))
    return pairs


def _decode(raw: str, options: Options) -> str:
    if options.plus_as_space:
        raw = raw.replace("+", " ")
    if not raw.isascii():
        raise BadQuery("", "a query parameter holds bytes that must be percent-encoded")
    if "%" not in raw:
        return raw
    if _BAD_ESCAPE.search(raw):
        raise BadQuery("", f"broken percent escape in query parameter {raw[:64]!r}")
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadQuery("", f"query parameter {raw[:64]!r} is not UTF-8") from None


class _Unbindable(ValueError):
    """A parameter names no field that a query can set; ``unknown`` if it names no field at all."""

    def __init__(self, description: str, *, unknown: bool = False) -> None:
        super().__init__(description)
        self.unknown = unknown


class QueryBinder:
    """Binds the query of one method; names resolved once are remembered."""

    def __init__(self, message: Descriptor, body: FieldPath | None, codec: JsonCodec, options: Options) -> None:
        self._message = message
        self._body = body
        self._codec = codec
        self._options = options
        self._ignored = frozenset(options.ignored_query_parameters)
        self._known: dict[str, tuple[FieldPath, TextReader]] = {}

    def bind(self, pairs: list[tuple[str, str]], violations: list[Violation]) -> list[tuple[FieldPath, Any]]:
        """Return the value of each field that *pairs* name; what is wrong goes to *violations*."""
        bound: dict[str, tuple[FieldPath, Any]] = {}
        for name, text in pairs:
            if name in self._ignored:
                continue
            try:
                path, value = self._value(name, text)
                self._add(bound, path, value)
            except _Unbindable as error:
                if not (error.unknown and self._options.unknown_query == "ignore"):
                    violations.append((self._field(name), str(error)))
            except JsonRefused as error:
                violations.append((self._field(name), f"{error.description} at {error.field or name}"))
            except ValueError as error:
                violations.append((self._field(name), f"{error}, got {text[:64]!r}"))
        return list(bound.values())

    def _field(self, name: str) -> str:
        """Return the path that a parameter names in proto names, or *name* where it names none."""
        known = self._known.get(name)
        return name if known is None else known[0].text

    @staticmethod
    def _add(bound: dict[str, tuple[FieldPath, Any]], path: FieldPath, value: Any) -> None:
        if path.text not in bound:
            bound[path.text] = (path, value)
            return
        known = bound[path.text][1]
        if is_map(path.leaf):
            (key,) = value
            if key in known:
                raise _Unbindable(f"map key {key!r} is given twice")
            known[key] = value[key]
        elif not path.leaf.is_repeated:
            raise _Unbindable(f"{path.text} is given twice")
        elif len(known) >= MAX_REPEATED:
            raise _Unbindable(f"has more than {MAX_REPEATED} values; send them in a body")
        else:
            known.extend(value)

    def _value(self, name: str, text: str) -> tuple[FieldPath, Any]:
        known = self._known.get(name)
        if known is None:
            if self._options.query_maps and name.endswith("]") and "[" in name:
                return self._map_value(name, text)
            path = self._resolve(name)
            if is_map(path.leaf) or not is_query_kind(path.leaf):
                raise _Unbindable(f"{path.text} cannot be set by a query parameter")
            known = (path, text_reader(path.leaf, self._codec))
            if len(self._known) < _MAX_CACHED_NAMES:
                self._known[name] = known
        path, read = known
        value = read(text)
        return path, [value] if path.leaf.is_repeated else value

    def _map_value(self, name: str, text: str) -> tuple[FieldPath, Any]:
        """Read ``field[key]=value``; the key is all between the first and the last bracket."""
        field_name, _, key = name[:-1].partition("[")
        path = self._resolve(field_name)
        if not is_map(path.leaf):
            raise _Unbindable(f"{path.text} is not a map")
        entry = path.leaf.message_type.fields_by_number
        if not is_query_kind(entry[2]):
            raise _Unbindable(f"values of {path.text} cannot be set by a query parameter")
        return path, {map_key_reader(entry[1])(key): text_reader(entry[2], self._codec)(text)}

    def _resolve(self, name: str) -> FieldPath:
        """Resolve a dotted name; each part is a JSON name or else a proto name."""
        if name.startswith("$"):
            raise _Unbindable("names beginning with '$' are reserved")
        parts = name.split(".")
        if len(parts) > MAX_PATH_PARTS:
            raise _Unbindable(f"has more than {MAX_PATH_PARTS} parts")
        fields: list[FieldDescriptor] = []
        inside = self._message
        for part in parts:
            if fields:
                inside = _inside(fields[-1])
            field = _by_name(inside, part)
            if field is None:
                raise _Unbindable(_unknown(part, inside), unknown=True)
            fields.append(field)
        path = FieldPath(".".join(field.name for field in fields), tuple(fields))
        if self._body is not None and path.fields[: len(self._body.fields)] == self._body.fields:
            raise _Unbindable(f"{path.text} is read from the body", unknown=True)
        return path


def _inside(field: FieldDescriptor) -> Descriptor:
    if field.is_repeated or field.message_type is None or message_name(field) in WELL_KNOWN:
        raise _Unbindable(f"{field.name} is not a message")
    return field.message_type  # type: ignore[no-any-return]


def _by_name(message: Descriptor, name: str) -> FieldDescriptor | None:
    for field in message.fields:
        if field.json_name == name:
            return field  # type: ignore[no-any-return]
    return message.fields_by_name.get(name)  # type: ignore[no-any-return]


def _unknown(name: str, message: Descriptor) -> str:
    likely = next(_similar(name, message), None)
    hint = f"; did you mean {likely!r}?" if likely else ""
    return f"unknown query parameter{hint}"


def _similar(name: str, message: Descriptor) -> Iterator[str]:
    if len(name) > _MAX_HINTED_NAME:
        return
    for edits in range(1, _MAX_EDITS + 1):
        for field in message.fields:
            for spelling in (field.json_name, field.name):
                if _distance(name, spelling) <= edits:
                    yield spelling


def _distance(one: str, other: str) -> int:
    """Return the edit distance, counting a swap of neighbours as one; 3 stands for any more."""
    if abs(len(one) - len(other)) > _MAX_EDITS:
        return _MAX_EDITS + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
