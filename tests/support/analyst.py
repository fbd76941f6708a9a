"""The analyst service over its own data folder, a small model with data, and clients of its RPCs."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from memorybox.analyst.v1 import analyst_pb2
from memorybox.analyst.v1 import analyst_service_pb2 as pb
from memorybox.analyst.v1 import analyst_service_pb2_grpc as pb_grpc
from memorybox.governance.v1 import subject_data_service_pb2_grpc
from services.analyst.app import build
from services.analyst.settings import Settings
from services.mesh.config import load
from tests.support.clients import CALL_S, Deployment, Pairs, Running, plain_channel

STAFF_CSV = b"name,base,salary,hired\nann,JFK,100,2020-01-02\nbob,JFK,80,2021-03-04\ncyd,LGA,90,2022-05-06\n"
STAFF_YAML = """\
name: staff
description: who works where
tables:
  - name: staff
    base_table: {database: hr, schema: public, table: STAFF}
    primary_key: {columns: [name]}
    dimensions:
      - {name: name, expr: name, data_type: VARCHAR, unique: true}
      - {name: base, expr: base, data_type: VARCHAR, synonyms: [airport]}
    time_dimensions:
      - {name: hired, expr: hired, data_type: DATE}
    metrics:
      - {name: headcount, expr: COUNT(*), synonyms: [number of staff, staff count]}
"""


class Client:
    """Calls AnalystService as one user, each call with the user's own token and a deadline."""

    def __init__(self, channel: Any, metadata: Pairs) -> None:
        self._stub: Any = pb_grpc.AnalystServiceStub(channel)
        self._metadata = metadata

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return partial(getattr(self._stub, method), metadata=self._metadata, timeout=CALL_S)

    async def load(self, table: str, data: bytes, **config: Any) -> analyst_pb2.Table:
        """Load a table."""
        return (await self.LoadTable(load_messages(table, data, **config))).table  # type: ignore[no-any-return]

    async def put(self, name: str, yaml: str = STAFF_YAML, **fields: Any) -> analyst_pb2.SemanticModel:
        """Keep a semantic model."""
        answer = await self.PutSemanticModel(pb.PutSemanticModelRequest(name=name, yaml=yaml, **fields))
        return answer.semantic_model  # type: ignore[no-any-return]

    async def get(self, name: str, **fields: Any) -> analyst_pb2.SemanticModel:
        """Return a semantic model."""
        answer = await self.GetSemanticModel(pb.GetSemanticModelRequest(name=name, **fields))
        return answer.semantic_model  # type: ignore[no-any-return]

    async def names(self) -> list[str]:
        """Return the names of the models that are listed."""
        page = await self.ListSemanticModels(pb.ListSemanticModelsRequest())
        return [model.name for model in page.semantic_models]

    async def ask(self, question: str, model: str = "staff", **fields: Any) -> list[pb.AskResponse]:
        """Return the events of an answer."""
        request = pb.AskRequest(question=question, semantic_model=model, **fields)
        return [event async for event in self.Ask(request)]

    async def execute(self, statement: str, model: str = "staff", **fields: Any) -> list[pb.ExecuteQueryResponse]:
        """Return the events of a statement's result."""
        request = pb.ExecuteQueryRequest(statement=statement, semantic_model=model, **fields)
        return [event async for event in self.ExecuteQuery(request)]


class World:
    """An analyst service in this process, and its users."""

    def __init__(self, deployment: Deployment, running: Running, channel: Any) -> None:
        self.running = running
        self.folder = running.mesh.settings.data_dir / "analyst"
        self._deployment = deployment
        self._channel = channel
        self.ann, self.bob = self.user("ann"), self.user("bob")

    def user(self, name: str, *roles: str) -> Client:
        """Return the client of a user."""
        return Client(self._channel, self._deployment.bearer("analyst", name, roles))

    def subject_data(self) -> Callable[[str], Callable[..., Any]]:
        """Return the methods of SubjectDataService, called as the memory service."""
        stub = subject_data_service_pb2_grpc.SubjectDataServiceStub(self._channel)
        metadata = self._deployment.bearer("analyst", key="memory")
        return lambda method: partial(getattr(stub, method), metadata=metadata, timeout=CALL_S)


@asynccontextmanager
async def analyst_world(deployment: Deployment, **settings: str) -> AsyncIterator[World]:
    """Serve the analyst; memory and embedding are down unless *deployment* serves them too."""
    chosen = load(Settings, settings)
    async with (
        deployment.serving("analyst", lambda mesh: build(mesh, chosen)) as running,
        plain_channel(running.target) as channel,
    ):
        yield World(deployment, running, channel)


def load_messages(table: str, data: bytes, **config: Any) -> Iterable[pb.LoadTableRequest]:
    """Return the messages that load *data* as *table*."""
    half = max(1, len(data) // 2)
    pieces = [piece for piece in (data[:half], data[half:]) if piece]
    return [
        pb.LoadTableRequest(config=pb.LoadTableRequest.Config(table=table, **config)),
        *(pb.LoadTableRequest(chunk=piece) for piece in pieces),
    ]


def kinds(events: Iterable[pb.AskResponse]) -> list[str]:
    """Return which events came, in order."""
    return [str(event.WhichOneof("event")) for event in events]


def rows(events: Iterable[Any]) -> list[list[Any]]:
    """Return the rows of all pages."""
    return [list(row) for event in events if event.HasField("result") for row in event.result.rows]


def suggestions(events: Iterable[pb.AskResponse]) -> analyst_pb2.Suggestions:
    """Return the one event that says why there is no answer."""
    (found,) = [event.suggestions for event in events if event.HasField("suggestions")]
    return found
