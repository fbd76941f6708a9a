"""Semantic models on the wire."""

from typing import TYPE_CHECKING, Any

import grpc

from memorybox.analyst.v1 import analyst_service_pb2 as pb
from services.analyst.domain.drafting import Drafting
from services.analyst.domain.listing import ModelPages
from services.analyst.domain.models import SemanticModels, Wanted
from services.analyst.domain.ports import LoadedModel
from services.analyst.domain.semantic_model import Severity
from services.analyst.domain.verifying import Approval, Verifying
from services.analyst.wire import access_level_of, finding_to_proto, model_to_proto
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    from memorybox.analyst.v1 import analyst_pb2

    Context = grpc.aio.ServicerContext[Any, Any]


class ModelRpcs:
    """List, read, keep, check, draft and approve."""

    _models: SemanticModels
    _pages: ModelPages
    _verifying: Verifying
    _drafting: Drafting

    async def ListSemanticModels(
        self, request: pb.ListSemanticModelsRequest, context: "Context"
    ) -> pb.ListSemanticModelsResponse:
        page = await self._pages.page(caller(context), request.page_size, request.page_token)
        return pb.ListSemanticModelsResponse(
            semantic_models=[model_to_proto(kept) for kept in page.models], next_page_token=page.next_page_token
        )

    async def GetSemanticModel(
        self, request: pb.GetSemanticModelRequest, context: "Context"
    ) -> pb.GetSemanticModelResponse:
        model = await self._models.load(caller(context), request.name, request.owner_user, request.version)
        return pb.GetSemanticModelResponse(semantic_model=_whole(model))

    async def PutSemanticModel(
        self, request: pb.PutSemanticModelRequest, context: "Context"
    ) -> pb.PutSemanticModelResponse:
        wanted = Wanted(
            name=request.name,
            yaml=request.yaml,
            owner_user=request.owner_user,
            access_level=access_level_of(request),
            reader_roles=tuple(dict.fromkeys(request.reader_roles)),
            etag=request.etag,
        )
        model = await self._models.put(caller(context), wanted)
        return pb.PutSemanticModelResponse(semantic_model=_whole(model))

    async def DeleteSemanticModel(
        self, request: pb.DeleteSemanticModelRequest, context: "Context"
    ) -> pb.DeleteSemanticModelResponse:
        await self._models.delete(caller(context), request.name, request.etag)
        return pb.DeleteSemanticModelResponse()

    async def ValidateSemanticModel(
        self, request: pb.ValidateSemanticModelRequest, context: "Context"
    ) -> pb.ValidateSemanticModelResponse:
        findings = await self._models.validate(request.yaml, text_only=request.text_only)
        return pb.ValidateSemanticModelResponse(
            valid=all(finding.severity is not Severity.ERROR for finding in findings),
            findings=[finding_to_proto(finding) for finding in findings],
        )

    async def DraftSemanticModel(
        self, request: pb.DraftSemanticModelRequest, context: "Context"
    ) -> pb.DraftSemanticModelResponse:
        return pb.DraftSemanticModelResponse(yaml=await self._drafting.draft(request.name, list(request.tables)))

    async def ApproveVerifiedQuery(
        self, request: pb.ApproveVerifiedQueryRequest, context: "Context"
    ) -> pb.ApproveVerifiedQueryResponse:
        approval = Approval(
            name=request.name,
            owner_user=request.owner_user,
            answer_id=request.answer_id,
            question=request.question,
            statement=request.statement,
            query_name=request.query_name,
            use_as_onboarding_question=request.use_as_onboarding_question,
            etag=request.etag,
        )
        model = await self._verifying.approve(caller(context), approval)
        return pb.ApproveVerifiedQueryResponse(semantic_model=_whole(model))


def _whole(model: LoadedModel) -> "analyst_pb2.SemanticModel":
    return model_to_proto(model.kept, model.findings)
