"""Weight-decomposed LoRA (Liu et al., ICML 2024, arXiv 2402.09353)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from gelora_cli.core.artifacts.model_map import LinearShape
from gelora_cli.core.registries import VARIANTS
from gelora_cli.methods.variants.lora import Lora


@VARIANTS.register
class Dora(Lora):
    """`m * (W + scaling * B A) / norm(W + scaling * B A)`, with `m = norm(W)` and B = 0 at the start.

    As in PEFT, the norm is that of each row of the weight (out, in), `m` has one trained magnitude per output, and no
    gradient passes through the norm (section 4.3 of the paper).
    """

    name = "dora"
    description = "LoRA's update of the directions of the weights, with trained magnitudes (DoRA, arXiv 2402.09353)"
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bf16")
    peft_arguments: ClassVar[Mapping[str, bool | int | str]] = {"use_dora": True}

    def fixed_params(self, linear: LinearShape) -> int:
        """Return the number of magnitudes: one for each output."""
        return linear.out_features

    def call_operations(self, linear: LinearShape, rank: int) -> int:
        """Return those of `B A` for the norm, through which nothing comes back.

        With `method.dropout` the input is multiplied by W a second time, which is left out.
        """
        return 2 * linear.in_features * rank * linear.out_features
