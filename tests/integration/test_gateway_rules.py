"""What Memory Box's own contract demands of values is answered at the gateway; items of a batch still fail alone."""

import json
from typing import Any

from services.gateway.app import memorybox_transcoder
from services.gateway.edge.documents import own_about
from services.gateway.settings import GatewaySettings
from services.gateway.transcoder.openapi import openapi_json
from services.mesh.config import load
from tests.support.gateway import JSON, FakeUpstream, Reply, gateway

BAD = {"query": "x" * 3000, "topK": 5000, "pageSize": -1, "minScore": 2}


async def ask(path: str, body: Any, upstream: FakeUpstream) -> Reply:
    async with upstream.serving() as target, gateway(target) as edge:
        return await edge.ask("POST", path, [JSON], json.dumps(body).encode())


async def test_all_broken_rules_come_back_before_any_call() -> None:
    upstream = FakeUpstream()

    reply = await ask("/v1/memories:search", BAD, upstream)

    violations = {one["field"]: one["description"] for one in reply.json["details"][0]["fieldViolations"]}
    assert reply.status == 400
    assert violations == {
        "query": "must have at most 2048 characters",
        "top_k": "must be at least 0 and at most 1000",
        "page_size": "must be at least 0 and at most 100",
        "min_score": "must be at least -1.0 and at most 1.0",
    }
    assert upstream.seen == []


async def test_items_of_a_batch_are_left_to_the_service() -> None:
    upstream = FakeUpstream()

    reply = await ask("/v1/memories:batchSearch", {"requests": [BAD]}, upstream)

    assert reply.status == 200
    assert len(upstream.seen) == 1


def test_rules_are_described() -> None:
    transcoder = memorybox_transcoder(load(GatewaySettings, {}))

    schemas = json.loads(openapi_json(transcoder, own_about("dev")))["components"]["schemas"]

    searches = [schema["properties"] for name, schema in schemas.items() if "SearchMemoriesRequest" in name]
    bounds = [properties["topK"] for properties in searches if "topK" in properties]
    assert bounds
    assert all((one["minimum"], one["maximum"]) == (0, 1000) for one in bounds)
    assert transcoder.warnings == []
