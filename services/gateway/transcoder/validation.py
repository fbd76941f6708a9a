"""Requests against the rules that their contract states (protovalidate's standard rules), compiled once for each message type."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from services.gateway.transcoder.field_rules import Rules, given, is_required, typed
from services.gateway.transcoder.fields import WRAPPERS
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.value_rules import Check, value_checks

MAX_VIOLATIONS = 20

Violation = tuple[str, str]
"""Field path in proto names, such as ``lines[2].note``, and what is wrong with it."""
Step = Callable[[Message, str, list[Violation]], None]
"""Looks at one field of a message whose path is given, and adds what is wrong."""
Validate = Callable[[Message], list[Violation]]
"""Returns every field that breaks a rule, the first `MAX_VIOLATIONS` of them."""

_IF_ZERO, _ALWAYS = 1, 3  # buf.validate.Ignore
_CEL = frozenset({"cel", "cel_expression"})
_KEY_CHARS = 64
REQUIRED = "is required"


class Validators:
    """The validators of one pool's messages. ``warnings`` tells which rules nobody checks here."""

    def __init__(self, pool: DescriptorPool, options: Options) -> None:
        self._rules = Rules(pool, options.rules_package)
        self._package = options.rules_package
        self._enabled = options.validation
        self._require = options.required_fields
        self._steps: dict[str, list[Step]] = {}
        self._lawful: dict[str, bool] = {}
        self.warnings: list[str] = []

    def of(self, descriptor: Descriptor) -> Validate | None:
        """Return what checks messages of a type, None where nothing is demanded of them."""
        if not (self._enabled or self._require) or not self._is_lawful(descriptor):
            return None
        steps = self._compile(descriptor)

        def validate(message: Message) -> list[Violation]:
            violations: list[Violation] = []
            _run(steps, message, "", violations)
            return violations

        return validate

    def _is_lawful(self, descriptor: Descriptor) -> bool:
        """Say whether anything is demanded of a message type or of what it holds; types may hold themselves."""
        seen, waiting = {descriptor.full_name}, [descriptor]
        while waiting:
            message = waiting.pop()
            if self._own_rules(message):
                return True
            for field in message.fields:
                held = field.message_type
                if held is not None and held.full_name not in seen and not _is_foreign(held):
                    seen.add(held.full_name)
                    waiting.append(held)
        return False

    def _own_rules(self, message: Descriptor) -> bool:
        known = self._lawful.get(message.full_name)
        if known is None:
            known = self._lawful[message.full_name] = (
                self._rules.of_message(message) is not None
                or any(self._rules.of_oneof(oneof) is not None for oneof in message.oneofs)
                or any(any(self._field_rules(field)) for field in message.fields)
            )
        return known

    def _field_rules(self, field: FieldDescriptor) -> tuple[bool, dict[str, Any] | None]:
        """Return whether a field must be there, and its other rules, None for one that nobody may look into."""
        rules = self._rules.of_field(field) if self._enabled else None
        found = given(rules) if rules is not None else {}
        required = bool(found.pop("required", False)) or (self._require and is_required(field))
        return required, found if found.get("ignore") != _ALWAYS else None

    def _compile(self, message: Descriptor) -> list[Step]:
        known = self._steps.get(message.full_name)
        if known is not None:
            return known
        steps = self._steps[message.full_name] = []  # before its fields: types may hold themselves
        whole = self._rules.of_message(message) if self._enabled else None
        alone: set[str] = set()
        for name, value in (given(whole) if whole is not None else {}).items():
            if name == "oneof":
                for choice in value:
                    steps.append(_one_of(list(choice.fields), required=choice.required))
                    alone.update(choice.fields)
            else:
                self._warn(message.full_name, name)
        for oneof in message.oneofs:
            rules = self._rules.of_oneof(oneof) if self._enabled else None
            if rules is not None and given(rules).get("required"):
                steps.append(_some_of(oneof.name, [field.name for field in oneof.fields]))
        for field in message.fields:
            steps += self._field(field, alone=field.name in alone)
        return steps

    def _field(self, field: FieldDescriptor, *, alone: bool) -> list[Step]:
        required, found = self._field_rules(field)
        if found is None:
            return []
        for name in _CEL & found.keys():
            self._warn(field.full_name, name)
        rules = self._rules.of_field(field) if found else None
        kind, own = typed(rules) if rules is not None else ("", None)
        skip_zero = found.get("ignore") == _IF_ZERO or (alone and "ignore" not in found)
        steps: list[Step] = []
        if required:
            steps.append(_required(field))
        if own is not None:
            steps += self._values(field, kind, own, skip_zero=skip_zero)
        held = _map_value(field) if _is_map(field) else field
        if held.message_type is not None and not _is_foreign(held.message_type) and self._is_lawful(held.message_type):
            steps.append(_nested(field, self._compile(held.message_type)))
        return steps

    def _values(self, field: FieldDescriptor, kind: str, rules: Message, *, skip_zero: bool) -> list[Step]:
        """Return the checks of a field's own values; rules of another type than the field's are a mistake of the contract."""
        if (kind == "map") != _is_map(field) or (kind == "repeated") != (field.is_repeated and not _is_map(field)):
            self._warn(field.full_name, kind)
            return []
        if kind == "repeated":
            return [_counted(field, rules, "items"), *self._elements(field, rules)]
        if kind == "map":
            return [_counted(field, rules, "pairs"), *self._entries(field, rules)]
        checks = self._checks(field, kind, rules)
        return [_value(field, checks, skip_zero=skip_zero)] if checks else []

    def _checks(self, field: FieldDescriptor, kind: str, rules: Message) -> list[Check]:
        if not _fits(kind, field):
            self._warn(field.full_name, kind)
            return []
        checks = value_checks(kind, rules, lambda name: self._warn(field.full_name, f"{kind}.{name}"))
        if kind == "enum" and given(rules).get("defined_only") and field.enum_type is not None:
            numbers = frozenset(field.enum_type.values_by_number)
            checks.append(lambda value: "" if value in numbers else "must be a value of the enum")
        return checks

    def _elements(self, field: FieldDescriptor, rules: Message) -> list[Step]:
        checks = self._of_element(field, given(rules).get("items"))
        name = field.name

        def step(message: Message, path: str, out: list[Violation]) -> None:
            for index, value in enumerate(getattr(message, name)):
                _check(checks, value, f"{path}{name}[{index}]", out)
                if len(out) >= MAX_VIOLATIONS:
                    return

        return [step] if checks else []

    def _entries(self, field: FieldDescriptor, rules: Message) -> list[Step]:
        entry = field.message_type.fields_by_name
        keys = self._of_element(entry["key"], given(rules).get("keys"))
        values = self._of_element(entry["value"], given(rules).get("values"))
        name = field.name

        def step(message: Message, path: str, out: list[Violation]) -> None:
            pairs = getattr(message, name)
            for key in pairs:
                where = f"{path}{name}{_key(key)}"
                _check(keys, key, where, out)
                if values:
                    _check(values, pairs[key], where, out)
                if len(out) >= MAX_VIOLATIONS:
                    return

        return [step] if keys or values else []

    def _of_element(self, field: FieldDescriptor, rules: Any) -> list[Check]:
        if not isinstance(rules, Message):
            return []
        for name in _CEL & given(rules).keys():
            self._warn(field.full_name, name)
        kind, own = typed(rules)
        checks = self._checks(field, kind, own) if own is not None else []
        if given(rules).get("ignore") == _IF_ZERO:
            return [lambda value, check=check: "" if not value else check(value) for check in checks]  # type: ignore[misc]
        return checks

    def _warn(self, name: str, rule: str) -> None:
        text = f"{name}: the rule {rule} of {self._package} is not checked by the gateway"
        if text not in self.warnings:
            self.warnings.append(text)


