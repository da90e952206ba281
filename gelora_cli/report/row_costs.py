"""What a row of a comparison costs beside seconds and memory, over its seeds; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from gelora_cli.core.artifacts.result import RunCosts, RunResult
from gelora_cli.report.runs import UNIFORM, Run


@dataclass(frozen=True)
class RowCosts:
    """Operations are means over the seeds; parameters and ranks are the largest.

    Attributes:
        allocation_flops: floating-point operations before the first step; None where a seed has no count of them.
        training_flops: those of training.
        inference_params: what the adapter adds to the model as long as it is not merged.
        mergeable: whether it can be merged.
        largest_rank: the largest rank of the saved adapters; None of a method without ranks.
    """

    allocation_flops: float | None
    training_flops: float
    inference_params: int
    mergeable: bool
    largest_rank: int | None

    @property
    def total_flops(self) -> float | None:
        """Return the operations of allocating and training together."""
        return None if self.allocation_flops is None else self.allocation_flops + self.training_flops


def row_costs(runs: Sequence[Run]) -> RowCosts | None:
    """Return the costs of the runs of a row; None where one of them is older than the record of its costs."""
    recorded = [(run.result, run.result.costs) for run in runs]
    costs = [cost for _, cost in recorded if cost is not None]
    if len(costs) < len(recorded):
        return None
    before = [allocation_flops(result, cost) for result, cost in recorded if cost is not None]
    known = [operations for operations in before if operations is not None]
    ranks = [cost.largest_rank for cost in costs if cost.largest_rank is not None]
    return RowCosts(
        allocation_flops=mean(known) if len(known) == len(before) else None,
        training_flops=mean(cost.training_flops for cost in costs),
        inference_params=max(cost.inference_params for cost in costs),
        mergeable=all(cost.mergeable for cost in costs),
        largest_rank=max(ranks, default=None),
    )


def allocation_flops(result: RunResult, costs: RunCosts) -> int | None:
    """Return the operations before the first step; uniform ranks need no signal, though one may be drawn."""
    return costs.attach_flops if result.method == UNIFORM else costs.allocation_flops
