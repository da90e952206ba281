"""A difference over several tasks: its test, from the parts of the variance on each of them; no torch.

Letters: T tasks; D_t is the mean difference of two methods on task t over S_t seeds, and s_t, e_t and b_t are the parts
of its variance, of seeds, examples and both (`bootstrap.py`). The difference over tasks counts each task once,

    D = mean_t D_t.

Runs on two tasks share no examples, and the D_t are taken as independent. Runs of one seed share some draws, such as
the order in which `shuffled` places ranks. What these have in common on all tasks is in no part of the variance;
`scripts/evidence/findings.py` measures it (`seed_dependence`). Each part of the variance of D is that of a sum:

    seeds = T^-2 sum_t s_t,   examples = T^-2 sum_t e_t,   both = T^-2 sum_t b_t.

D is then tested as a difference on one task is (`Variances`). `seeds` is known as well as a variance with

    (sum_t s_t)^2 / sum_t (s_t^2 / (S_t - 1))

degrees of freedom (Satterthwaite, Biometrics Bulletin 2, 1946; Welch, Biometrika 34, 1947): S - 1 where one task has
all of it, T (S - 1) where all tasks have as much. The same holds of `examples`, if those of some task are drawn as
clusters. With T = 1 it is the test of that task.

**Why not an average over each task's own chi2.** The test of one task averages over what its variance may be, seeds
(S - 1) / chi2(S - 1), whose mean is twice `seeds` at five seeds and infinite at three. In a sum of several that is far
too careful: of equal methods over four tasks it called 0.1 to 0.5 % different at p < 0.05 with three seeds, and 0.5 to
2.7 % with five. By degrees of freedom it is 1.7 to 4.0 % and 2.5 to 5.3 % (`scripts/calibrate_tasks.py`).

What it says holds for these tasks: another choice of tasks is no part of the variance. `ranking.py` has what can be
said of tasks as a sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gelora_cli.report.bootstrap import TINY, Variances
from gelora_cli.report.questions import AcrossTasks

NOTHING_TO_TEST = "no verdict: every seed and example differs by the same, which leaves nothing to test with"


def across_tasks(parts: Sequence[Variances], differences: Mapping[str, float]) -> AcrossTasks:
    """Return the mean of differences over tasks with its interval and p.

    Args:
        parts: the parts of the variance on each task, in the order of the tasks.
        differences: each task with its difference, in points.

    Raises:
        ValueError: no task, or not one variance for each.
    """
    if not parts or len(parts) != len(differences):
        raise ValueError(f"{len(parts)} variances for {len(differences)} tasks; one for each is needed")
    joint = joint_variances(parts)
    mean = math.fsum(differences.values()) / len(differences)
    if joint.none and abs(mean) > TINY:
        low, high, p, problem = None, None, None, NOTHING_TO_TEST
    else:
        half_width = joint.half_width()
        low, high, p, problem = mean - half_width, mean + half_width, joint.p_value(mean), ""
    return AcrossTasks(
        tasks=tuple(differences),
        differences=tuple(differences.values()),
        parts=tuple(parts),
        difference=mean,
        seeds=int(min(part.count for part in parts)),
        low=low,
        high=high,
        p=p,
        problem=problem,
    )


def joint_variances(parts: Sequence[Variances]) -> Variances:
    """Return the parts of the variance of the mean of independent differences, from those of each."""
    square = len(parts) ** 2
    seeds = [(part.seeds, part.count - 1) for part in parts]
    examples = [(part.examples, math.inf if part.clusters is None else max(part.clusters - 1, 1.0)) for part in parts]
    freedom, clusters = effective_freedom(seeds), effective_freedom(examples) + 1
    return Variances(
        seeds=math.fsum(variance for variance, _ in seeds) / square,
        examples=math.fsum(variance for variance, _ in examples) / square,
        both=math.fsum(part.both for part in parts) / square,
        # Where no seed changes anything their variance is 0, however many they are.
        count=min(part.count for part in parts) if math.isinf(freedom) else freedom + 1,
        clusters=None if math.isinf(clusters) else clusters,
    )


def effective_freedom(variances: Sequence[tuple[float, float]]) -> float:
    """Return the degrees of freedom of a sum of variances, each with its own: (sum v)^2 / sum (v^2 / f).

    It is infinite where every variance that is not 0 has infinitely many.
    """
    total = math.fsum(variance for variance, _ in variances)
    uncertainty = math.fsum(variance**2 / freedom for variance, freedom in variances)
    return total**2 / uncertainty if uncertainty > 0 else math.inf