def _run(steps: Sequence[Step], message: Message, path: str, out: list[Violation]) -> None:
    for step in steps:
        step(message, path, out)
        if len(out) >= MAX_VIOLATIONS:
            return


def _check(checks: Sequence[Check], value: Any, path: str, out: list[Violation]) -> None:
    for check in checks:
        text = check(value)
        if text:
            out.append((path, text))


def _is_set(message: Message, field: FieldDescriptor) -> bool:
    return message.HasField(field.name) if field.has_presence else bool(getattr(message, field.name))


def _required(field: FieldDescriptor) -> Step:
    def step(message: Message, path: str, out: list[Violation]) -> None:
        if not _is_set(message, field):
            out.append((path + field.name, REQUIRED))

    return step


def _value(field: FieldDescriptor, checks: Sequence[Check], *, skip_zero: bool) -> Step:
    name, wrapped = field.name, field.message_type is not None and field.message_type.full_name in WRAPPERS

    def step(message: Message, path: str, out: list[Violation]) -> None:
        if field.has_presence and not message.HasField(name):
            return
        value = getattr(message, name)
        value = value.value if wrapped else value
        if not (skip_zero and not wrapped and not value):
            _check(checks, value, path + name, out)

    return step


def _counted(field: FieldDescriptor, rules: Message, unit: str) -> Step:
    found, name = given(rules), field.name
    low, high = found.get(f"min_{unit}", 0), found.get(f"max_{unit}")
    unique = bool(found.get("unique")) and field.message_type is None

    def step(message: Message, path: str, out: list[Violation]) -> None:
        values = getattr(message, name)
        if len(values) < low:
            out.append((path + name, f"must have at least {low} {unit}"))
        if high is not None and len(values) > high:
            out.append((path + name, f"must have at most {high} {unit}"))
        elif unique and len(set(values)) < len(values):
            out.append((path + name, "must not hold anything twice"))

    return step


