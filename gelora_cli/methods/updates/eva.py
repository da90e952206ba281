"""EVA, explained variance adaptation (Paischer et al., arXiv 2410.07170) by PEFT: ranks and A from activations."""

from __future__ import annotations

import contextlib
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from peft import EvaConfig, LoraConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.eva import SVDHook, get_eva_state_dict

from gelora_cli.allocation.explained_variance import cut_components, even_ranks, most_components
from gelora_cli.allocation.planning import with_module_ranks
from gelora_cli.core.artifacts.model_map import LinearShape
from gelora_cli.core.budget import adapted_linears
from gelora_cli.core.devices import random_devices
from gelora_cli.core.errors import GeloraError
from gelora_cli.methods.base import AdaptedModel, Inputs, MethodContext
from gelora_cli.methods.updates.checks import ADAPTER
from gelora_cli.methods.updates.lora import attach_lora, layers_of
from gelora_cli.models.operations import FORWARD_ONLY, Load, model_operations
from gelora_cli.models.shapes import read_shapes

if TYPE_CHECKING:
    from gelora_cli.methods.eva import EvaSettings

MOST_BATCHES = 2_000
"""Batches after which components that have not settled are given up."""
TOKENS_PER_COMPONENT = 4  # in a batch: with fewer the components take long to settle

PRODUCTS = 10
"""Of a batch with its 2 k random directions, in the decomposition for k components: PEFT iterates four times."""


def attach_eva(context: MethodContext[EvaSettings]) -> AdaptedModel:
    """Attach LoRA whose A are the leading right-singular vectors of each linear's inputs; ranks follow from them.

    Units of rank go to the components in the order of their explained variance ratio over all modules, until the next
    no longer fits the budget; a module that gets none is left out. B is zero, so that nothing changes before the first
    step. The main process alone computes this; the others get its numbers.

    Raises:
        GeloraError: the components don't settle, or PEFT did not do what the plan says.
    """
    ranks, components, operations = context.once(lambda: _ranks_and_components(context))
    plan = with_module_ranks(context.plan, context.model_map, ranks)
    plan = replace(plan, note=f"EVA's own ranks by explained variance; {len(plan.rank_pattern)} modules adapted.")
    attached = attach_lora(replace(context, plan=plan))
    model: Any = attached.model
    with torch.no_grad():
        for name, layer in layers_of(model, LoraLayer).items():
            layer.lora_A[ADAPTER].weight.copy_(components[name])
    return replace(attached, attach_operations=operations)


def _ranks_and_components(
    context: MethodContext[EvaSettings],
) -> tuple[dict[str, int], dict[str, torch.Tensor], int]:
    """Return the rank of every adapted linear, its components (rank, in) on the CPU, and the operations that it took.

    The operations are those of the passes, and of the products of the randomised decompositions [ours].
    """
    model, bound = context.model, context.plan.budget_params or 0
    shapes = read_shapes(model, context.model_map)
    linears = [linear for block in adapted_linears(context.model_map, context.plan.modules) for linear in block]
    config, components = _even_config(context, linears)
    batches = context.batches(TOKENS_PER_COMPONENT * components)
    all_passes = context.model_map.passes_of_linears()
    watched = _Watched({linear.name: all_passes[linear.name] for linear in linears}, components)
    # The random state is restored, so that the training draws the same dropout whatever was measured before.
    # What is printed are the modules that it skips.
    with torch.random.fork_rng(devices=random_devices()), contextlib.redirect_stdout(io.StringIO()):
        get_eva_state_dict(
            model,
            batches,
            config,
            forward_fn=watched.forward,
            prepare_model_inputs_fn=lambda inputs, _: inputs["attention_mask"].bool(),
            prepare_layer_inputs_fn=watched.tokens,
            gather_distributed_inputs=False,
            show_progress_bar=False,
        )
    hooks = watched.hooks()
    ratios = {name: hook.svd.explained_variance_ratio_.tolist() for name, hook in hooks.items()}
    costs = [linear.unit_params for linear in linears]
    cut = cut_components([ratios[linear.name] for linear in linears], costs, bound)
    ranks = {linear.name: rank for linear, rank in zip(linears, cut, strict=True)}
    kept = {name: hooks[name].svd.components_[:rank].cpu() for name, rank in ranks.items() if rank}
    return ranks, kept, model_operations(shapes, watched.load, FORWARD_ONLY) + watched.operations


