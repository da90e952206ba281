"""Cut: train wide and uniform, then keep the largest singular values of the update (after PARA, arXiv 2604.27796)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gelora_cli.allocation.planning import PlanRequest, as_written
from gelora_cli.config.keys import key
from gelora_cli.config.schema import LowRankConfig
from gelora_cli.core.artifacts.model_map import LinearShape
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.low_rank import start_ratio
from gelora_cli.methods.peft_format import PeftMethod


@dataclass
class CutSettings(LowRankConfig):
    """How wide it trains, when it is cut, and what follows."""

    start_ratio: float = start_ratio(4.0)
    cut_at: float = key(
        0.5, help="share of the optimizer steps after which the update is cut to the budget", above=0, high=1
    )
    then: str = key(
        "continue",
        help="after the cut, go on from what is left, or restart the adapter with the ranks that were found",
        choices=("continue", "restart"),
    )

    def problems(self) -> Iterator[str]:
        """Yield that no step is left in which what restarts could train."""
        if self.then == "restart" and self.cut_at == 1:
            yield (
                "method.then=restart with method.cut_at=1 leaves no step after the cut, so that nothing would be "
                "trained: give a smaller method.cut_at, or method.then=continue"
            )


@METHODS.register
class Cut(PeftMethod[CutSettings]):
    """LoRA of one wide rank, cut to the largest singular values over all modules while it trains."""

    name = "cut"
    description = (
        "A LoRA adapter that was trained wide and cut to its largest singular values (after PARA, arXiv 2604.27796)"
    )
    config_class = CutSettings

    def plan(self, request: PlanRequest[CutSettings]) -> RankPlan:
        """Take the largest uniform rank within `start_ratio` times the budget; the cut leaves what the budget holds."""
        shapes = request.shapes()
        costs = [linear.unit_params for linear in shapes.linears]
        ratio = as_written(request.settings.start_ratio)
        # The start needs rank 1 everywhere, and the end one direction, the dearest if it must be.
        shapes.check_bound(max(math.ceil(sum(costs) / ratio), *costs), "a start from rank 1 everywhere")
        rank = shapes.within_sides(int(ratio * shapes.bound) // sum(costs))
        peak = rank * sum(costs)
        alike = len(set(costs)) == 1
        # Directions of one cost fill the budget up to less than one of them, which is then known beforehand.
        left = min(shapes.bound // costs[0] * costs[0] if alike else shapes.bound, peak)
        kept = f"the {left // costs[0]} largest" if alike else "the largest that fit"
        note = (
            f"Trains rank {rank} everywhere, {peak:,} parameters, then keeps {kept} of the update's singular values "
            "over all modules; a module may be left with none."
        )
        return shapes.uniform_plan(
            rank, unit_cost=_cost, unit="direction", adapter_params=left, trained_params=peak, note=note
        )

    def attach(self, context: MethodContext[CutSettings]) -> AdaptedModel:
        """Add LoRA of the wide rank, which is cut later (see `updates.cut`)."""
        from gelora_cli.methods.updates.cut import attach_cut

        return attach_cut(context)


def _cost(linear: LinearShape) -> int:
    """Return the parameters of one unit of LoRA's rank: a row of A and a column of B."""
    return linear.unit_params
