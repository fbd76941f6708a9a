"""EmbeddingService over gRPC: wire to domain to wire."""

from collections.abc import Iterator
from typing import Any

from memorybox.embedding.v1 import embedding_pb2 as pb
from memorybox.embedding.v1 import embedding_service_pb2 as rpc_pb
from memorybox.embedding.v1 import embedding_service_pb2_grpc as rpc_grpc
from services.embedding.domain.embedder import EmbeddingModel, InputKind, TextVector, Windows
from services.embedding.domain.embeddings import Embeddings
from services.embedding.domain.windows import windows_that_fit
from services.mesh.errors import InvalidInput, Violation

_KINDS = {
    rpc_pb.EmbedTextsRequest.INPUT_KIND_UNSPECIFIED: InputKind.DOCUMENT,
    rpc_pb.EmbedTextsRequest.DOCUMENT: InputKind.DOCUMENT,
    rpc_pb.EmbedTextsRequest.QUERY: InputKind.QUERY,
}


class EmbeddingServicer(rpc_grpc.EmbeddingServiceServicer):
    """Serves ``Embeddings``."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings

    async def EmbedTexts(self, request: rpc_pb.EmbedTextsRequest, context: Any) -> rpc_pb.EmbedTextsResponse:
        """Embed the texts in order."""
        kind = input_kind_from_proto(request.input_kind)
        vectors = await self._embeddings.embed(request.texts, kind, request.space)
        model = self._embeddings.model(request.space)
        embeddings = [embedding_to_proto(vector) for vector in vectors]
        if request.include_windows:
            for embedding, windows in zip(embeddings, windows_that_fit(vectors, model.dimension), strict=True):
                embedding.windows.extend(windows_to_proto(windows))
        active = model is self._embeddings.models[0]
        return rpc_pb.EmbedTextsResponse(embeddings=embeddings, model=model_to_proto(model, active=active))

    async def ListEmbeddingModels(
        self, request: rpc_pb.ListEmbeddingModelsRequest, context: Any
    ) -> rpc_pb.ListEmbeddingModelsResponse:
        """List the models, the active one first."""
        models = [model_to_proto(model, active=not index) for index, model in enumerate(self._embeddings.models)]
        return rpc_pb.ListEmbeddingModelsResponse(models=models)


def input_kind_from_proto(kind: int) -> InputKind:
    """Return the domain's kind, or raise ``InvalidInput`` for a number that this version does not know."""
    for number, known in _KINDS.items():
        if number == kind:
            return known
    violation = Violation("input_kind", f"must be DOCUMENT or QUERY, got {kind}")
    raise InvalidInput(f"input_kind {violation.description}", violations=[violation])


def embedding_to_proto(vector: TextVector) -> pb.Embedding:
    """Return *vector* on the wire."""
    return pb.Embedding(values=vector.values.tolist(), token_count=vector.token_count, window_count=vector.window_count)


def windows_to_proto(windows: Windows | None) -> Iterator[pb.Window]:
    """Return *windows* on the wire."""
    if windows is not None:
        for (start, end), values in zip(windows.spans.tolist(), windows.values.astype("<f4", copy=False), strict=True):
            yield pb.Window(start=start, end=end, values_f32=values.tobytes())


def model_to_proto(model: EmbeddingModel, *, active: bool) -> pb.EmbeddingModel:
    """Return *model* on the wire; *active* says whether new vectors are made in its space."""
    return pb.EmbeddingModel(
        space=model.space,
        model=model.model,
        dimension=model.dimension,
        window_tokens=model.window_tokens,
        threshold=model.threshold,
        active=active,
    )
