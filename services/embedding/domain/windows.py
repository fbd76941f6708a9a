"""Which windows an answer has room for."""

from collections.abc import Sequence

import numpy as np

from services.embedding.domain.embedder import TextVector, Windows

MAX_WINDOW_BYTES = 3 << 20  # of values in one answer; gRPC receives at most 4 MiB by default


def windows_that_fit(vectors: Sequence[TextVector], dimension: int) -> list[Windows | None]:
    """Return the windows of each text, None where it has but one, or where the ones before it leave no room.

    A text that has more than an answer holds gets fewer, longer ones.
    """
    most = room = MAX_WINDOW_BYTES // (4 * dimension)
    found: list[Windows | None] = []
    for vector in vectors:
        windows = None if vector.windows is None else at_most(vector.windows, most)
        if windows is not None and len(windows) > room:
            windows = None
        room -= 0 if windows is None else len(windows)
        found.append(windows)
    return found


def at_most(windows: Windows, most: int) -> Windows:
    """Return *windows*, runs of neighbours made one where there are more than *most*; its vector is the direction of their sum."""
    if len(windows) <= most:
        return windows
    run = -(-len(windows) // most)
    firsts = np.arange(0, len(windows), run)
    lasts = np.minimum(firsts + run, len(windows)) - 1
    sums = np.add.reduceat(windows.values, firsts, axis=0)
    spans = np.stack((windows.spans[firsts, 0], windows.spans[lasts, 1]), axis=1)
    return Windows(sums / np.linalg.norm(sums, axis=1, keepdims=True), spans)
