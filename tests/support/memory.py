"""What the memory service needs around it in tests: an embedder without a model, and clients of its RPCs."""

import hashlib
from collections.abc import Sequence

import numpy as np

from services.memory.domain.keyword import tokenize
from services.memory.domain.memory import Embedding
from services.memory.domain.ports import EmbeddingSpace, EmbeddingUnavailable, InputKind

DIMENSION = 32
SPACE = EmbeddingSpace("fake@1/32/words/none", DIMENSION, 0.5)
RETRY_S = 1.5


class FakeEmbedder:
    """Gives texts with the same words near vectors: each word has its own direction. ``down`` makes it unavailable."""

    def __init__(self) -> None:
        self.down = False
        self.asked: list[tuple[tuple[str, ...], InputKind]] = []

    async def active_space(self) -> EmbeddingSpace:
        """Return the one space."""
        self._check()
        return SPACE

    async def embed(self, texts: Sequence[str], kind: InputKind) -> tuple[EmbeddingSpace, list[Embedding]]:
        """Return one vector per text."""
        self._check()
        self.asked.append((tuple(texts), kind))
        return SPACE, [Embedding(SPACE.name, vector_of(text)) for text in texts]

    def _check(self) -> None:
        if self.down:
            raise EmbeddingUnavailable("the embedding service does not answer; try again", retry_after_s=RETRY_S)


def vector_of(text: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return the sum of the directions of the words of *text*, length 1."""
    total = np.zeros(DIMENSION)
    for word in tokenize(text[:1000]) or [text[:1000]]:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        total += np.random.default_rng(seed).standard_normal(DIMENSION)
    return (total / np.linalg.norm(total)).astype(np.float32)
