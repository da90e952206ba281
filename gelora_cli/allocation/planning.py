"""The plan of any method: what a method plans from, and the helpers that methods build their plans with. No torch.

Every plan but those of the exempt methods keeps within one bound in adapter parameters, which `budget` gives; with
`budget=auto` it is what GeLoRA's own ranks cost on this model and task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Generic, TypeVar

from gelora_cli.allocation.block_rows import block_row, with_passes
from gelora_cli.allocation.formatting import EXEMPT_BUDGET
from gelora_cli.allocation.problem import Granularity, Rule
from gelora_cli.allocation.ranks import Signals, missing_signal, plan_from_signals
from gelora_cli.allocation.structure import LORA_UNITS, fused_roles, structure_notes
from gelora_cli.core.artifacts.model_map import LinearShape, ModelMap
from gelora_cli.core.artifacts.plan import BlockRank, RankPlan
from gelora_cli.core.budget import Budget, adapted_linears
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METHODS

Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True)
class PlanRequest(Generic[Settings]):
    """What a method plans from: the model's shapes, the measured signals by name, the budget and the settings.

    `settings` are the method's own, in the class that it declares. With `assume_even` a signal that is not measured
    yet is taken to prefer no block, as a dry run does.
    """

    method: str
    model_map: ModelMap
    signals: Signals
    budget: Budget
    seed: int = 0
    modules: str = "attention"
    scaling: float = 1.0
    rule: str = "growth+1"
    rounding: str = "up"
    on_deficit: str = "error"
    granularity: Granularity | None = None
    when_unstable: str = "warn"
    settings: Settings
    assume_even: bool = False
    variant: str = "lora"

    def planned_ranks(self, method: str = "gelora") -> RankPlan:
        """Return the plan of a method whose ranks an allocator gives, from the signal that the allocator reads."""
        return plan_from_signals(
            self.model_map,
            self.signals,
            self.budget,
            method=method,
            seed=self.seed,
            modules=self.modules,
            scaling=self.scaling,
            rule=Rule(
                self.rule, self.rounding, self.on_deficit, self.granularity, self.when_unstable, variant=self.variant
            ),
            settings=self.settings if method == self.method else None,
            assume_even=self.assume_even,
        )

    def shapes(self) -> Shapes:
        """Return what a plan from the model's shapes alone looks at; with `budget=auto` GeLoRA's ranks set the bound.

        Raises:
            GeloraError: GeLoRA's own ranks can't be planned.
        """
        bound = self.budget.params(self.model_map, self.modules)
        warnings: tuple[str, ...] = ()
        if bound is None:
            # Only the number of parameters is taken over, which no verdict on the plan changes.
            gelora = replace(self, when_unstable="warn").planned_ranks()
            bound, warnings = gelora.auto_params, gelora.warnings
        return Shapes(
            method=self.method,
            model_map=self.model_map,
            budget=self.budget,
            bound=bound,
            modules=self.modules,
            scaling=self.scaling,
            warnings=warnings,
        )


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """What a plan that follows no profile looks at; `bound` in parameters.

    `warnings` are those of the profile that set the bound.
    """

    method: str
    model_map: ModelMap
    budget: Budget
    bound: int
    modules: str
    scaling: float
    warnings: tuple[str, ...] = ()

    @property
    def linears(self) -> list[LinearShape]:
        """Return the adapted linears, block by block."""
        return [linear for block in adapted_linears(self.model_map, self.modules) for linear in block]

    @property
    def triplet_costs(self) -> list[int]:
        """Return the parameters of a triplet, or of a gate with its row and column, in each adapted linear."""
        return [triplet_cost(linear) for linear in self.linears]

    def within_sides(self, rank: int) -> int:
        """Return the rank, but at most the smallest side of the adapted linears."""
        return min(rank, *(linear.max_rank for linear in self.linears))

    def check_bound(self, smallest: int, what: str) -> None:
        """Check that the budget holds the smallest plan, which is needed for `what`.

        Raises:
            GeloraError: it does not; the message names the smallest budget.
        """
        if self.bound < smallest:
            raise GeloraError(
                f"budget={self.budget.given} gives the adapter {self.bound:,} parameters, but method={self.method} "
                f"needs {smallest:,} for {what}; the smallest possible is budget={smallest}. Give that or more."
            )

    def plan(self, **fields: Any) -> RankPlan:
        """Return a plan under this bound with these fields set."""
        common: dict[str, Any] = {"modules": self.modules, "scaling": self.scaling, "budget": self.budget.name}
        common |= {"budget_params": self.bound, "warnings": self.warnings}
        unit = fields.get("unit", "none")
        common["structure"] = structure_notes(self.model_map, self.modules, unit)
        if unit in LORA_UNITS:
            common["fused_roles"] = fused_roles(self.model_map, self.modules)
        fields["blocks"] = with_passes(fields.get("blocks", ()), self.model_map)
        return blank_plan(self.method, self.model_map, **(common | fields))

    def uniform_plan(
        self, rank: int, *, unit_cost: Callable[[LinearShape], int] | None = None, **fields: Any
    ) -> RankPlan:
        """Return a plan with one rank in every adapted linear; a unit of it costs `unit_cost`, else a triplet."""
        unit_cost = unit_cost or triplet_cost
        rows: list[BlockRank] = []
        for index, linears in enumerate(adapted_linears(self.model_map, self.modules), start=1):
            names = tuple(linear.name for linear in linears)
            rows.append(block_row(index, rank, names, rank * sum(map(unit_cost, linears))))
        return self.plan(blocks=tuple(rows), **fields)


def plan_method(
    model_map: ModelMap,
    signals: Signals,
    budget: Budget,
    *,
    method: str = "gelora",
    assume_even: bool = False,
    settings: object = None,
    scaling: float | None = None,
    **rules: Any,
) -> RankPlan:
    """Return what each block gets under a budget, by method; `rules` are those of `plan_ranks` (seed, modules, ...).

    `settings` are the method's own; None: their defaults.

    Raises:
        GeloraError: a budget that the method can't meet, with the smallest that it can; a signal is missing.
    """
    entry = METHODS.get(method)
    missing = [name for name in entry.signals(budget) if name not in signals]
    if missing and not assume_even:
        raise missing_signal(method, budget, missing[0])
    # A method without LoRA's scaling is planned with 1.
    request: PlanRequest[Any] = PlanRequest(
        method=method,
        model_map=model_map,
        signals=signals,
        assume_even=assume_even,
        budget=budget,
        scaling=scaling or 1.0,
        settings=entry.config_class(name=method) if settings is None else settings,
        **rules,
    )
    return entry.plan(request)


def exempt_plan(request: PlanRequest[Any], params: int, what: str) -> RankPlan:
    """Return the plan of a method that no budget binds and that trains `params` parameters, which are `what`."""
    return blank_plan(
        request.method,
        request.model_map,
        modules=request.modules,
        budget=EXEMPT_BUDGET,
        adapter_params=params,
        trained_params=params,
        note=f"Trains {what}: {params:,} parameters, whatever the budget.",
    )


def triplet_cost(linear: LinearShape) -> int:
    """Return the parameters of a row of A, a number, and a column of B: `in + out + 1`."""
    return linear.unit_params + 1  # `unit_params` is in + out


def as_written(ratio: float) -> Fraction:
    """Return a setting as the number that the user wrote: 1.1 times rank 10 is 11, which floats make a little more."""
    return Fraction(str(ratio))


def with_module_ranks(plan: RankPlan, model_map: ModelMap, ranks: Mapping[str, int]) -> RankPlan:
    """Return a plan of LoRA ranks in which every module has a rank of its own; modules that are not named get none."""

    def row(block: BlockRank, linears: Sequence[LinearShape]) -> BlockRank:
        module_ranks = tuple(ranks.get(linear.name, 0) for linear in linears)
        params = sum(rank * linear.unit_params for rank, linear in zip(module_ranks, linears, strict=True))
        return replace(block, rank=max(module_ranks), params=params, module_ranks=module_ranks)

    linears = adapted_linears(model_map, plan.modules)
    rows = tuple(row(block, adapted) for block, adapted in zip(plan.blocks, linears, strict=True))
    total = sum(block.params for block in rows)
    return replace(plan, blocks=rows, adapter_params=total, trained_params=total)


def has_largest_ranks(plan: RankPlan, model_map: ModelMap) -> bool:
    """Return whether a plan of LoRA ranks gives every module the largest rank that it can have."""
    for row, linears in zip(plan.blocks, adapted_linears(model_map, plan.modules), strict=True):
        sides = tuple(linear.max_rank for linear in linears)
        largest = row.rank == min(sides) if row.module_ranks is None else row.module_ranks == sides
        if not largest:
            return False
    return plan.unit == "rank"


def blank_plan(method: str, model_map: ModelMap, **fields: Any) -> RankPlan:
    """Return a plan that does not come from a profile, with these fields set."""
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
