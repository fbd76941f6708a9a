"""Printing without detours: one function of straight-line code for each message type.

It prints what the guarded writers print, several times as fast, but cannot say which field has no JSON form; whoever
calls it asks them when it fails.
"""

import keyword
from collections.abc import Callable
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.gateway.transcoder.compiled import Announce, Compiled
from services.gateway.transcoder.fields import WRAPPERS, is_map
from services.gateway.transcoder.writer import FLOATS, Writer, Writers, identity, is_set_float, write_text

_MESSAGES = (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP)


class StraightWriters:
    """Straight-line writers of one pool, built on first use; *writers* print what is no plain message."""

    def __init__(self, writers: Writers) -> None:
        self._writers = writers
        self._compiled: Compiled[Writer] = Compiled(self._compile)

    def message(self, descriptor: Any) -> Writer:
        """Return the writer of a message type; it raises ``Unprintable`` without a field."""
        return self._compiled.get(descriptor)

    def _compile(self, descriptor: Descriptor, announce: Announce[Writer]) -> Writer:
        name = descriptor.full_name
        if descriptor.is_extendable or name in WRAPPERS or self._writers.is_special(name):
            return self._writers.message(descriptor)
        made: list[Writer] = []

        def draft(message: Any) -> Any:
            """Stand for the function in fields of its own type, which are compiled before it is there."""
            return made[0](message)

        announce(draft)
        code = _Code(descriptor)
        for field in sorted(descriptor.fields, key=lambda item: item.number):
            self._add(code, field)
        made.append(code.function())
        return made[0]

    def _add(self, code: "_Code", field: FieldDescriptor) -> None:
        key = self._writers.key(field)
        write = self._value(field)
        if field.has_presence:
            code.when_present(field, key, write)
        elif self._writers.emits_defaults:
            code.always(field, key, write)
        elif field.type in FLOATS and not field.is_repeated:
            code.when(is_set_float, field, key, write)
        else:
            code.when(None, field, key, write)

    def _value(self, field: FieldDescriptor) -> Writer:
        if is_map(field) or field.type not in _MESSAGES:
            return self._writers.value(field)
        element = self.message(field.message_type)
        return (lambda items: [element(item) for item in items]) if field.is_repeated else element


class _Code:
    """The source of one function. Texts that descriptors give are bound as values, never written into it."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._bound: dict[str, Any] = {
            "has": message_factory.GetMessageClass(descriptor).HasField,
            "getattr": getattr,
            "type": type,
            "str": str,
        }
        self._lines = ["def write(m):", " out = {}"]

    def _bind(self, value: Any) -> str:
        name = f"v{len(self._bound)}"
        self._bound[name] = value
        return name

    def _read(self, field: FieldDescriptor) -> str:
        if field.name.isidentifier() and not keyword.iskeyword(field.name):
            return f"m.{field.name}"
        return f"getattr(m, {self._bind(field.name)})"

    def _put(self, key: str, write: Writer, value: str) -> str:
        printed = value if write is identity else f"{self._bind(write)}({value})"
        if write is write_text and value == "x":
            printed = f"x if type(x) is str else {printed}"  # all but proto2's text that is no UTF-8
        return f"out[{self._bind(key)}] = {printed}"

    def when_present(self, field: FieldDescriptor, key: str, write: Writer) -> None:
        self._lines += [f" if has(m, {self._bind(field.name)}):", f"  {self._put(key, write, self._read(field))}"]

    def always(self, field: FieldDescriptor, key: str, write: Writer) -> None:
        self._lines.append(f" {self._put(key, write, self._read(field))}")

    def when(self, is_set: Callable[[Any], bool] | None, field: FieldDescriptor, key: str, write: Writer) -> None:
        test = "x" if is_set is None else f"{self._bind(is_set)}(x)"
        self._lines += [f" x = {self._read(field)}", f" if {test}:", f"  {self._put(key, write, 'x')}"]

    def function(self) -> Writer:
        """Return the function."""
        scope = {**self._bound, "__builtins__": {}}
        exec("\n".join([*self._lines, " return out"]), scope)  # noqa: S102 nothing in it but our own words and identifiers
        return scope["write"]  # type: ignore[no-any-return]
