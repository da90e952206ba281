"""What a comparison can show: the smallest difference that it finds, and the seeds that a smaller one takes; no torch.

With S' in place of S seeds the parts of a difference's variance (`bootstrap.py`) become

    seeds' = seeds S / S',   both' = both S / S',   examples' = examples - both + both'.

More seeds make what belongs to them smaller. What the test examples contribute beside them stays: that needs more rows.
It is a difference of two estimates, and decides what very many seeds would show: with other resamples of the same runs
the seeds that half a point takes went from 138 to no number at all. So nothing is said beyond `MOST_TIMES` the seeds
that there are.

Over several tasks the parts are those of the mean, and as in the test it is their sums that neither seeds' nor
examples' may be less than both'. The smallest difference that a test at level a, as one of m tests, shows with a chance
of 80 % is

    h(a / m) + z(0.8) sqrt(max(seeds', both') + max(examples' - both', 0)),

where h is half of the test's interval at that level. h is that of a normal where examples dominate, and of Student's t
where seeds do: at three seeds 4.3 standard errors and not 1.96. Over several tasks a test estimates its degrees of
freedom f from variances that scatter, so that it finds (f + 2) / (1 + 2 / (S' - 1)) on average, a ratio of expectations
under normal seeds. How often the difference is then really found: `scripts/calibrate_tasks.py`. Dividing a by m is
Bonferroni's correction, a little more careful than Holm's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy import special

from gelora_cli.report.across_tasks import joint_variances
from gelora_cli.report.bootstrap import Variances
from gelora_cli.report.comparison import FEWEST_SEEDS, LEVEL
from gelora_cli.report.questions import AcrossTasks

CHANCE = 0.8
"""The chance with which a difference should be shown, the custom of Cohen (Statistical Power Analysis, 1988)."""

HALF_A_POINT = 0.5
MOST_TIMES = 10
"""How many times the seeds that there are something is said of."""


@dataclass(frozen=True, kw_only=True)
class Power:
    """What the test of a contrast can show, in points.

    Attributes:
        first: the contrast's first method.
        second: the other one.
        board: model, budget, modules and protocol, in words.
        tasks: the tasks that it is over.
        tests: of how many tests it is one.
        seeds: the seeds that there are, the fewest of any task.
        detectable: the smallest difference that these seeds show with a chance of 80 %.
        most_seeds: `MOST_TIMES` those seeds.
        detectable_with_most: the smallest difference that so many show with that chance.
        for_half_a_point: the fewest seeds that show half a point; None where `most_seeds` do not.
    """

    first: str
    second: str
    board: str
    tasks: tuple[str, ...]
    tests: int
    seeds: int
    detectable: float
    most_seeds: int
    detectable_with_most: float
    for_half_a_point: int | None

    @property
    def half_a_point_takes(self) -> str:
        """Return the seeds that half a point takes, or that it takes more than so many."""
        needed = self.for_half_a_point
        return f"more than {self.most_seeds}" if needed is None else str(needed)

    def describe(self) -> str:
        """Say in a sentence what half a point takes."""
        half = f"half a point takes {self.half_a_point_takes} seeds"
        if self.for_half_a_point is None:
            half += f", with which {self.detectable_with_most:.2f} points would be shown"
        tasks = ", ".join(self.tasks)
        return (
            f"{self.first} against {self.second} on {tasks}: {self.seeds} seeds show a difference of "
            f"{self.detectable:.2f} points with a chance of 80 %; {half}."
        )


def power_of(across: AcrossTasks, tests: int = 1) -> Power | None:
    """Return what a contrast over tasks can show as one of so many tests; None where it has no test."""
    if across.p is None or joint_variances(across.parts).none:
        return None
    return Power(
        first=across.first,
        second=across.second,
        board=across.board,
        tasks=across.tasks,
        tests=tests,
        seeds=across.seeds,
        detectable=detectable(across.parts, None, tests),
        most_seeds=most_seeds(across.parts),
        detectable_with_most=detectable(across.parts, most_seeds(across.parts), tests),
        for_half_a_point=seeds_needed(across.parts, HALF_A_POINT, tests),
    )


def detectable(parts: Sequence[Variances], seeds: int | None, tests: int = 1) -> float:
    """Return the smallest mean difference over tasks that so many seeds show with a chance of 80 %.

    Args:
        parts: the parts of the variance on each task; of one task alone a single one.
        seeds: the number of seeds on each task; None: those that each task has.
        tests: of how many tests it is one, corrected for.
    """
    counts = [part.count if seeds is None else seeds for part in parts]
    joint = joint_variances([with_seeds(part, count) for part, count in zip(parts, counts, strict=True)])
    joint = replace(joint, seeds=max(joint.seeds, joint.both), examples=max(joint.examples, joint.both))
    # Estimates scatter, so the degrees of freedom that a test finds are fewer than those of the true parts.
    joint = replace(joint, count=(joint.count + 1) / (1 + 2 / (min(counts) - 1)) + 1)
    return joint.half_width(LEVEL / tests) + float(special.ndtri(CHANCE)) * math.sqrt(joint.expected)


def with_seeds(parts: Variances, seeds: float) -> Variances:
    """Return the parts of the variance that so many seeds would have."""
    ratio = parts.count / seeds
    both = ratio * parts.both
    return replace(
        parts, seeds=ratio * parts.seeds, examples=parts.examples - parts.both + both, both=both, count=seeds
    )


def most_seeds(parts: Sequence[Variances]) -> int:
    """Return the number of seeds up to which something is said, from those of the task with the fewest."""
    return MOST_TIMES * int(min(part.count for part in parts))


def seeds_needed(parts: Sequence[Variances], effect: float, tests: int = 1) -> int | None:
    """Return how many seeds on each task show a mean difference of this size with a chance of 80 %.

    None where `most_seeds` do not show it.

    Args:
        parts: the parts of the variance on each task.
        effect: the difference, above 0, in the units of the variances' roots.
        tests: of how many tests it is one, corrected for.

    Raises:
        ValueError: the effect is not above 0.
    """
    if effect <= 0:
        raise ValueError(f"effect={effect}; accepted: above 0")
    few, many = FEWEST_SEEDS - 1, most_seeds(parts)
    if detectable(parts, many, tests) > effect:
        return None
    # `few` does not show it, `many` does.
    while many - few > 1:
        middle = (few + many) // 2
        if detectable(parts, middle, tests) > effect:
            few = middle
        else:
            many = middle
    return many
