"""The plan of any method: GeLoRA and its controls from a profile, the others from the model's shapes alone. No torch.

Every plan but those of the exempt methods keeps within one bound in adapter parameters, which `budget` gives; with
`budget=auto` it is what GeLoRA's own ranks cost on this model and task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from gelora_cli.allocation.ranks import EXEMPT_BUDGET, PLANNED, hand_out, plan_ranks
from gelora_cli.core.artifacts import BlockRank, IdProfile, LinearShape, ModelMap, RankPlan
from gelora_cli.core.budget import Budget, adapted_linears
from gelora_cli.core.errors import GeloraError

EXEMPT = ("bitfit", "full")
ADAPTER_ROLES = {"houlsby": ("output", "down"), "pfeiffer": ("down",)}
NOT_MERGEABLE = (
    "its bottleneck adapters are not linear (an activation stands between down and up), so no weights of the base "
    "model can hold them"
)


@dataclass(frozen=True)
class Shapes:
    """What a plan of another method than GeLoRA's looks at; `bound` in parameters.

    `start_ratio`: how much of the bound a method that prunes starts with; `layer_norms`: whether norms train too.
    """

    method: str
    model_map: ModelMap
    budget: Budget
    bound: int
    modules: str
    scaling: float
    start_ratio: float
    layer_norms: bool

    @property
    def linears(self) -> list[LinearShape]:
        """The adapted linears, block by block."""
        return [linear for block in adapted_linears(self.model_map, self.modules) for linear in block]

    @property
    def triplet_costs(self) -> list[int]:
        """Parameters of a triplet, or of a gate with its row and column, in each adapted linear."""
        return [triplet_cost(linear) for linear in self.linears]

    def within_sides(self, rank: int) -> int:
        """The rank, or the smallest side of the adapted linears where that is smaller."""
        return min(rank, *(linear.max_rank for linear in self.linears))


def triplet_cost(linear: LinearShape) -> int:
    """Parameters of a row of A, a number, and a column of B: `in + out + 1`."""
    return linear.unit_params + 1


def needs_profile(method: str, budget: Budget) -> bool:
    """Whether a plan can't be made without a measured profile."""
    return method in PLANNED or (budget.kind == "auto" and method not in EXEMPT)


def plan_method(
    model_map: ModelMap,
    profile: IdProfile | None,
    budget: Budget,
    *,
    method: str = "gelora",
    start_ratio: float | None = None,
    layer_norms: bool | None = None,
    scaling: float | None = None,
    **rules: Any,
) -> RankPlan:
    """What each block gets under a budget, by method; `rules` are those of `plan_ranks` (seed, modules, rule, ...).

    Raises:
        GeloraError: a budget that the method can't meet, with the smallest that it can; no profile where one is needed.
    """
    if method in EXEMPT:
        return _exempt(method, model_map, rules["modules"])
    if profile is None and needs_profile(method, budget):
        raise GeloraError(f"method={method} with budget={budget.name} needs a profile; measure one: gelora profile")
    if method in PLANNED:
        assert profile is not None
        return plan_ranks(profile, budget, method=method, scaling=scaling or 1.0, **rules)
    bound = budget.params(model_map, rules["modules"])
    warnings: tuple[str, ...] = ()
    if bound is None:
        assert profile is not None
        gelora = plan_ranks(profile, budget, **rules)
        bound, warnings = gelora.auto_params, gelora.warnings
    shapes = (method, model_map, budget, bound, rules["modules"])
    plan = PLANNERS[method](Shapes(*shapes, scaling or 1.0, start_ratio or 1.0, bool(layer_norms)))
    return replace(plan, warnings=warnings)


def _exempt(method: str, model_map: ModelMap, modules: str) -> RankPlan:
    params = model_map.bias_params if method == "bitfit" else model_map.backbone_params
    if not params:
        raise GeloraError(f"method=bitfit: this {model_map.kind} model has no bias terms. Take another method.")
    what = "all bias terms of the backbone" if method == "bitfit" else "every parameter of the backbone"
    return _blank(
        method,
        model_map,
        modules=modules,
        budget=EXEMPT_BUDGET,
        adapter_params=params,
        trained_params=params,
        note=f"Trains {what}: {params:,} parameters, whatever the budget.",
    )


