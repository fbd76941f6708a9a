"""When a service that ended by itself is started again."""

from collections import deque

WINDOW_S = 60.0
FREE_CRASHES = 5  # crashes within the window that are answered at once
AT_ONCE_S = 0.1
LONGEST_S = 30.0
_DOUBLINGS = 5  # 2**5 is above the longest wait


class RestartPolicy:
    """Starts again at once while crashes are rare, then after 1, 2, 4 ... 30 s.

    The window counts time that the service ran, not time it waited to be started: a service that dies at its start stays at the
    longest wait, and one that had run for a minute is started at once again.
    """

    def __init__(self) -> None:
        self._ran_s = 0.0
        self._crashes: deque[float] = deque()

    def delay_s(self, ran_s: float) -> float:
        """Return how long to wait before the next start, after a crash that came *ran_s* seconds after the last one."""
        self._ran_s += ran_s
        self._crashes.append(self._ran_s)
        while self._crashes[0] <= self._ran_s - WINDOW_S:
            self._crashes.popleft()
        excess = len(self._crashes) - FREE_CRASHES
        if excess <= 0:
            return AT_ONCE_S
        return float(min(2 ** min(excess - 1, _DOUBLINGS), LONGEST_S))
