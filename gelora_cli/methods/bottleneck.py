"""Bottleneck adapters: Houlsby et al. (arXiv 1902.00751) and Pfeiffer et al. (arXiv 2005.00247)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gelora_cli.allocation.apportionment import apportion
from gelora_cli.allocation.block_rows import block_row
from gelora_cli.allocation.planning import PlanRequest, Shapes
from gelora_cli.config.schema import MethodConfig
from gelora_cli.core.artifacts.adapter import SavedAdapter
from gelora_cli.core.artifacts.model_map import LinearShape, ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.budget import Budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.base import AdaptedModel, Method, MethodContext
from gelora_cli.models.operations import UpdateWork

if TYPE_CHECKING:
    from torch import nn


class Bottleneck(Method[MethodConfig]):
    """A small module behind output projections: `h + up(activation(down(h)))`.

    `roles` are those of the linears behind which an adapter stands, in the order in which they are met; `activation`
    is the name of a function of `torch.nn.functional`.
    """

    roles: ClassVar[tuple[str, ...]]
    activation: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bf16")
    unmergeable = (
        "its bottleneck adapters are not linear (an activation stands between down and up), so no weights of the base "
        "model can hold them"
    )
    has_own_sizes = True

    def plan(self, request: PlanRequest[MethodConfig]) -> RankPlan:
        """Hand out widths in turn, so that bottlenecks differ by one at most.

        Behind a linear of d outputs one of size m has `m (2 d + 1) + d` parameters: two linears with biases.
        """
        shapes = request.shapes()
        sites = self._sites(shapes)
        units, fixed, ceilings = [], [], []
        for site in sites:
            outputs = [linear.out_features for linear in site]
            units.append(sum(2 * size + 1 for size in outputs))  # parameters of a width of one more
            fixed.append(sum(outputs))  # the biases of `up`, whatever the width
            ceilings.append(min(outputs))
        shapes.check_bound(sum(fixed) + sum(units), "a bottleneck of 1 in every block")
        ones = (1,) * len(units)
        widths = apportion(ones, ones, tuple(ceilings), units, shapes.bound - sum(fixed))
        rows = []
        total = 0
        for index, (width, site) in enumerate(zip(widths, sites, strict=True)):
            params = width * units[index] + fixed[index]
            rows.append(block_row(index + 1, width, tuple(linear.name for linear in site), params))
            total += params
        return shapes.plan(
            blocks=tuple(rows), unit="bottleneck", adapter_params=total, trained_params=total, scaling=1.0
        )

    def attach(self, context: MethodContext[MethodConfig]) -> AdaptedModel:
        """Put an adapter behind every planned linear (see `updates.bottleneck`)."""
        from gelora_cli.methods.updates.bottleneck import attach_bottlenecks

        return attach_bottlenecks(context, self.activation)

    def work(self, plan: RankPlan, model_map: ModelMap, settings: MethodConfig) -> UpdateWork:
        """Return that `down` and `up` read and write the outputs of their linears."""
        return UpdateWork(plan.rank_pattern, behind=True)

    def rebuild(self, model: nn.Module, saved: SavedAdapter) -> None:
        """Put an adapter behind every linear that has a size."""
        from gelora_cli.methods.updates.bottleneck import add_bottlenecks

        add_bottlenecks(model, self.activation, saved.sizes)

    def depends_on_modules(self, budget: Budget) -> bool:
        """Return whether the budget is what LoRA on these modules costs; the adapters stand elsewhere."""
        return budget.kind in ("rank", "auto")

    def _sites(self, shapes: Shapes) -> list[list[LinearShape]]:
        """Return the linears of each block behind which an adapter stands.

        Raises:
            GeloraError: a block lacks one of them.
        """
        sites: list[list[LinearShape]] = []
        for block in shapes.model_map.blocks:
            site = [linear for linear in block.linears if linear.role in self.roles]
            sites.append(site)
            if [linear.role for linear in site] == list(self.roles):
                continue
            raise GeloraError(
                f"method={self.name} needs a linear for {' and '.join(self.roles)} in every block, which this "
                f"{shapes.model_map.kind} model's map does not name. Name them by +model.linears, or take another "
                "method."
            )
        return sites


@METHODS.register
class Houlsby(Bottleneck):
    """Adapters behind attention and feed-forward."""

    name = "houlsby"
    description = "Bottleneck adapters after attention and feed-forward (Houlsby et al., arXiv 1902.00751)"
    roles = ("output", "down")
    position = "behind attention and feed-forward"
    activation = "gelu"


@METHODS.register
class Pfeiffer(Bottleneck):
    """Adapters behind feed-forward alone."""

    name = "pfeiffer"
    description = "Bottleneck adapters after feed-forward (Pfeiffer et al., arXiv 2005.00247)"
    roles = ("down",)
    position = "behind feed-forward"
    activation = "relu"
