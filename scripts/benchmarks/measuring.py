"""Timings of candidates that take turns, so that a busy machine is busy for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of one candidate, one per round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the median in seconds."""
        return statistics.median(self.seconds)

    def ratio_to(self, other: Timing) -> float:
        """Return the median over the rounds of this candidate's seconds over those of another in the same round."""
        return statistics.median(own / others for own, others in zip(self.seconds, other.seconds, strict=True))

    def speedup_over(self, other: Timing) -> float:
        """Return how many times faster this candidate is than another: the inverse of `ratio_to`."""
        return 1 / self.ratio_to(other)


def alternate(candidates: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: int = 1) -> dict[str, Timing]:
    """Time the candidates in turns (A B C A B C ...) after unmeasured calls of each.

    Args:
        candidates: name to what is timed. A candidate on a GPU waits for the device before it returns.
        rounds: timed calls of each candidate.
        warm_up: unmeasured calls of each candidate before the first round.
    """
    for candidate in candidates.values():
        for _ in range(warm_up):
            candidate()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            begun = time.perf_counter()
            candidate()
            seconds[name].append(time.perf_counter() - begun)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}