def _adalora(shapes: Shapes) -> RankPlan:
    """AdaLoRA (arXiv 2303.10512): from one rank everywhere, at `start_ratio` times the budget, to the best triplets.

    A triplet (a row of A, a singular value, a column of B) costs `in + out + 1`.
    """
    costs = shapes.triplet_costs
    _check_bound(shapes, max(costs), "one triplet")
    alike = len(set(costs)) == 1
    target = shapes.bound // costs[0] * costs[0] if alike else shapes.bound
    rank = shapes.within_sides(math.ceil(_as_written(shapes.start_ratio) * target / sum(costs)))
    peak = rank * sum(costs)
    left = min(target, peak)
    pruned = f"{left // costs[0]} triplets" if alike else "the best triplets that fit"
    note = f"AdaLoRA starts from rank {rank} everywhere and prunes to {pruned}."
    return _uniform(shapes, rank, unit="triplet", adapter_params=left, trained_params=peak, note=note)


def _as_written(ratio: float) -> Fraction:
    """Return a setting as the number that the user wrote: 1.1 times rank 10 is 11, which floats make a little more."""
    return Fraction(str(ratio))


def _sora(shapes: Shapes) -> RankPlan:
    """SoRA (arXiv 2311.11696): the largest uniform rank within `start_ratio` times the budget; gates close from there.

    A gate with its row of A and its column of B costs `in + out + 1`.
    """
    costs, norms = shapes.triplet_costs, shapes.model_map.norm_params if shapes.layer_norms else 0
    ratio = _as_written(shapes.start_ratio)
    least = max(math.ceil(sum(costs) / ratio), *costs)
    _check_bound(shapes, norms + least, "a start from rank 1 everywhere")
    rank = shapes.within_sides(int(ratio * (shapes.bound - norms)) // sum(costs))
    peak = norms + rank * sum(costs)
    note = f"SoRA starts from rank {rank} everywhere; gates close by a threshold, and by size where too many are open."
    note += f" The {norms:,} parameters of the norms train too, and count." if norms else ""
    left = min(shapes.bound, peak)
    return _uniform(shapes, rank, unit="gate", adapter_params=left, trained_params=peak, note=note)


def _eva(shapes: Shapes) -> RankPlan:
    """EVA (arXiv 2410.07170): even ranks here; its own come from the activations, when it is attached."""
    linears = shapes.linears
    costs = [linear.unit_params for linear in linears]
    _check_bound(shapes, max(costs), "one unit of rank")
    caps = tuple(linear.max_rank for linear in linears)
    ranks = hand_out((1,) * len(costs), (0,) * len(costs), caps, costs, shapes.bound)
    named = {linear.name: rank for linear, rank in zip(linears, ranks, strict=True)}
    note = "EVA hands out the same units by explained variance, once it has seen activations."
    plan = _uniform(shapes, 0, unit="rank", adapter_params=0, trained_params=0, note=note)
    return with_module_ranks(plan, shapes.model_map, named)


def _bottlenecks(shapes: Shapes) -> RankPlan:
    """Bottleneck adapters of width d: one of size m has `m (2 d + 1) + d` parameters, two linears with biases.

    Units go to the blocks in turn, so that bottlenecks differ by one at the most.
    """
    sites = _sites(shapes)
    units = [sum(2 * linear.out_features + 1 for linear in found) for found in sites]
    fixed = [sum(linear.out_features for linear in found) for found in sites]
    _check_bound(shapes, sum(fixed) + sum(units), "a bottleneck of 1 in every block")
    caps = tuple(min(linear.out_features for linear in found) for found in sites)
    ones = (1,) * len(units)
    sizes = hand_out(ones, ones, caps, units, shapes.bound - sum(fixed))
    params = [size * unit + constant for size, unit, constant in zip(sizes, units, fixed, strict=True)]
    rows = tuple(
        _row(i, size, tuple(linear.name for linear in found), cost)
        for i, (size, found, cost) in enumerate(zip(sizes, sites, params, strict=True), start=1)
    )
    return _planned(
        shapes, blocks=rows, unit="bottleneck", adapter_params=sum(params), trained_params=sum(params), scaling=1.0
    )


def _sites(shapes: Shapes) -> list[list[LinearShape]]:
    """The linears of each block behind which an adapter stands, in the order in which they are met.

    Raises:
        GeloraError: a block lacks one of them.
    """
    roles = ADAPTER_ROLES[shapes.method]
    sites = [[linear for linear in block.linears if linear.role in roles] for block in shapes.model_map.blocks]
    if any([linear.role for linear in found] != list(roles) for found in sites):
        raise GeloraError(
            f"method={shapes.method} needs a linear for {' and '.join(roles)} in every block, which this "
            f"{shapes.model_map.kind} model's map does not name. Name them by +model.linears, or take another method."
        )
    return sites


PLANNERS: dict[str, Callable[[Shapes], RankPlan]] = {
    "adalora": _adalora,
    "sora": _sora,
    "eva": _eva,
    "houlsby": _bottlenecks,
    "pfeiffer": _bottlenecks,
}


METHODS = (*PLANNED, *PLANNERS, *EXEMPT)


def with_module_ranks(plan: RankPlan, model_map: ModelMap, ranks: Mapping[str, int]) -> RankPlan:
    """A plan of LoRA ranks in which every module has its own; those not named get none."""

    def row(block: BlockRank, linears: Sequence[LinearShape]) -> BlockRank:
        given = tuple(ranks.get(linear.name, 0) for linear in linears)
        params = sum(rank * linear.unit_params for rank, linear in zip(given, linears, strict=True))
        return replace(block, rank=max(given), params=params, module_ranks=given)

    linears = adapted_linears(model_map, plan.modules)
    rows = tuple(row(block, found) for block, found in zip(plan.blocks, linears, strict=True))
    total = sum(block.params for block in rows)
    return replace(plan, blocks=rows, adapter_params=total, trained_params=total)


def _uniform(shapes: Shapes, rank: int, **fields: Any) -> RankPlan:
    """One rank in every adapted linear, at the cost of triplets."""
    linears = adapted_linears(shapes.model_map, shapes.modules)
    rows = tuple(
        _row(i, rank, tuple(linear.name for linear in found), rank * sum(map(triplet_cost, found)))
        for i, found in enumerate(linears, start=1)
    )
    return _planned(shapes, blocks=rows, **fields)


def _row(block: int, rank: int, modules: tuple[str, ...], params: int) -> BlockRank:
    return BlockRank(block, None, None, None, None, None, rank, None, None, modules, params)


def _planned(shapes: Shapes, **fields: Any) -> RankPlan:
    given = {"modules": shapes.modules, "scaling": shapes.scaling, "budget": shapes.budget.name}
    return _blank(shapes.method, shapes.model_map, **(given | {"budget_params": shapes.bound} | fields))


def _blank(method: str, model_map: ModelMap, **fields: Any) -> RankPlan:
    """A plan that owes nothing to a profile, and these fields of it."""
    blank: dict[str, Any] = {
        "rule": "-",
        "rounding": "-",
        "on_deficit": "-",
        "scaling": 1.0,
        "budget_params": None,
        "blocks": (),
        "auto_ranks": (),
        "auto_params": 0,
        "uniform_ranks": (),
        "gelora_ranks": (),
        "head_params": model_map.head_params,
        "backbone_params": model_map.backbone_params,
        "note": "",
        "unit": "none",
    }
    return RankPlan(method=method, **(blank | fields))


def _check_bound(shapes: Shapes, smallest: int, what: str) -> None:
    if shapes.bound < smallest:
        raise GeloraError(
            f"budget={shapes.budget.name} gives the adapter {shapes.bound:,} parameters, but method={shapes.method} "
            f"needs {smallest:,} for {what}; the smallest possible is budget={smallest}. Give that or more."
        )
