"""Semantic models over real gRPC: versions, and who may know of them."""

import pytest

from memorybox.analyst.v1 import analyst_pb2
from memorybox.analyst.v1 import analyst_service_pb2 as pb
from tests.support.analyst import STAFF_YAML, World
from tests.support.clients import refusal

Model = analyst_pb2.SemanticModel


async def test_model_comes_back_as_it_was_put(world: World) -> None:
    yaml = f"# who works where\n{STAFF_YAML}"

    kept = await world.ann.put("team", yaml)

    assert (kept.name, kept.version, kept.owner_user, kept.access_level) == ("team", 1, "ann", Model.PRIVATE)
    assert (await world.ann.get("team")).yaml == yaml
    assert kept.description == "who works where"


async def test_each_change_is_a_version_and_earlier_ones_stay(world: World) -> None:
    changed = STAFF_YAML.replace("who works where", "crew")

    second = await world.ann.put("staff", changed)
    again = await world.ann.put("staff", changed)

    assert (second.version, again.version) == (2, 2)
    assert (await world.ann.get("staff", version=1)).description == "crew"
    assert (await world.ann.get("staff", version=1)).yaml == STAFF_YAML


async def test_private_model_does_not_exist_for_others(world: World) -> None:
    hidden = [
        await refusal(world.bob.GetSemanticModel(pb.GetSemanticModelRequest(name="staff"))),
        await refusal(world.bob.GetSemanticModel(pb.GetSemanticModelRequest(name="staff", owner_user="ann"))),
        await refusal(world.bob.ask("headcount")),
        await refusal(world.bob.execute("SELECT name FROM staff")),
        await refusal(world.bob.DeleteSemanticModel(pb.DeleteSemanticModelRequest(name="staff"))),
        await refusal(world.bob.ApproveVerifiedQuery(pb.ApproveVerifiedQueryRequest(name="staff"))),
    ]
    absent = await refusal(world.bob.GetSemanticModel(pb.GetSemanticModelRequest(name="nosuch")))

    assert {item.reason for item in hidden} == {"SEMANTIC_MODEL_NOT_FOUND"}
    assert {item.message.replace("staff", "nosuch") for item in hidden} == {absent.message}
    assert await world.bob.names() == []


async def test_name_of_a_hidden_model_is_free_for_others(world: World) -> None:
    kept = await world.bob.put("staff", access_level=Model.PUBLIC)

    assert (kept.owner_user, kept.version) == ("bob", 1)
    assert (await world.ann.get("staff")).owner_user == "ann"
    assert (await world.ann.get("staff", owner_user="bob")).owner_user == "bob"


async def test_model_for_a_role_is_there_for_its_holders_only(world: World) -> None:
    await world.ann.put("staff", access_level=Model.ROLE, reader_roles=["NURSE"])

    assert await world.user("nina", "NURSE").names() == ["staff"]
    assert await world.user("carl", "CLERK", "GUARD").names() == []


async def test_public_model_may_be_read_but_not_changed_by_others(world: World) -> None:
    await world.ann.put("staff", access_level=Model.PUBLIC)

    put = await refusal(world.bob.PutSemanticModel(pb.PutSemanticModelRequest(name="staff", yaml=STAFF_YAML)))
    deleted = await refusal(world.bob.DeleteSemanticModel(pb.DeleteSemanticModelRequest(name="staff")))
    own = await world.bob.put("staff", owner_user="bob")

    assert [put.reason, deleted.reason] == ["NOT_MODEL_OWNER", "NOT_MODEL_OWNER"]
    assert own.owner_user == "bob"
    assert (await world.bob.get("staff")).owner_user == "bob"


async def test_access_stays_as_it_was_when_nothing_is_said_of_it(world: World) -> None:
    await world.ann.put("staff", access_level=Model.ROLE, reader_roles=["NURSE"])

    kept = await world.ann.put("staff", STAFF_YAML.replace("crew", "staff") + "\n")

    assert (kept.access_level, list(kept.reader_roles)) == (Model.ROLE, ["NURSE"])


