"""Growing pauses between attempts."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Exponential backoff: each pause is longer than the one before, up to a limit; it waits for nothing itself.

    Args:
        first_s: The first pause.
        max_s: The longest after it.
        factor: From one pause to the next.
        jitter: Part of each pause that is left to chance, so that many who lost the same thing do not come back in
            step: 0 for none, 1 for full jitter (anything from 0 to the whole pause).
        random: Uniform in [0, 1).

    Attributes:
        next_s: The next pause, before chance shortens it.
    """

    def __init__(
        self,
        *,
        first_s: float = 1.0,
        max_s: float = 10.0,
        factor: float = 2.0,
        jitter: float = 0.0,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._first_s, self._max_s = first_s, max_s
        self._factor = factor
        self._jitter = jitter
        self._random = random
        self.next_s = first_s

    def take_s(self) -> float:
        """How long to wait now."""
        now_s, self.next_s = self.next_s, min(self._factor * self.next_s, self._max_s)
        return now_s * (1 - self._jitter * self._random()) if self._jitter else now_s

    def reset(self) -> None:
        """It worked: the next failure waits for the first pause again."""
        self.next_s = self._first_s
