"""Who may call what: the whole table, as a person would write it, held against descriptors, grants and the real interceptor."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from memorybox.analyst.v1 import analyst_service_pb2, analyst_service_pb2_grpc
from memorybox.embedding.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from memorybox.governance.v1 import (
    audit_service_pb2,
    governance_service_pb2,
    operation_service_pb2,
    subject_data_service_pb2,
    subject_data_service_pb2_grpc,
)
from memorybox.memory.v1 import memory_service_pb2
from services.analyst.access import ACCESS as ANALYST_ACCESS
from services.cli.grants import standard_keys
from services.embedding.app import ACCESS as EMBEDDING_ACCESS
from services.memory.access import ACCESS as MEMORY_ACCESS
from services.memory.app import service as memory_service
from services.mesh.access import AccessTable
from services.mesh.keys import ANY, Grant
from services.mesh.server import Registration, Service
from tests.support.clients import CALL_S, Deployment, plain_channel
from tests.support.memory import FakeEmbedder
from tests.support.model_store import ModelMemoryStore

IMAGE = Path(__file__).parents[2] / "protos" / "gen" / "memorybox" / "descriptors.binpb"
ROLES = {"user": (), "operator": ("MEMORYBOX_OPERATOR",), "governor": ("MEMORYBOX_GOVERNOR",)}

# u: any user, o: operators, g: governors, s: a service acting for itself. Operators and governors are users too.
TABLE = {
    "memory": {
        "memorybox.memory.v1.MemoryService": {
            "CreateMemory": "uog",
            "BatchCreateMemories": "uog",
            "GetMemory": "uog",
            "BatchGetMemories": "uog",
            "ListMemories": "uog",
            "UpdateMemory": "uog",
            "DeleteMemory": "uog",
            "SearchMemories": "uog",
            "BatchSearchMemories": "uog",
            "CountMemories": "uog",
            "FacetMemories": "uog",
            "FindRelatedMemories": "uog",
            "GetLineage": "uog",
            "UndeleteMemory": "uog",
            "RestoreMemory": "uog",
            "SupersedeMemory": "uog",
            "ListMemoryRevisions": "uog",
            "FindDuplicateMemories": "uog",
            "MergeMemories": "uog",
            "DeleteMemories": "uog",
            "ImportMemories": "uog",
            "ExportMemories": "uog",
            "WatchMemories": "uog",
            "StartReembedding": "o",
        },
        "memorybox.governance.v1.GovernanceService": {
            "EraseOwner": "uog",  # oneself; of others only governors, which the domain decides
            "AnonymizeOwner": "g",
            "GetRetentionPolicy": "uog",
            "SetRetentionPolicy": "g",
            "GetUsage": "uog",
            "SetQuota": "g",
            "CreateBackup": "g",
            "ListBackups": "g",
            "RestoreBackup": "g",
            "GetStorageStats": "og",
        },
        "memorybox.governance.v1.AuditService": {
            "ListAuditEvents": "uog",  # about oneself; the rest only governors, which the domain decides
            "VerifyAuditLog": "g",
            "AppendAuditEvents": "s",
        },
        "memorybox.governance.v1.OperationService": {
            "GetOperation": "uog",
            "ListOperations": "uog",
            "CancelOperation": "uog",
        },
        "memorybox.governance.v1.SubjectDataService": {
            "CountSubjectData": "s",
            "ExportSubjectData": "s",
            "EraseSubjectData": "s",
            "AnonymizeSubjectData": "s",
        },
    },
    "embedding": {
        "memorybox.embedding.v1.EmbeddingService": {
            "EmbedTexts": "uogs",
            "ListEmbeddingModels": "uogs",
        },
    },
    "analyst": {
        "memorybox.analyst.v1.AnalystService": {
            "Ask": "uog",
            "RenderChart": "uog",
            "ExecuteQuery": "uog",
            "SubmitFeedback": "uog",
            "ApproveVerifiedQuery": "uog",  # the owner of the model and governors, which the domain decides
            "ListSemanticModels": "uog",
            "GetSemanticModel": "uog",
            "PutSemanticModel": "uog",
            "DeleteSemanticModel": "uog",
            "ValidateSemanticModel": "uog",
            "DraftSemanticModel": "uog",
            "LoadTable": "uog",
            "ListTables": "uog",
            "DropTable": "uog",
        },
        "memorybox.governance.v1.SubjectDataService": {
            "CountSubjectData": "s",
            "ExportSubjectData": "s",
            "EraseSubjectData": "s",
            "AnonymizeSubjectData": "s",
        },
    },
}
ACCESS: dict[str, AccessTable] = {"memory": MEMORY_ACCESS, "embedding": EMBEDDING_ACCESS, "analyst": ANALYST_ACCESS}
SERVICES: dict[str, list[ServiceDescriptor]] = {
    "memory": [
        *memory_service_pb2.DESCRIPTOR.services_by_name.values(),
        *governance_service_pb2.DESCRIPTOR.services_by_name.values(),
        *audit_service_pb2.DESCRIPTOR.services_by_name.values(),
        *operation_service_pb2.DESCRIPTOR.services_by_name.values(),
        *subject_data_service_pb2.DESCRIPTOR.services_by_name.values(),
    ],
    "embedding": list(embedding_service_pb2.DESCRIPTOR.services_by_name.values()),
    "analyst": [
        *analyst_service_pb2.DESCRIPTOR.services_by_name.values(),
        *subject_data_service_pb2.DESCRIPTOR.services_by_name.values(),
    ],
}
INTERNAL = {
    "/memorybox.governance.v1.AuditService/AppendAuditEvents",
    *(f"/memorybox.governance.v1.SubjectDataService/{name}" for name in TABLE["memory"]["memorybox.governance.v1.SubjectDataService"]),
}  # fmt: skip


def methods(process: str) -> list[MethodDescriptor]:
    return [method for service in SERVICES[process] for method in service.methods]


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def expected(process: str) -> dict[str, str]:
    return {f"/{service}/{name}": who for service, names in TABLE[process].items() for name, who in names.items()}


def is_public(method: MethodDescriptor) -> bool:
    return bool(method.GetOptions().HasExtension(annotations_pb2.http))


@pytest.mark.parametrize("process", ACCESS)
def test_every_rpc_has_a_rule_and_every_rule_an_rpc(process: str) -> None:
    assert set(ACCESS[process]) == {path(method) for method in methods(process)}


@pytest.mark.parametrize("process", ACCESS)
def test_table_of_this_test_names_every_rpc(process: str) -> None:
    assert set(expected(process)) == set(ACCESS[process])


def test_every_service_of_the_contracts_is_in_the_table() -> None:
    image = FileDescriptorSet.FromString(IMAGE.read_bytes())
    declared = {f"{file.package}.{service.name}" for file in image.file for service in file.service if file.package.startswith("memorybox.")}  # fmt: skip

    assert declared == {service for process in TABLE.values() for service in process}


async def test_memory_serves_just_the_services_of_its_table() -> None:
    made = memory_service(ModelMemoryStore(), FakeEmbedder())

    assert {item.descriptor.full_name for item in made.registrations} == set(TABLE["memory"])
    assert made.access is MEMORY_ACCESS


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Make keys that may call everything, so that the table alone decides."""
    everything = Grant((ANY,), (ANY,), tuple(ACCESS), (ANY,))
    keys = (("gateway", "gateway", everything), ("chat", "service", everything))
    return Deployment(tmp_path_factory.mktemp("deployment"), keys)


