"""Timings of candidates that take turns, so that a busy machine is busy for all of them."""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

SKIPPED = 77
"""Exit code of a benchmark that can't be measured here, as test programs of automake say it."""


def require_modules(*names: str) -> None:
    """End a benchmark with the code `SKIPPED` and a message where a tool that it compares with is missing."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        skip(f"left out: it compares with {', '.join(missing)}, which is not installed")


def skip(reason: str) -> NoReturn:
    """End a benchmark that can't be measured here, and say why."""
    print(reason, file=sys.stderr)
    sys.exit(SKIPPED)


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


def alternate(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time the candidates in turns (A B C A B C ...) after unmeasured calls of each.

    Args:
        candidates: name to what is timed. A candidate on a GPU waits for the device before it returns.
        rounds: timed calls of each candidate.
        warm_up: unmeasured calls of each candidate before the first round.
        clock: seconds, such as `time.process_time`: those of the CPU, which a busy machine lengthens less.
    """
    for candidate in candidates.values():
        for _ in range(warm_up):
            candidate()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            begun = clock()
            candidate()
            seconds[name].append(clock() - begun)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}
