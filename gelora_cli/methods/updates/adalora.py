"""AdaLoRA (Zhang et al., ICLR 2023, arXiv 2303.10512) through PEFT, with a budget in parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from peft import AdaLoraConfig, PeftModel
from peft.tuners.adalora import AdaLoraModel, RankAllocator, SVDLinear
from torch import nn

from gelora_cli.allocation.planning import as_written
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.errors import GeloraError
from gelora_cli.methods.base import AdaptedModel, MethodContext, strip_prefix
from gelora_cli.methods.updates.checks import ADAPTER, count_problems, raise_on_mismatch
from gelora_cli.methods.updates.lora import layers_of, save_peft, updates_of, wrap

if TYPE_CHECKING:
    from gelora_cli.methods.adalora import AdaLoraSettings


def attach_adalora(context: MethodContext[AdaLoraSettings]) -> AdaptedModel:
    """Put triplets `P diag(E) Q` on every planned linear; PEFT's schedule prunes them to the budget while they train.

    Importance is that of the paper (sensitivity times uncertainty, equations 8 to 11). The number of parameters falls
    from the plan's peak by a cubic to the budget between `tinit` and `total_steps - tfinal` optimizer steps, of which
    `tinit`, `tfinal` and `delta_t` are shares. Singular values start at zero, so that nothing changes before the first
    step.

    Raises:
        GeloraError: PEFT did not do what the plan says.
    """
    plan, settings, total = context.plan, context.settings, context.total_steps
    rank = plan.blocks[0].rank
    config = AdaLoraConfig(
        init_r=rank,
        target_r=1,  # not used: the allocator's budget is in parameters
        lora_alpha=plan.scaling * rank,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=list(plan.rank_pattern),
        modules_to_save=list(context.model_map.head_modules),
        total_step=total,
        tinit=int(as_written(settings.tinit) * total),
        tfinal=int(as_written(settings.tfinal) * total),
        deltaT=max(1, round(as_written(settings.delta_t) * total)),
        orth_reg_weight=settings.orthogonality,
    )
    model = wrap(context, config)
    for layer in layers_of(model, SVDLinear).values():
        # PEFT keeps the rank as a frozen parameter, and moving it to a GPU makes a trainable one of it.
        layer.ranknum[ADAPTER].requires_grad_(False)
    tuner: Any = model.base_model
    tuner.rankallocator = BudgetAllocator(tuner.model, config, plan)
    _check(model, plan, context)
    return AdaptedModel(
        model,
        plan,
        save=lambda directory: save_peft(model, directory),
        extra_loss=lambda: settings.orthogonality * orthogonality(tuner),
        after_step=lambda step: _after_step(tuner, step),
        current_ranks=lambda: effective_ranks(model),
        budget_reached=lambda: tuner.rankallocator.is_done,
        state=tuner.rankallocator.state,
        load_state=tuner.rankallocator.load_state,
        updates=lambda: updates_of(model, SVDLinear),
    )


def _after_step(tuner: Any, step: int) -> None:
    """Call PEFT's allocation. After its last one the ranks are fixed and within the budget."""
    tuner.update_and_allocate(step)
    tuner.rankallocator.is_done = step >= tuner.rankallocator.last_step


