"""The sentence model: text in, unit vector out."""

import hashlib
import logging
from dataclasses import dataclass
from threading import Lock
from typing import Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from services.models import graph
from services.models.files import VOCABULARY, WEIGHTS, ModelError
from services.models.kernels import session, signed_weights_are_exact
from services.models.tokens import OVERLAP_TOKENS, WINDOW_TOKENS, Window, WordPieceTokenizer

log = logging.getLogger(__name__)

FloatVector = NDArray[np.float32]

MODEL: Final = "all-MiniLM-L6-v2-int8d"
# How a vector comes about, in words; whoever changes the arithmetic, the splitting or the pooling changes this line, and with
# it the name of the space.
_RECIPE: Final = (
    f"dynamic u8 activations per tensor; windows {WINDOW_TOKENS} overlap {OVERLAP_TOKENS}; token-weighted mean"
)
REVISION: Final = hashlib.sha256(f"{WEIGHTS.sha256} {VOCABULARY.sha256} {_RECIPE}".encode()).hexdigest()[:8]
SPACE: Final = f"{MODEL}@{REVISION}/{graph.DIMENSION}/mean/none"

THRESHOLD: Final = 0.18
"""Cosine from which a match is worth showing: the largest hundredth that keeps 95% of the true matches in both sets below.

Measured by `python -m bench.embedding_threshold`: 60 questions about notes that share no telling word with them, and 1,500 summary lines of
functions with the paragraph that explains the same function, from the documentation of installed packages.

| threshold | notes found | paragraphs found | other notes passed | foreign paragraphs passed | paragraphs of the same field passed |
|---|---|---|---|---|---|
| 0.15 | 96.7% | 96.1% | 10.7% | 2.5% | 27.0% |
| **0.18** | 96.7% | 95.1% | 6.4% | 1.3% | 19.3% |
| 0.25 | 90.0% | 90.1% | 1.6% | 0.3% | 7.7% |
| 0.35 | 63.3% | 76.7% | 0.1% | 0.03% | 1.7% |

No true match that ranked in the first ten is below 0.18. Unrelated texts have about 0.0, a question and its answer often 0.25 to 0.5.
"""

# The first two mean the same, the third has nothing to do with them. With float32 products the cosines are 0.68 and 0.04; damage
# to the vocabulary, the pooling or the arithmetic moves them by more than the tolerance.
_SELF_CHECK: Final = (
    "The kitten fell asleep on the sofa.",
    "A small cat is sleeping on the couch.",
    "Quarterly revenue grew by eleven percent.",
)
_EXPECTED_COSINES: Final = (0.67, 0.02)
_COSINE_TOLERANCE: Final = 0.05


@dataclass(frozen=True, slots=True)
class WindowVectors:
    """The windows of a text: ``values`` (n, 384) float32 of length 1, and ``spans`` (n, 2), the code points that each was read from."""

    values: FloatVector
    spans: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class SentenceVector:
    """What a text became: ``values`` (384,) float32 of length 1; tokens read over all windows, special ones not counted.

    ``windows`` is None for a text of one window.
    """

    values: FloatVector
    token_count: int
    window_count: int
    windows: WindowVectors | None = None


class Reading:
    """One text on its way through the model, a window at a time, so that a long text need not hold a thread until its end."""

    def __init__(self, model: "SentenceModel", text: str) -> None:
        self._model = model
        self._text = text
        self._windows: list[Window] = []
        self._vectors: list[FloatVector | None] = []
        self._begun = 0
        self._done = 0
        self._lock = Lock()

    @property
    def steps(self) -> int:
        """How many steps the text takes; known when the first is done, 1 until then."""
        return len(self._windows) or 1

    def step(self) -> SentenceVector | None:
        """Read one more window; the step that completes the text returns its vector.

        The first step also splits the text. Once it is done, the others may run at once on several threads.
        """
        if not self._windows:
            self._windows = self._model.windows(self._text)
            self._vectors = [None] * len(self._windows)
        with self._lock:
            index = self._begun
            self._begun += 1
        vector = self._model.run(self._windows[index])
        with self._lock:
            self._vectors[index] = vector
            self._done += 1
            complete = self._done == len(self._windows)
        return self._pooled() if complete else None

    def _pooled(self) -> SentenceVector:
        vectors = [vector for vector in self._vectors if vector is not None]
        tokens = sum(window.token_count for window in self._windows)
        return SentenceVector(_pool(self._windows, vectors), tokens, len(self._windows), _apart(self._windows, vectors))


class SentenceModel:
    """all-MiniLM-L6-v2 in 8-bit integers. Safe to call from several threads; each call computes on its caller's thread."""

    def __init__(self, tokenizer: WordPieceTokenizer, runtime: ort.InferenceSession) -> None:
        self._tokenizer = tokenizer
        self._runtime = runtime

    @classmethod
    def load(cls) -> "SentenceModel":
        """Build the model from the installed packages and check that it works; about 0.3 s. ``ModelError`` if not."""
        source = graph.Source.parse(WEIGHTS.read())
        signed = signed_weights_are_exact()
        if not signed:
            log.warning(
                "u8 x s8 products saturate on this processor; u8 x u8 are exact but take about 1.7 times as long"
            )
        model = graph.build(source, signed_weights=signed)
        loaded = cls(WordPieceTokenizer(VOCABULARY.read()), session(model))
        loaded.check()
        return loaded

    def read(self, text: str) -> Reading:
        """Return *text* as a reading, of which nothing is computed yet."""
        return Reading(self, text)

    def embed(self, text: str) -> SentenceVector:
        """Return the vector of *text*, which depends on nothing else: one text a run, never padded.

        A text beyond the model's window is read in overlapping windows, whose vectors are averaged by token count.
        """
        reading = self.read(text)
        while (vector := reading.step()) is None:
            pass
        return vector

    def windows(self, text: str) -> list[Window]:
        """Return the windows in which *text* is read."""
        return self._tokenizer.windows(text)

    def run(self, window: Window) -> FloatVector:
        """Return the unit vector of one window."""
        outputs = self._runtime.run([graph.OUTPUT], {graph.INPUT: window.token_ids[np.newaxis]})
        vector: FloatVector = outputs[0][0]
        return vector

    def check(self) -> None:
        """Raise ``ModelError`` unless a paraphrase is as near, and an unrelated sentence as far, as they were measured."""
        first, paraphrase, unrelated = (self.embed(text).values for text in _SELF_CHECK)
        cosines = float(first @ paraphrase), float(first @ unrelated)
        errors = (abs(cosine - expected) for cosine, expected in zip(cosines, _EXPECTED_COSINES, strict=True))
        if not all(error <= _COSINE_TOLERANCE for error in errors):
            raise ModelError(
                f"the model fails its self check: paraphrase {cosines[0]:.2f}, unrelated {cosines[1]:.2f}, "
                f"expected {_EXPECTED_COSINES[0]:.2f} and {_EXPECTED_COSINES[1]:.2f}"
            )


def _pool(windows: list[Window], vectors: list[FloatVector]) -> FloatVector:
    if len(vectors) == 1:
        return vectors[0]
    weights = np.array([window.token_count for window in windows], dtype=np.float64)
    mean = (np.stack(vectors).astype(np.float64) * weights[:, np.newaxis]).sum(axis=0)
    pooled: FloatVector = (mean / np.sqrt((mean * mean).sum())).astype(np.float32)
    return pooled


def _apart(windows: list[Window], vectors: list[FloatVector]) -> WindowVectors | None:
    if len(vectors) == 1:
        return None
    return WindowVectors(np.stack(vectors), np.array([(window.start, window.end) for window in windows], np.int32))