async def test_taking_access_back_holds_at_once(world: World) -> None:
    await world.ann.put("staff", access_level=Model.PUBLIC)
    await world.bob.ask("headcount")
    await world.ann.put("staff", access_level=Model.PRIVATE)

    assert (await refusal(world.bob.ask("headcount"))).reason == "SEMANTIC_MODEL_NOT_FOUND"


async def test_etag_of_an_earlier_version_is_refused(world: World) -> None:
    first = await world.ann.get("staff")
    second = await world.ann.put("staff", STAFF_YAML + "\n", etag=f'"{first.etag}"')

    request = pb.PutSemanticModelRequest(name="staff", yaml=STAFF_YAML, etag=first.etag)
    refused = await refusal(world.ann.PutSemanticModel(request))

    assert second.version == 2
    assert (refused.code, refused.reason) == ("ABORTED", "MODEL_ETAG_MISMATCH")


async def test_yaml_that_is_no_model_is_refused_with_its_line(world: World) -> None:
    yaml = "name: x\ntables:\n  - name: a\n   base_table: {table: a}\n"

    refused = await refusal(world.ann.PutSemanticModel(pb.PutSemanticModelRequest(name="x", yaml=yaml)))

    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "SEMANTIC_MODEL_INVALID", ("yaml",))
    assert "line 4" in refused.descriptions[0]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"name": "../x"}, "name", id="name"),
        pytest.param({"yaml": ""}, "yaml", id="empty"),
        pytest.param({"yaml": "x" * (1 << 20) + "x"}, "yaml", id="long"),
        pytest.param({"owner_user": "bob"}, "owner_user", id="owner"),
        pytest.param({"access_level": Model.ROLE}, "reader_roles", id="role-without-roles"),
        pytest.param({"reader_roles": ["A"]}, "reader_roles", id="roles-without-role"),
    ],
)
async def test_put_outside_its_limits_names_the_field(world: World, fields: dict[str, object], field: str) -> None:
    request = pb.PutSemanticModelRequest(**{"name": "x", "yaml": STAFF_YAML, **fields})  # type: ignore[arg-type]

    refused = await refusal(world.ann.PutSemanticModel(request))

    assert refused.fields == (field,)


async def test_validation_names_the_line_in_the_text_and_in_the_data(world: World) -> None:
    yaml = STAFF_YAML.replace("columns: [name]", "columns: [base]").replace("expr: hired", "expr: hired +")

    answer = await world.ann.ValidateSemanticModel(pb.ValidateSemanticModelRequest(yaml=yaml))

    assert not answer.valid
    lines = {finding.line: finding.message for finding in answer.findings}
    assert "does not parse" in lines[11]
    assert "repeats in the data" in lines[6]


async def test_validation_keeps_nothing(world: World) -> None:
    answer = await world.ann.ValidateSemanticModel(pb.ValidateSemanticModelRequest(yaml=STAFF_YAML))

    assert answer.valid
    assert await world.ann.names() == ["staff"]


async def test_list_comes_in_pages_bound_to_their_caller(world: World) -> None:
    for name in ("a", "b", "c"):
        await world.ann.put(name)
    first = await world.ann.ListSemanticModels(pb.ListSemanticModelsRequest(page_size=2))
    rest = await world.ann.ListSemanticModels(pb.ListSemanticModelsRequest(page_token=first.next_page_token))
    stolen = await refusal(world.bob.ListSemanticModels(pb.ListSemanticModelsRequest(page_token=first.next_page_token)))

    assert [model.name for model in (*first.semantic_models, *rest.semantic_models)] == ["a", "b", "c", "staff"]
    assert not any(model.yaml for model in first.semantic_models)
    assert rest.next_page_token == ""
    assert stolen.reason == "INVALID_MODEL_PAGE_TOKEN"


async def test_deleted_model_is_gone(world: World) -> None:
    await world.ann.DeleteSemanticModel(pb.DeleteSemanticModelRequest(name="staff"))

    assert await world.ann.names() == []
    assert (await refusal(world.ann.ask("headcount"))).reason == "SEMANTIC_MODEL_NOT_FOUND"
