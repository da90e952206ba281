"""What a model card says of weights that were not stored in float32, and how to load such a base model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from gelora_cli.config.schema import RunConfig
from gelora_cli.pipeline.card_facts import CardFacts, Export

STORED_IN = {
    "bf16": "in bfloat16",
    "4bit": "in 4 bits (NF4 with double quantisation, blocks of 64; token embeddings in bfloat16)",
}
FOUR_BITS = """
four_bits = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.float32,
    llm_int8_skip_modules={skipped},
)"""
FOUR_BITS_NOTE = """

These are the weights that it was trained on, but for the token embeddings, which it rounded to bfloat16. Without
`quantization_config` it is on the weights before they were rounded to 4 bits, and its scores differ by that rounding.
To merge it, load them without: `gelora export` does so."""
BF16_NOTE = """

It was trained on weights rounded to bfloat16. If the base model holds more digits, scores differ by that rounding."""


@dataclass(frozen=True)
class StoredLoading:
    """What the code that loads a base model needs for weights that are not in float32.

    Attributes:
        imports: lines before all others.
        classes: what it imports from transformers, behind the model's class.
        lines: before the model is loaded.
        arguments: further arguments as Python writes them.
        note: what is said below the code.
    """

    imports: str = ""
    classes: str = ""
    lines: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def stored_loading(facts: CardFacts) -> StoredLoading:
    """Return what loading the base model with the run's weights needs; nothing for weights in float32."""
    dtype = facts.config.model.dtype
    if dtype == "bf16":
        return StoredLoading(note=BF16_NOTE)
    if dtype != "4bit":
        return StoredLoading()
    return StoredLoading(
        imports="import torch\n",
        classes=", BitsAndBytesConfig",
        lines=FOUR_BITS.format(skipped=json.dumps(facts.outside_blocks)),
        arguments={"dtype": "torch.float32", "quantization_config": "four_bits"},
        note=FOUR_BITS_NOTE,
    )


def weight_lines(config: RunConfig, export: Export | None) -> list[str]:
    """Return how the frozen weights were stored, and how far the run's scores are from those of what was exported."""
    if config.model.dtype not in STORED_IN:
        return []
    stored = STORED_IN[config.model.dtype]
    lines = [f"- frozen weights while it was trained: {stored}; adapter and head in float32"]
    if export and export.storage:
        lines.append(f"- merged into the weights in float32, not into those of the run: {export.storage.in_words()}")
    return lines
