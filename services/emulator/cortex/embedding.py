"""Embeddings by the model that ships in packages, so that what means the same lies near.

The model has fewer numbers than Cortex's; the rest is zero, which leaves cosines as they are.
"""

from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np

from services.models.sentence import SentenceModel

MODELS = {
    "snowflake-arctic-embed-m-v1.5": 768,
    "snowflake-arctic-embed-m": 768,
    "e5-base-v2": 768,
    "snowflake-arctic-embed-l-v2.0": 1024,
    "snowflake-arctic-embed-l-v2.0-8k": 1024,
    "nv-embed-qa-4": 1024,
    "multilingual-e5-large": 1024,
    "voyage-multilingual-2": 1024,
}
_LOADING = Lock()
_model: Any = None


def model() -> Any:
    """Return the sentence model, loaded at its first use."""
    global _model  # noqa: PLW0603 - one model for the process, loaded only where embeddings are asked for
    with _LOADING:
        if _model is None:
            _model = SentenceModel.load()
    return _model


@lru_cache(maxsize=50_000)
def embedded(text: str, size: int) -> tuple[float, ...]:
    """Return *text* as a unit vector of *size* numbers."""
    vector = np.zeros(size, np.float32)
    found = np.asarray(model().embed(text).values, np.float32)
    vector[: len(found)] = found[:size]
    return tuple(float(item) for item in vector)
