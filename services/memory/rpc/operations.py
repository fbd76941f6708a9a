"""OperationService on the wire, and operations as other services of ours answer them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import grpc
from google.longrunning import operations_pb2
from google.protobuf import json_format, struct_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2

from memorybox.governance.v1 import governance_pb2
from memorybox.governance.v1 import operation_service_pb2 as pb
from memorybox.governance.v1 import operation_service_pb2_grpc as pb_grpc
from memorybox.memory.v1 import memory_service_pb2
from services.memory.domain.operations import Fault, Operation, Operations, OperationState
from services.memory.domain.reembedding import REEMBED
from services.mesh.errors import InvalidInput, Violation
from services.mesh.interceptors import caller
from services.mesh.status import DOMAIN

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

# The message in which the result of a kind is sent; a Struct for those that are not here.
RESULTS: Mapping[str, type[Message]] = {
    "EraseOwner": governance_pb2.SubjectDataReceipt,
    "AnonymizeOwner": governance_pb2.SubjectDataReceipt,
    "CreateBackup": governance_pb2.Backup,
    "RestoreBackup": governance_pb2.RestoredBackup,
    REEMBED: memory_service_pb2.ReembeddingResult,
    "DeleteMemories": memory_service_pb2.DeleteMemoriesResult,
}
_CANCELLED = Fault("CANCELLED", "OPERATION_CANCELLED", "the operation was cancelled")


class OperationServicer(pb_grpc.OperationServiceServicer):
    """Shows, lists and cancels."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def GetOperation(self, request: pb.GetOperationRequest, context: "Context") -> operations_pb2.Operation:
        return operation_to_proto(await self._operations.get(caller(context), _id(request.operation_id)))

    async def ListOperations(self, request: pb.ListOperationsRequest, context: "Context") -> pb.ListOperationsResponse:
        page = await self._operations.list_page(
            caller(context), page_size=request.page_size, page_token=request.page_token
        )
        operations = [operation_to_proto(operation) for operation in page.operations]
        return pb.ListOperationsResponse(operations=operations, next_page_token=page.next_page_token)

    async def CancelOperation(self, request: pb.CancelOperationRequest, context: "Context") -> operations_pb2.Operation:
        return operation_to_proto(await self._operations.cancel(caller(context), _id(request.operation_id)))


def operation_to_proto(operation: Operation) -> operations_pb2.Operation:
    """Return an operation as callers see it."""
    message = operations_pb2.Operation(name=operation.name, done=operation.state.is_final)
    metadata = governance_pb2.OperationMetadata(
        kind=operation.kind,
        state=governance_pb2.OperationMetadata.State.Value(operation.state.value),
        done_count=operation.done_count,
        total_count=operation.total_count,
        note=operation.note,
        done_per_s=_rate(operation),
    )
    metadata.created_at.FromDatetime(operation.created_at)
    metadata.updated_at.FromDatetime(operation.updated_at)
    message.metadata.Pack(metadata)
    fault = _CANCELLED if operation.state is OperationState.CANCELLED else operation.fault
    if fault is not None:
        message.error.code = code_pb2.Code.Value(fault.code)
        message.error.message = fault.message
        message.error.details.add().Pack(error_details_pb2.ErrorInfo(reason=fault.reason, domain=DOMAIN))
    elif operation.result is not None:
        result = RESULTS.get(operation.kind, struct_pb2.Struct)()
        message.response.Pack(json_format.ParseDict(operation.result, result))
    return message


def _rate(operation: Operation) -> float:
    taken_s = (operation.updated_at - operation.created_at).total_seconds()
    return operation.done_count / taken_s if taken_s > 0 else 0.0


def _id(operation_id: str) -> str:
    if not operation_id:
        raise InvalidInput("operation_id must be given", violations=[Violation("operation_id", "must be given")])
    return operation_id.removeprefix("operations/")
