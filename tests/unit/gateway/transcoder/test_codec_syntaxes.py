"""The compiled codec against ``json_format`` on random messages of proto2 and of an edition (T-161, T-480)."""

import json
from typing import Any

import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.options import Options
from tests.conformance.contract import Contract, descriptor_set

CONTRACT = Contract(descriptor_set())
CODEC = JsonCodec(CONTRACT.pool, Options())
DEPTH = 3

TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
}


def value(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([item.number for item in field.enum_type.values])
    return content(field.message_type, depth) if field.message_type is not None else SCALARS[field.type]


def content(descriptor: Any, depth: int) -> st.SearchStrategy[Any]:
    """Return constructor arguments of a message, always with what it requires."""
    required: dict[str, Any] = {}
    optional: dict[str, Any] = {}
    for field in descriptor.fields:
        if field.message_type is not None and depth == 0:
            continue
        one = value(field, depth - 1)
        kind = required if field.is_required else optional
        kind[field.name] = st.lists(one, max_size=3) if field.is_repeated else one
    return st.fixed_dictionaries(required, optional=optional)


def message_class(name: str) -> Any:
    return message_factory.GetMessageClass(CONTRACT.pool.FindMessageTypeByName(name))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", ["conformance.v1.Old", "conformance.v1.Modern"])
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_messages_of_other_syntaxes_go_out_and_come_back(name: str, data: st.DataObject) -> None:
    made = message_class(name)
    message = made(**data.draw(content(made.DESCRIPTOR, DEPTH)))

    printed = CODEC.encode(message)

    assert json.loads(printed) == json.loads(json_format.MessageToJson(message, descriptor_pool=CONTRACT.pool))
    assert CODEC.decode(made, printed) == message


def test_extensions_go_out_and_come_back() -> None:
    old = CONTRACT.message(
        message_class("conformance.v1.Old").DESCRIPTOR,
        {"n": 7, "[conformance.v1.extra_texts]": ["a"], "[conformance.v1.extra_needy]": {"must": "m"}},
    )

    assert CODEC.decode(type(old), CODEC.encode(old)) == old
