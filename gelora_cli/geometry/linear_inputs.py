"""What linear layers read while a model runs: hooks, and which layers of a block read the same vectors.

Letters in shapes: B texts, T tokens of the longest one, D the width of a linear's input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.errors import GeloraError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Receive = Callable[[str, torch.Tensor], None]
"""Takes the name of a linear and what it read at the real tokens, (tokens, D)."""


class InputHooks:
    """Hooks that hand over the inputs of linears at real tokens, in each pass of a forward pass through their block.

    DeBERTa calls its query and key again with embeddings of relative positions. Those are no tokens, and not counted
    among the passes.

    Args:
        model: the pretrained model.
        passes: how many times each linear reads the tokens, by its name (`ModelMap.passes_of_linears`).
        receive: takes what a linear read, once for each pass.
    """

    def __init__(self, model: PreTrainedModel, passes: Mapping[str, int], receive: Receive) -> None:
        self.model, self.passes, self.receive = model, passes, receive
        self._mask = torch.zeros(0)  # (B, T) bool
        self._missing: dict[str, int] = {}

    def __enter__(self) -> InputHooks:
        self._handles = [
            self.model.get_submodule(name).register_forward_pre_hook(self._hook_of(name), with_kwargs=True)
            for name in self.passes
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def forward(self, inputs: dict[str, torch.Tensor]) -> None:
        """Run the model without its head on one batch.

        Raises:
            GeloraError: a linear was not called, or not with a vector for every token.
        """
        self._mask, self._missing = inputs["attention_mask"].bool(), dict(self.passes)
        self.model.base_model(**inputs)
        uncalled = [name for name, calls in self._missing.items() if calls]
        if uncalled:
            first = uncalled[0]
            raise GeloraError(
                f"{first} is not called when the model reads a text, so there is nothing to measure. Leave its role "
                "out of model.linears."
            )

    def _hook_of(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not self._missing[name]:
                return
            self._missing[name] -= 1
            hidden: torch.Tensor = args[0] if args else kwargs["input"]
            if hidden.shape[:-1].numel() != self._mask.numel():
                raise GeloraError(
                    f"{name} reads {tuple(hidden.shape)} for a batch of {tuple(self._mask.shape)} tokens; one vector "
                    "for each token is accepted"
                )
            self.receive(name, hidden.reshape(*self._mask.shape, -1)[self._mask])  # (B, T, D) to (tokens, D)

        return hook


def distinct_inputs(
    model: PreTrainedModel, model_map: ModelMap, inputs: dict[str, torch.Tensor]
) -> list[tuple[str, ...]]:
    """Return the names of all linears of the blocks, those of a block together that read the same vectors.

    Query, key and value of a block are such. The inputs of one text say which they are.
    """
    passes = model_map.passes_of_linears()
    seen: dict[str, torch.Tensor] = {}  # of the last pass
    # A copy, since a model may add to a tensor in place later on.
    with InputHooks(model, passes, lambda name, tokens: seen.update({name: tokens.clone()})) as hooks:
        hooks.forward(inputs)
    groups: list[tuple[str, ...]] = []
    for block in model_map.blocks:
        in_block: list[list[str]] = []
        for linear in block.linears:
            same = [group for group in in_block if torch.equal(seen[group[0]], seen[linear.name])]
            if same:
                same[0].append(linear.name)
            else:
                in_block.append([linear.name])
        groups += map(tuple, in_block)
    return groups