def _nested(field: FieldDescriptor, steps: Sequence[Step]) -> Step:
    name, is_map = field.name, _is_map(field)

    def step(message: Message, path: str, out: list[Violation]) -> None:
        held = getattr(message, name)
        if is_map:
            inside = ((f"{name}{_key(key)}.", held[key]) for key in held)
        elif field.is_repeated:
            inside = ((f"{name}[{index}].", one) for index, one in enumerate(held))
        elif message.HasField(name):
            inside = iter([(f"{name}.", held)])  # type: ignore[assignment]
        else:
            return
        for where, one in inside:
            _run(steps, one, path + where, out)
            if len(out) >= MAX_VIOLATIONS:
                return

    return step


def _some_of(name: str, members: Sequence[str]) -> Step:
    text = f"one of {', '.join(members)} {REQUIRED}"

    def step(message: Message, path: str, out: list[Violation]) -> None:
        if message.WhichOneof(name) is None:
            out.append((path + name, text))

    return step


def _one_of(names: Sequence[str], *, required: bool) -> Step:
    def step(message: Message, path: str, out: list[Violation]) -> None:
        fields = message.DESCRIPTOR.fields_by_name
        count = sum(name in fields and _is_set(message, fields[name]) for name in names)
        if count > 1:
            out.append((path + names[1], f"only one of {', '.join(names)} may be given"))
        elif required and not count:
            out.append((path + names[0], f"one of {', '.join(names)} {REQUIRED}"))

    return step


def _key(key: Any) -> str:
    return f"[{json.dumps(key[:_KEY_CHARS] if isinstance(key, str) else key)}]"


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry)


def _map_value(field: FieldDescriptor) -> FieldDescriptor:
    value: FieldDescriptor = field.message_type.fields_by_name["value"]
    return value


def _is_foreign(message: Descriptor) -> bool:
    """Say whether a type is google's own, of which nothing is demanded."""
    return str(message.full_name).startswith("google.protobuf.")


_KINDS = {
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_SINT32: "sint32",
    FieldDescriptor.TYPE_SINT64: "sint64",
    FieldDescriptor.TYPE_FIXED32: "fixed32",
    FieldDescriptor.TYPE_FIXED64: "fixed64",
    FieldDescriptor.TYPE_SFIXED32: "sfixed32",
    FieldDescriptor.TYPE_SFIXED64: "sfixed64",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_ENUM: "enum",
}
_MESSAGES = {"Any": "any", "Duration": "duration", "Timestamp": "timestamp"}


def _fits(kind: str, field: FieldDescriptor) -> bool:
    """Say whether rules of *kind* are made for the type of a field or its elements; wrappers take those of what they hold."""
    if field.message_type is None:
        return _KINDS.get(field.type) == kind
    name = field.message_type.full_name
    if name in WRAPPERS:
        return _KINDS.get(field.message_type.fields_by_name["value"].type) == kind
    return _MESSAGES.get(name.removeprefix("google.protobuf.")) == kind