class BudgetAllocator(RankAllocator):
    """PEFT's allocator with its budget counted in parameters, of which a triplet costs `in + out + 1`.

    Where all triplets cost the same it keeps those that PEFT's own keeps. `is_done`: the last allocation is done.
    """

    def __init__(self, model: nn.Module, config: AdaLoraConfig, plan: RankPlan) -> None:
        layers: dict[str, Any] = {name: layer for name, layer in model.named_modules() if isinstance(layer, SVDLinear)}
        self.costs = {f"{name}.lora_E.{ADAPTER}": _cost(layer) for name, layer in layers.items()}
        super().__init__(model, config, ADAPTER)
        # PEFT counts these in triplets; `mask_to_budget` takes them as parameters.
        self.init_bgt, self.target_bgt = plan.trained_params, plan.adapter_params
        self.allocations, self.is_done = 0, False
        self.last_step = (config.total_step or 0) - config.tfinal
        self.device = next(model.parameters()).device

    def mask_to_budget(self, model: nn.Module, budget: int) -> dict[str, list[bool]]:
        """Zero the singular values beyond the most important triplets that fit `budget` parameters.

        Returns:
            name of each `lora_E` -> which of its triplets stay active.
        """
        if not self.ipt:
            self.update_ipt(model)
        values = {name: tensor for name, tensor in model.named_parameters() if name in self.costs}
        scores = [self._scores(name) for name in values]
        costs = torch.cat(  # (triplets of all modules,)
            [torch.full_like(score, self.costs[name]) for name, score in zip(values, scores, strict=True)]
        )
        # Stable, so that equal scores, such as the zeros before the first steps, keep the order of the modules.
        order = torch.sort(torch.cat(scores), descending=True, stable=True).indices
        fits = torch.empty_like(costs, dtype=torch.bool)  # (triplets of all modules,)
        # In double: float32 counts exactly up to 2^24 only, which parameters exceed.
        fits[order] = torch.cumsum(costs.double()[order], 0) <= budget
        parts = dict(zip(values, torch.split(fits, [len(score) for score in scores]), strict=True))
        with torch.no_grad():
            for name, part in parts.items():
                values[name].masked_fill_(~part[:, None], 0.0)
        self.allocations += 1
        on_cpu = torch.split(fits.cpu(), [len(score) for score in scores])  # one wait for all modules
        return {name: part.tolist() for name, part in zip(values, on_cpu, strict=True)}

    def state(self) -> dict[str, torch.Tensor]:
        """Return the smoothed importances, which triplets are active, and how many allocations were done."""
        averages = {"sensitivity": self.exp_avg_ipt, "uncertainty": self.exp_avg_unc}
        state = {f"{kind}/{name}": tensor for kind, values in averages.items() for name, tensor in values.items()}
        pattern = self.peft_config.rank_pattern or {}
        state |= {f"kept/{name}": torch.tensor(active) for name, active in pattern.items()}
        return state | {"allocations": torch.tensor([self.allocations, int(self.is_done)])}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what `state` returned."""
        device = self.device
        self.exp_avg_ipt = {name: tensor.to(device) for name, tensor in strip_prefix("sensitivity/", state).items()}
        self.exp_avg_unc = {name: tensor.to(device) for name, tensor in strip_prefix("uncertainty/", state).items()}
        self.ipt = {name: torch.zeros_like(tensor) for name, tensor in self.exp_avg_ipt.items()}
        self.peft_config.rank_pattern = {
            name: active.tolist() for name, active in strip_prefix("kept/", state).items()
        } or None
        self.allocations, self.is_done = int(state["allocations"][0]), bool(state["allocations"][1])

    def _scores(self, name: str) -> torch.Tensor:
        """Return the importance of a module's triplets, (r,): the value's own and the means over row and column."""
        row, column = (self._element_score(name.replace("lora_E", other)) for other in ("lora_A", "lora_B"))
        vectors = torch.stack([row.mean(1), column.mean(0)], dim=1)  # (r, 2)
        scores: torch.Tensor = self._combine_ipt(self._element_score(name), vectors)  # (r,)
        return scores


def orthogonality(tuner: AdaLoraModel) -> torch.Tensor:
    """Return the mean over all A and B of the Frobenius norm of `A A^T - I` or `B^T B - I`.

    Equation 4 of the paper, as PEFT computes it.
    """
    norms = []
    for name, tensor in tuner.model.named_parameters():
        if tensor.requires_grad and (".lora_A." in name or ".lora_B." in name):
            product = tensor @ tensor.T if ".lora_A." in name else tensor.T @ tensor
            norms.append(torch.linalg.matrix_norm(product - torch.eye(len(product), device=product.device)))
    return torch.stack(norms).mean()


def effective_ranks(model: PeftModel) -> tuple[dict[str, int], int]:
    """Return each module's triplets as last allocated, and what they cost; before the first allocation all.

    Between two allocations that are some steps apart PEFT lets masked triplets train again; after the last one no more.
    """
    tuner: Any = model.base_model
    pattern = tuner.peft_config[ADAPTER].rank_pattern
    layers = layers_of(model, SVDLinear)
    ranks = {name: _active_triplets(pattern, name, len(layer.lora_E[ADAPTER])) for name, layer in layers.items()}
    return ranks, sum(rank * _cost(layers[name]) for name, rank in ranks.items())


def _cost(layer: Any) -> int:
    """Return the parameters of one triplet."""
    return int(layer.in_features + layer.out_features + 1)


def _active_triplets(pattern: Mapping[str, list[bool]] | None, name: str, planned: int) -> int:
    """Return how many triplets of a module are active in PEFT's pattern; all planned ones where there is none yet."""
    if not pattern:
        return planned
    # A loaded adapter's names lack that of the adapter, which PEFT leaves out where it saves them.
    active = pattern.get(f"{name}.lora_E.{ADAPTER}", pattern.get(f"{name}.lora_E"))
    if active is None:
        raise GeloraError(f"PEFT's rank pattern does not name {name}")
    return sum(active)


def _check(model: PeftModel, plan: RankPlan, context: MethodContext[AdaLoraSettings]) -> None:
    """Read ranks, scaling and parameter counts back from PEFT's layers, and compare them with the plan.

    Raises:
        GeloraError: a difference, which stops the run.
    """
    layers, rank = layers_of(model, SVDLinear), plan.blocks[0].rank
    problems = [f"{name}: not adapted" for name in plan.rank_pattern.keys() - layers.keys()]
    problems += [f"{name}: adapted, but not in the plan" for name in layers.keys() - plan.rank_pattern.keys()]
    problems += [
        f"{name}: rank {layer.r[ADAPTER]} instead of {rank}"
        for name, layer in layers.items()
        if layer.r[ADAPTER] != rank
    ]
    problems += [
        f"{name}: scaling {layer.scaling[ADAPTER] / rank} instead of {plan.scaling}"
        for name, layer in layers.items()
        if abs(layer.scaling[ADAPTER] / rank - plan.scaling) > 1e-9 * plan.scaling
    ]
    raise_on_mismatch(problems + count_problems(model, plan, context.model_map))
