"""An embedder whose texts are finished by hand, so that a test decides the order of events."""

import asyncio
from collections.abc import Sequence

import numpy as np

from services.embedding.domain.embedder import EmbeddingModel, InputKind, TextVector

MODEL = EmbeddingModel(space="manual@1/2/mean/none", model="manual", dimension=2, window_tokens=8, threshold=0.5)

OTHER = EmbeddingModel(space="manual@2/2/mean/none", model="manual", dimension=2, window_tokens=8, threshold=0.4)


def vector_of(text: str, space: str = MODEL.space) -> TextVector:
    """Return the vector that ``ManualEmbedder`` gives *text*."""
    sign = 1 if space == MODEL.space else -1
    values = np.array([len(text), len(set(text))], dtype=np.float32) * np.float32(sign)
    return TextVector(values, token_count=len(text), window_count=1)


class ManualEmbedder:
    """Remembers what was submitted; with *auto* it answers at once. In the space of ``OTHER`` vectors are negative."""

    def __init__(self, *, auto: bool = False) -> None:
        self.models = (MODEL, OTHER)
        self.submitted: list[tuple[str, InputKind]] = []
        self._auto = auto
        self._open: list[tuple[str, str, asyncio.Future[TextVector]]] = []

    def submit(self, texts: Sequence[str], kind: InputKind, space: str) -> Sequence[asyncio.Future[TextVector]]:
        """Take *texts* without computing them."""
        futures = []
        for text in texts:
            future: asyncio.Future[TextVector] = asyncio.get_running_loop().create_future()
            self.submitted.append((text, kind))
            self._open.append((text, space, future))
            futures.append(future)
        if self._auto:
            self.finish()
        return futures

    @property
    def waiting(self) -> list[str]:
        """Texts that are neither finished nor withdrawn."""
        return [text for text, _, future in self._open if not future.done()]

    def finish(self, *texts: str) -> None:
        """Answer *texts*, or all."""
        for text, space, future in self._open:
            if not future.done() and (not texts or text in texts):
                future.set_result(vector_of(text, space))

    def fail(self, text: str, error: Exception) -> None:
        """Fail *text*."""
        for known, _, future in self._open:
            if known == text and not future.done():
                future.set_exception(error)
