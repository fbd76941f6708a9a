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

# How a text is read, in words; whoever changes the splitting or the pooling changes this line, and with it the names of the spaces.
_READING: Final = f"windows {WINDOW_TOKENS} overlap {OVERLAP_TOKENS}; token-weighted mean"

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

FLOAT_THRESHOLD: Final = 0.17
"""The same for float32 products, measured by `python -m bench.embedding_threshold --model float32`.

| threshold | notes found | paragraphs found | other notes passed | foreign paragraphs passed | paragraphs of the same field passed |
|---|---|---|---|---|---|
| 0.15 | 96.7% | 96.8% | 10.6% | 3.0% | 26.3% |
| 0.18 | 93.3% | 94.9% | 6.5% | 1.7% | 18.5% |
| 0.25 | 90.0% | 88.8% | 1.6% | 0.4% | 7.1% |
| 0.35 | 65.0% | 75.8% | 0.1% | 0.05% | 1.4% |
"""

# The first two mean the same, the third has nothing to do with them. Damage to the vocabulary, the pooling or the arithmetic moves
# their cosines by more than the tolerance.
_SELF_CHECK: Final = (
    "The kitten fell asleep on the sofa.",
    "A small cat is sleeping on the couch.",
    "Quarterly revenue grew by eleven percent.",
)
_COSINE_TOLERANCE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to compute with the shipped weights, and the space of the vectors that come of it."""

    name: str
    model: str
    arithmetic: str  # in words; whoever changes it changes this line, and with it the name of the space
    threshold: float
    expected_cosines: tuple[float, float]  # of the self check: paraphrase, unrelated

    @property
    def space(self) -> str:
        """The name of the space; it tells apart all that changes a vector."""
        made_of = f"{WEIGHTS.sha256} {VOCABULARY.sha256} {self.arithmetic}; {_READING}"
        revision = hashlib.sha256(made_of.encode()).hexdigest()[:8]
        return f"{self.model}@{revision}/{graph.DIMENSION}/mean/none"


INT8: Final = Variant("int8", "all-MiniLM-L6-v2-int8d", "dynamic u8 activations per tensor", THRESHOLD, (0.67, 0.02))
FLOAT32: Final = Variant("float32", "all-MiniLM-L6-v2", "float32 products", FLOAT_THRESHOLD, (0.68, 0.04))
VARIANTS: Final = (INT8, FLOAT32)


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
    """all-MiniLM-L6-v2. Safe to call from several threads; each call computes on its caller's thread."""

    def __init__(self, tokenizer: WordPieceTokenizer, runtime: ort.InferenceSession, variant: Variant = INT8) -> None:
        self._tokenizer = tokenizer
        self._runtime = runtime
        self._expected = variant.expected_cosines

    @classmethod
    def load(cls, variant: Variant = INT8) -> "SentenceModel":
        """Build the model from the installed packages and check that it works; about 0.3 s. ``ModelError`` if not."""
        source = graph.Source.parse(WEIGHTS.read())
        floats = variant is FLOAT32
        signed = floats or signed_weights_are_exact()
        if not signed:
            log.warning(
                "u8 x s8 products saturate on this processor; u8 x u8 are exact but take about 1.7 times as long"
            )
        model = graph.build(source, signed_weights=signed, float_products=floats)
        loaded = cls(WordPieceTokenizer(VOCABULARY.read()), session(model), variant)
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
        errors = (abs(cosine - expected) for cosine, expected in zip(cosines, self._expected, strict=True))
        if not all(error <= _COSINE_TOLERANCE for error in errors):
            raise ModelError(
                f"the model fails its self check: paraphrase {cosines[0]:.2f}, unrelated {cosines[1]:.2f}, "
                f"expected {self._expected[0]:.2f} and {self._expected[1]:.2f}"
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
