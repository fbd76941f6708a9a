"""An embedder whose texts are finished by hand, so that a test decides the order of events."""

import asyncio
from collections.abc import Sequence

import numpy as np

from services.embedding.domain.embedder import EmbeddingModel, InputKind, TextVector

MODEL = EmbeddingModel(space="manual@1/2/mean/none", model="manual", dimension=2, window_tokens=8, threshold=0.5)


def vector_of(text: str) -> TextVector:
    """Return the vector that ``ManualEmbedder`` gives *text*."""
    return TextVector(np.array([len(text), len(set(text))], dtype=np.float32), token_count=len(text), window_count=1)


class ManualEmbedder:
    """Remembers what was submitted; with *auto* it answers at once."""

    def __init__(self, *, auto: bool = False) -> None:
        self.model = MODEL
        self.submitted: list[tuple[str, InputKind]] = []
        self._auto = auto
        self._open: list[tuple[str, asyncio.Future[TextVector]]] = []

    def submit(self, texts: Sequence[str], kind: InputKind) -> Sequence[asyncio.Future[TextVector]]:
        """Take *texts* without computing them."""
        futures = []
        for text in texts:
            future: asyncio.Future[TextVector] = asyncio.get_running_loop().create_future()
            self.submitted.append((text, kind))
            self._open.append((text, future))
            futures.append(future)
        if self._auto:
            self.finish()
        return futures

    @property
    def waiting(self) -> list[str]:
        """Texts that are neither finished nor withdrawn."""
        return [text for text, future in self._open if not future.done()]

    def finish(self, *texts: str) -> None:
        """Answer *texts*, or all."""
        for text, future in self._open:
            if not future.done() and (not texts or text in texts):
                future.set_result(vector_of(text))

    def fail(self, text: str, error: Exception) -> None:
        """Fail *text*."""
        for known, future in self._open:
            if known == text and not future.done():
                future.set_exception(error)
