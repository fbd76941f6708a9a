"""Automatic update masks: a PATCH changes exactly the fields that its body names."""

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.gateway.transcoder.fields import Tree, message_name
from services.gateway.transcoder.rules import Binding

_MASK = "google.protobuf.FieldMask"


class MaskField:
    """The mask of a PATCH method and the body field that it speaks of."""

    __slots__ = ("body", "name")

    def __init__(self, name: str, body: FieldDescriptor) -> None:
        self.name = name
        self.body = body


def mask_field(binding: Binding) -> MaskField | None:
    """Return the mask that *binding* fills by itself, None if its shape does not allow that.

    Needed: PATCH, a message field as the body, and exactly one top-level FieldMask outside the path.
    """
    body = binding.body
    if binding.route.http_method != "PATCH" or body is None or len(body.fields) > 1:
        return None
    if body.leaf.is_repeated or body.leaf.message_type is None:
        return None
    masks = [field for field in binding.method.input_type.fields if message_name(field) == _MASK]
    if len(masks) != 1 or masks[0].is_repeated or masks[0].name == body.leaf.name:
        return None
    if any(path.fields[0].name == masks[0].name for _, path in binding.variables):
        return None
    return MaskField(masks[0].name, body.leaf)


def fill_mask(mask: MaskField, tree: Tree, json: Any, path_bound: Iterable[str]) -> None:
    """Set the mask of *tree* from the members of the body *json*, unless the caller set one."""
    given = tree.get(mask.name)
    if given is not None and given["paths"]:
        return
    prefix = mask.body.name + "."
    bound = {path.removeprefix(prefix) for path in path_bound if path.startswith(prefix)}
    named = set(_named(json, mask.body.message_type, "")) if isinstance(json, dict) else set()
    tree[mask.name] = {"paths": sorted(named - bound)}


def _named(value: dict[str, Any], message: Descriptor, prefix: str) -> Iterator[str]:
    """Yield every leaf that the JSON object names, in proto names; the decoder checked it before."""
    by_json_name = {field.json_name: field for field in message.fields}
    for key, item in value.items():
        field = by_json_name.get(key) or message.fields_by_name.get(key)
        if field is None:
            continue
        path = prefix + field.name
        if _is_leaf(field) or not item:
            yield path
        else:
            yield from _named(item, field.message_type, path + ".")


def _is_leaf(field: FieldDescriptor) -> bool:
    if field.is_repeated or field.message_type is None:
        return True
    return message_name(field).startswith("google.protobuf.")
