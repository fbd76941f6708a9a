"""Verified queries from use: who approves, and what becomes of later questions."""

from memorybox.analyst.v1 import analyst_pb2
from memorybox.analyst.v1 import analyst_service_pb2 as pb
from tests.support.analyst import World, kinds, rows
from tests.support.clients import refusal

GOVERNOR = "MEMORYBOX_GOVERNOR"
QUESTION = "headcount by base"


async def approved(world: World) -> pb.ApproveVerifiedQueryResponse:
    answer_id = (await world.ann.ask(QUESTION))[-1].done.answer_id
    request = pb.ApproveVerifiedQueryRequest(name="staff", answer_id=answer_id, query_name="per_base")
    response: pb.ApproveVerifiedQueryResponse = await world.ann.ApproveVerifiedQuery(request)
    return response


async def test_approved_answer_is_in_the_next_version_and_answers_the_same_question(world: World) -> None:
    before = await world.ann.get("staff")

    after = (await approved(world)).semantic_model

    events = await world.ann.ask("Headcount, by base?")
    (sql,) = [event.sql for event in events if event.HasField("sql")]
    assert (before.version, after.version) == (1, 2)
    assert after.yaml.startswith(before.yaml)
    assert "per_base" in after.yaml
    assert sql.verified_query == "per_base"
    assert sorted(map(tuple, rows(events))) == [("JFK", 2), ("LGA", 1)]


async def test_approving_again_changes_nothing(world: World) -> None:
    await approved(world)

    again = await approved(world)

    assert again.semantic_model.version == 2


async def test_only_the_owner_and_governors_approve(world: World) -> None:
    await world.ann.put("staff", access_level=analyst_pb2.SemanticModel.PUBLIC)
    statement = "SELECT base, COUNT(*) AS n FROM __staff GROUP BY base"
    request = pb.ApproveVerifiedQueryRequest(name="staff", question="how many per base", statement=statement)

    refused = await refusal(world.bob.ApproveVerifiedQuery(request))
    model = (await world.user("gus", GOVERNOR).ApproveVerifiedQuery(request)).semantic_model

    assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "NOT_MODEL_OWNER")
    assert model.owner_user == "ann"
    assert "gus" not in model.yaml


async def test_answer_of_someone_else_cannot_be_approved(world: World) -> None:
    await world.ann.put("staff", access_level=analyst_pb2.SemanticModel.PUBLIC)
    answer_id = (await world.bob.ask(QUESTION))[-1].done.answer_id

    refused = await refusal(
        world.ann.ApproveVerifiedQuery(pb.ApproveVerifiedQueryRequest(name="staff", answer_id=answer_id))
    )

    assert refused.reason == "ANSWER_NOT_FOUND"


async def test_statement_beyond_what_the_model_allows_cannot_be_approved(world: World) -> None:
    hostile = ("SELECT salary FROM hr.public.staff", "DROP TABLE staff", "SELECT * FROM pg_class", "SELECT 1; SELECT 2")

    for statement in hostile:
        request = pb.ApproveVerifiedQueryRequest(name="staff", question="q", statement=statement)
        assert (await refusal(world.ann.ApproveVerifiedQuery(request))).code == "INVALID_ARGUMENT", statement

    assert (await world.ann.get("staff")).version == 1


async def test_hostile_verified_query_in_a_model_does_not_run(world: World) -> None:
    yaml = (await world.ann.get("staff")).yaml
    query = (
        "verified_queries:\n  - {name: q, question: who earns what, sql: 'SELECT name, salary FROM hr.public.staff'}\n"
    )
    await world.ann.put("staff", yaml + query)

    events = await world.ann.ask("who earns what")

    assert "result" not in kinds(events)