@pytest.fixture
async def channels(deployment: Deployment) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    unbuilt = Registration.of(embedding_service_pb2, embedding_service_pb2_grpc, "EmbeddingService")
    analyst_parts = (
        Registration.of(analyst_service_pb2, analyst_service_pb2_grpc, "AnalystService"),
        Registration.of(subject_data_service_pb2, subject_data_service_pb2_grpc, "SubjectDataService"),
    )
    async with (
        deployment.serving("memory", lambda _: memory_service(ModelMemoryStore(), FakeEmbedder())) as memory,
        deployment.serving("embedding", lambda _: Service((unbuilt,), EMBEDDING_ACCESS)) as embedding,
        plain_channel(memory.target) as to_memory,
        deployment.serving("analyst", lambda _: Service(analyst_parts, ANALYST_ACCESS)) as analyst,
        plain_channel(embedding.target) as to_embedding,
        plain_channel(analyst.target) as to_analyst,
    ):
        yield {"memory": to_memory, "embedding": to_embedding, "analyst": to_analyst}


async def is_allowed(channel: grpc.aio.Channel, method: str, metadata: tuple[tuple[str, str], ...]) -> bool:
    """Say whether a call gets past the interceptors; an empty request may well be wrong for what lies behind."""
    call: Any = channel.unary_unary(method)
    try:
        await call(b"", metadata=metadata, timeout=CALL_S)
    except grpc.aio.AioRpcError as error:
        if error.code().name not in {"PERMISSION_DENIED", "UNIMPLEMENTED", "INVALID_ARGUMENT"}:
            raise
        return error.code() is not grpc.StatusCode.PERMISSION_DENIED
    return True


