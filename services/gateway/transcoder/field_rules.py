"""What contracts demand of values by protovalidate's options (buf.validate), read from the loaded descriptors themselves."""

from typing import Any

from google.api import field_behavior_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message


class Rules:
    """Reads the rules of messages, fields and oneofs; without protovalidate in the loaded set there are none."""

    def __init__(self, pool: DescriptorPool, package: str) -> None:
        """*package* declares the options: protovalidate's own, or another with the same names."""
        self._fields = _Option(pool, "FieldOptions", f"{package}.field")
        self._messages = _Option(pool, "MessageOptions", f"{package}.message")
        self._oneofs = _Option(pool, "OneofOptions", f"{package}.oneof")

    def of_field(self, field: FieldDescriptor) -> Message | None:
        """Return the rules of a field."""
        return self._fields.of(field)

    def of_message(self, message: Descriptor) -> Message | None:
        """Return the rules of a message as a whole."""
        return self._messages.of(message)

    def of_oneof(self, oneof: OneofDescriptor) -> Message | None:
        """Return the rules of a oneof."""
        return self._oneofs.of(oneof)


class _Option:
    # The extension is known only to the loaded set, so options are parsed with that set's own classes.
    def __init__(self, pool: DescriptorPool, options: str, extension: str) -> None:
        self._class: type[Message] | None = None
        try:
            self._extension = pool.FindExtensionByName(extension)  # type: ignore[no-untyped-call]
            found = pool.FindMessageTypeByName(f"google.protobuf.{options}")  # type: ignore[no-untyped-call]
        except KeyError:
            return
        if self._extension.containing_type.full_name == found.full_name and not self._extension.is_repeated:
            self._class = message_factory.GetMessageClass(found)

    def of(self, descriptor: Any) -> Message | None:
        if self._class is None or not descriptor.has_options:
            return None
        options: Any = self._class.FromString(descriptor.GetOptions().SerializeToString())
        if not options.HasExtension(self._extension):
            return None
        rules = options.Extensions[self._extension]
        return rules if isinstance(rules, Message) else None


def typed(rules: Message) -> tuple[str, Message | None]:
    """Return the rules for a value of the field's own type and the name of that type; ``""`` without."""
    # A loaded set may call anything buf.validate, so nothing is taken for granted here.
    oneof = rules.DESCRIPTOR.oneofs_by_name.get("type")
    kind = rules.WhichOneof("type") if oneof is not None else None
    value = getattr(rules, kind) if kind is not None else None
    return (str(kind), value) if isinstance(value, Message) else ("", None)


def given(rules: Message) -> dict[str, Any]:
    """Return what *rules* set, by name."""
    return {field.name: value for field, value in rules.ListFields()}


def is_required(field: FieldDescriptor) -> bool:
    """Say whether AIP-203 calls the field required."""
    return field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
