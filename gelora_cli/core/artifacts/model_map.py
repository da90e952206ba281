"""Where a model's transformer blocks and adaptable linear layers are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class LinearShape:
    """One adaptable linear layer: its full module name, its role, and the shape of its weight.

    `role` is one of `query`, `key`, `value`, `output` (attention) and `up`, `gate`, `down` (feed-forward), or that of a
    fused projection, such as `qkv`.
    """

    name: str
    role: str
    in_features: int
    out_features: int

    @property
    def unit_params(self) -> int:
        """Return the parameters that one unit of LoRA rank costs: a row of A and a column of B."""
        return self.in_features + self.out_features

    @property
    def max_rank(self) -> int:
        """Return the smaller side, since no update of this matrix has a larger rank."""
        return min(self.in_features, self.out_features)


@dataclass(frozen=True)
class BlockMap:
    """One transformer block, counted from 1, with the linear layers that may be adapted.

    A block that runs several times in a forward pass (ALBERT) has one set of weights, and so one rank.

    Attributes:
        index: Number of the block.
        name: Full name of its module.
        linears: Its linear layers.
        passes: The layers that it produces, counted from 1; empty for a block that runs once, as layer `index`.
    """

    index: int
    name: str
    linears: tuple[LinearShape, ...]
    passes: tuple[int, ...] = ()

    @property
    def layers(self) -> tuple[int, ...]:
        """Return the numbers of the hidden states that the block produces; the model's embeddings are layer 0."""
        return self.passes or (self.index,)


def run_order(blocks: Iterable[BlockMap]) -> tuple[BlockMap, ...]:
    """Return the block of every layer 1 .. L, in the order in which they run: a shared block several times."""
    by_layer = {layer: block for block in blocks for layer in block.layers}
    return tuple(by_layer[layer] for layer in sorted(by_layer))


@dataclass(frozen=True)
class ModelMap:
    """A model's blocks and adaptable linear layers, and how many parameters it has.

    `method.modules=attention` adapts the `ATTENTION_ROLES`, and `method.modules=all` every linear layer of `blocks`.
    `head_modules` are the newly initialised modules (full names), which are trained and saved with the adapter.
    `bias_params` and `norm_params` count the backbone's bias terms and the parameters of its norms, `norm_bias_params`
    the bias terms of the norms, which are in both. `causal` says whether a token sees only those before it; None where
    the declaration of the kind says so, and in older files.
    """

    kind: str
    blocks: tuple[BlockMap, ...]
    head_modules: tuple[str, ...]
    head_params: int
    backbone_params: int
    bias_params: int = 0
    norm_params: int = 0
    norm_bias_params: int = 0
    causal: bool | None = None

    ATTENTION_ROLES: ClassVar[tuple[str, ...]] = ("query", "key", "value", "qkv", "output")

    @property
    def layers(self) -> tuple[BlockMap, ...]:
        """Return the block of every layer 1 .. L; layer 0 is the input of the first.

        This is the only pairing of the layers of a profile with blocks, together with `BlockMap.layers`.
        """
        return run_order(self.blocks)

    @property
    def shares_blocks(self) -> bool:
        """Return whether a block runs several times."""
        return len(self.layers) > len(self.blocks)

    def passes_of_linears(self) -> dict[str, int]:
        """Return how many times each linear layer reads the tokens in one forward pass, by its full name."""
        return {linear.name: len(block.layers) for block in self.blocks for linear in block.linears}

    def linears(self, block: BlockMap, modules: str) -> tuple[LinearShape, ...]:
        """Return the linear layers of a block that `modules` (`attention` or `all`) adapts."""
        if modules == "all":
            return block.linears
        return tuple(linear for linear in block.linears if linear.role in self.ATTENTION_ROLES)