def _even_config(context: MethodContext[EvaSettings], linears: Sequence[LinearShape]) -> tuple[LoraConfig, int]:
    """Return PEFT's configuration with even ranks, and the most components that a module is asked for.

    Of unlike modules as many units as fit at the lowest cost. None is asked for more components than it has inputs.
    """
    costs = [linear.unit_params for linear in linears]
    even = even_ranks(costs, tuple(linear.max_rank for linear in linears), context.plan.budget_params or 0)
    pattern = {re.escape(linear.name): max(1, rank) for linear, rank in zip(linears, even, strict=True)}
    largest = max(pattern.values())
    rho = min(context.settings.rho, min(linear.in_features for linear in linears) / largest)
    config = LoraConfig(
        r=largest,
        target_modules=[linear.name for linear in linears],
        rank_pattern=pattern,
        init_lora_weights="eva",
        eva_config=EvaConfig(rho=max(1.0, rho)),
    )
    return config, most_components(context.settings.rho, largest, min(linear.in_features for linear in linears))


class _Watched:
    """PEFT's hooks, seen from its forward function: they hold what it does not return, the explained variances.

    PEFT measures modules of equal inputs (query, key, value) once; the inputs of the first batch say which those are.

    Args:
        passes: how many times each linear reads the tokens, by its name.
        components: the most that a module is asked for.
    """

    def __init__(self, passes: Mapping[str, int], components: int) -> None:
        self.passes, self.components = passes, components
        self.inputs: dict[str, torch.Tensor] = {}
        self.measured: dict[str, SVDHook] = {}
        self.calls: Counter[str] = Counter()
        self.batches = 0
        self.load, self.operations = Load(), 0

    def forward(self, model: Any, inputs: Inputs) -> Any:
        """Run one batch. Give up after more batches than components should take to settle."""
        self.batches += 1
        if self.batches > MOST_BATCHES:
            raise GeloraError(
                f"method=eva: {self.components} components of a linear's inputs have not settled after {MOST_BATCHES} "
                "batches. Give a smaller budget, a smaller method.rho, or more training rows."
            )
        self.calls = Counter()
        self.load += Load.of_batch(*inputs["attention_mask"].shape)
        if self.batches == 1 and (tokens := int(inputs["attention_mask"].sum())) < self.components:
            raise GeloraError(
                f"method=eva: {self.components} components of a linear's inputs are asked of {tokens} tokens. Give a "
                "smaller budget, a smaller method.rho, or more training rows."
            )
        for name in self.passes:
            for hook in model.get_submodule(name)._forward_hooks.values():
                if isinstance(hook, SVDHook):
                    self.measured[name] = hook
        return model(**inputs)

    def tokens(self, layer_input: Any, mask: torch.Tensor, name: str) -> torch.Tensor:
        """Return the inputs of a linear at real tokens, (tokens, in), in each pass through its block.

        DeBERTa's query and key are called again, with embeddings of relative positions: those are no rows. Each pass
        through a shared block is a batch of rows for PEFT [ours].
        """
        hidden: torch.Tensor = layer_input[0] if isinstance(layer_input, tuple | list) else layer_input
        self.calls[name] += 1
        if self.calls[name] > self.passes[name]:
            return hidden.new_zeros(0, hidden.shape[-1])
        tokens = hidden[mask]  # (B, T, in) to (tokens, in)
        if self.batches == 1:
            self.inputs[name] = tokens  # of the last pass
        elif name in self.measured:
            self.operations += PRODUCTS * 2 * tokens.numel() * 2 * self.measured[name].n_components
        return tokens

    def hooks(self) -> dict[str, SVDHook]:
        """Return every module's hook: its own, or that of the module with equal inputs."""
        return {name: self.measured[self._source(name)] for name in self.passes}

    def _source(self, name: str) -> str:
        same = (other for other in self.measured if torch.equal(self.inputs[other], self.inputs[name]))
        return name if name in self.measured else next(same)
