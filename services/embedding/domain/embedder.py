"""The words of the embedding service and its port to a model."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class InputKind(StrEnum):
    """What a text is to the model; some models prefix the two differently."""

    DOCUMENT = "DOCUMENT"  # a text to be found
    QUERY = "QUERY"  # a question that looks for texts


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A model and the space its vectors live in; vectors of two spaces are never comparable."""

    space: str  # `model@revision/dim/pooling/prefix`
    model: str
    dimension: int
    window_tokens: int  # read at once; longer texts are split into windows and pooled
    threshold: float  # cosine from which a match is worth showing


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of a text: ``values`` (n, dimension) float32 of length 1; ``spans`` (n, 2), the code points that each was made from."""

    values: NDArray[np.float32]
    spans: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.spans)


@dataclass(frozen=True, slots=True)
class TextVector:
    """A text's vector: ``values`` (dimension,) float32 of length 1; the tokens read for it, over so many windows.

    ``windows`` is None for a text of one window, whose vector is the text's own.
    """

    values: NDArray[np.float32]
    token_count: int
    window_count: int
    windows: Windows | None = None


class Embedder(Protocol):
    """Models that embed; implemented in ``backends/``."""

    @property
    def models(self) -> Sequence[EmbeddingModel]:
        """The models and their spaces, the active one first."""
        ...

    def submit(self, texts: Sequence[str], kind: InputKind, space: str) -> Sequence[asyncio.Future[TextVector]]:
        """Start embedding *texts* with the model of *space*, which is served, and return one future each, in order.

        Requests share the model fairly: each call of ``submit`` gets its turn, however many texts another one brought.
        Cancelling a future withdraws its text; what of it is not computed yet never is. A text's vector depends on the
        text, its kind and the model alone.
        """
        ...