@pytest.mark.parametrize("process", TABLE)
async def test_interceptor_admits_just_whom_the_table_names(
    deployment: Deployment, channels: dict[str, grpc.aio.Channel], process: str
) -> None:
    tokens = {kind[0]: deployment.bearer(process, "ann", roles) for kind, roles in ROLES.items()}
    tokens["s"] = deployment.bearer(process, key="chat")
    admitted = {}

    for method in expected(process):
        kinds = [kind for kind, token in tokens.items() if await is_allowed(channels[process], method, token)]
        admitted[method] = "".join(kinds)

    assert admitted == expected(process)


@pytest.mark.parametrize("process", TABLE)
async def test_no_rpc_is_open_without_a_token(channels: dict[str, grpc.aio.Channel], process: str) -> None:
    codes = set()
    for method in expected(process):
        call: Any = channels[process].unary_unary(method)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"", timeout=CALL_S)
        codes.add(refused.value.code().name)

    assert codes == {"UNAUTHENTICATED"}


def test_what_only_services_may_call_has_no_http_rule_and_everything_else_has_one() -> None:
    public = {path(method): is_public(method) for process in ACCESS for method in methods(process)}

    assert {method for method, has_rule in public.items() if not has_rule} == INTERNAL


def test_keys_of_the_mesh_grant_no_more_than_each_needs() -> None:
    everything = [path(method) for process in ACCESS for method in methods(process)]
    granted = {name: {rpc for rpc in everything if grant.allows_rpc(rpc)} for name, _, grant in standard_keys("ann")}
    memories = {rpc for rpc in everything if ".MemoryService/" in rpc}
    embeddings = {rpc for rpc in everything if ".EmbeddingService/" in rpc}
    analyst = {rpc for rpc in everything if ".AnalystService/" in rpc}
    subject_data = {rpc for rpc in everything if ".SubjectDataService/" in rpc}

    assert granted == {
        "gateway": set(everything) - INTERNAL,
        "memory": embeddings | subject_data,
        "embedding": set(),
        "analyst": embeddings | {"/memorybox.governance.v1.AuditService/AppendAuditEvents"},
        "cli": memories | embeddings | analyst,
    }


def test_only_the_gateways_key_may_vouch_for_anyone() -> None:
    grants = {name: grant for name, _, grant in standard_keys("ann")}

    assert {name for name, grant in grants.items() if ANY in (*grant.users, *grant.roles)} == {"gateway"}
    assert [name for name, kind, _ in standard_keys("ann") if kind == "gateway"] == ["gateway"]
    assert grants["cli"].users == ("ann",)
    assert grants["cli"].roles == grants["memory"].users == grants["memory"].roles == ()
