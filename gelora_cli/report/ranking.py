"""Tasks as a sample: whether the order of methods is the same over tasks, or over budgets; no torch.

Letters: k methods, N blocks (tasks, or budgets, or both); r_ij is the rank of method j in block i, 1 for the best, the
mean rank where several are equal; R_j is its mean over the blocks.

**Critical difference.** Of k equal methods any two have mean ranks that differ by CD or more with a chance of 5 %
(Nemenyi's test; Demsar, JMLR 7, 2006, section 3.2.2):

    CD = q(k) sqrt(k (k + 1) / (6 N)),   q(k) = the 95 % point of the studentized range of k, over sqrt(2).

With 8 methods on 4 tasks it is 5.25 of at most 7 ranks: few tasks show next to nothing. The tests of `across_tasks.py`
hold for the given tasks and see more.

**Concordance.** Kendall's W is 1 where every block has one order, and 0 where mean ranks are equal (Kendall and
Babington Smith, Annals of Mathematical Statistics 10, 1939). With a correction for ties:

    W = 12 sum_j (sum_i r_ij - N (k + 1) / 2)^2 / (N^2 (k^3 - k) - N sum_i sum_ties (t^3 - t)).

Friedman's statistic is N (k - 1) W. Its p is by permutations of the methods within each block, since its chi2 is no
good approximation for few blocks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from gelora_cli.metrics.definitions import Array
from gelora_cli.report.comparison import LEVEL

PERMUTATIONS = 10_000


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The mean ranks of methods over blocks.

    Attributes:
        blocks: the names of the blocks, such as tasks.
        mean_ranks: each method with its mean rank, the best first; 1 is the best rank.
        critical_difference: how far two mean ranks must be apart.
        concordance: Kendall's W; None where all methods are equal in every block.
        p: the chance of at least as much concordance where no block knows of the others; None without it.
        left_out: methods that lack a block.
    """

    blocks: tuple[str, ...]
    mean_ranks: dict[str, float]
    critical_difference: float
    concordance: float | None
    p: float | None
    left_out: tuple[str, ...] = ()

    @property
    def shown_pairs(self) -> list[tuple[str, str]]:
        """Return the pairs whose mean ranks differ by the critical difference or more, the better one first."""
        pairs = []
        for better, worse in combinations(self.mean_ranks, 2):
            if self.mean_ranks[worse] - self.mean_ranks[better] >= self.critical_difference:
                pairs.append((better, worse))
        return pairs

    def describe(self) -> str:
        """Say what the ranks show, in a sentence or two."""
        methods, blocks = len(self.mean_ranks), len(self.blocks)
        text = f"Critical difference of {methods} methods on {blocks}: {self.critical_difference:.2f} ranks of at most "
        text += f"{methods - 1}; {len(self.shown_pairs)} of {math.comb(methods, 2)} pairs exceed it."
        if self.concordance is None or self.p is None:
            return f"{text} All methods are equal."
        return f"{text} Kendall's W {self.concordance:.2f} (p {self.p:.3f}; 1 is one order everywhere)."


def rank_methods(values: Mapping[str, Mapping[str, float]]) -> Ranking:
    """Return the mean ranks of the methods that every block has.

    Args:
        values: each block with its methods' values, of which more is better.

    Raises:
        ValueError: fewer than two blocks, or fewer than two methods in all of them.
    """
    blocks = list(values)
    blocks_with = Counter(name for block in blocks for name in values[block])
    everywhere = [name for name, count in blocks_with.items() if count == len(blocks)]
    if len(blocks) < 2 or len(everywhere) < 2:
        raise ValueError(f"{len(everywhere)} methods in all of {len(blocks)} blocks; two of each are needed")
    lines = []
    for block in blocks:
        lines.append([values[block][name] for name in everywhere])
    table = np.array(lines)  # (N, k)
    ranks = stats.rankdata(-table, axis=1)  # (N, k), 1 is the best
    means = ranks.mean(axis=0)  # (k,)
    order = np.argsort(means, kind="stable")
    concordance = kendall_w(ranks)
    return Ranking(
        blocks=tuple(blocks),
        mean_ranks={everywhere[place]: float(means[place]) for place in order},
        critical_difference=critical_difference(len(everywhere), len(blocks)),
        concordance=concordance,
        p=None if concordance is None else _concordance_p(ranks),
        left_out=tuple(name for name in blocks_with if name not in everywhere),
    )


def critical_difference(methods: int, blocks: int) -> float:
    """Return how far two mean ranks of so many methods over so many blocks must be apart."""
    quantile = float(stats.studentized_range.ppf(1 - LEVEL, methods, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(methods * (methods + 1) / (6 * blocks))


def kendall_w(ranks: Array) -> float | None:
    """Return the concordance of ranks (N, k), corrected for ties; None where every block ties all."""
    blocks, methods = ranks.shape
    ties = 0.0
    for row in ranks:
        _, counts = np.unique(row, return_counts=True)
        ties += float((counts.astype(np.float64) ** 3 - counts).sum())
    most = blocks**2 * (methods**3 - methods) - blocks * ties
    return 12 * _spread(ranks.sum(axis=0)) / most if most > 0 else None


def _spread(sums: Array) -> float:
    """Return the sum of squares of rank sums (k,) about their mean."""
    return float(((sums - sums.mean()) ** 2).sum())


def _concordance_p(ranks: Array) -> float:
    """Return the share of permutations within blocks whose rank sums spread as much; the observed one counts."""
    generator = np.random.default_rng(0)
    repeated = np.broadcast_to(ranks, (PERMUTATIONS, *ranks.shape))  # (P, N, k)
    sums = generator.permuted(repeated, axis=2).sum(axis=1)  # (P, k)
    spreads = ((sums - sums.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)  # (P,)
    as_much = int((spreads >= _spread(ranks.sum(axis=0)) * (1 - 1e-9)).sum())
    return (as_much + 1) / (PERMUTATIONS + 1)
