"""Which GPU suffices for a large decoder: forecasts from the shapes in a config.json, as a table.

    python -m scripts.memory_forecast [--config DIR] [--rank 16]

Without `--config` the shapes are those of Llama 3 8B. No weights are read. These are forecasts, compared with measured
peaks of small models on the CPU (`scripts/benchmarks/memory_peaks.py`); they were not run on a GPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gelora_cli.models.block_map import map_model
from gelora_cli.models.memory import MemoryForecast, MemorySettings, MemoryShapes, forecast
from gelora_cli.models.memory_shapes import memory_shapes
from gelora_cli.models.operations import UpdateWork
from gelora_cli.models.pretrained import build_empty

BATCHES = ((1, 512), (1, 2048), (4, 2048), (1, 8192))
"""Rows and tokens of a micro-batch."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, metavar="DIR", help="a directory with the config.json of a decoder")
    parser.add_argument("--rank", type=int, default=16, help="of LoRA on all linears")
    arguments = parser.parse_args()
    shapes = decoder_shapes(arguments.config)
    print(f"{(shapes.linear_params + shapes.other_params) / 1e9:.2f} billion parameters, LoRA of rank {arguments.rank}")
    print()
    print("| weights | checkpointing | batch | weights, GB | activations | logits | at most | GPU |")
    print("|---|---|---|---|---|---|---|---|")
    for dtype in ("4bit", "bf16"):
        for recompute in (True, False):
            for rows, longest in BATCHES:
                memory = forecast(shapes, settings_of(shapes, arguments.rank, dtype, rows, longest, recompute))
                how = "yes" if recompute else "no"
                print(f"| {dtype} | {how} | {rows} x {longest:,} | {cells(memory)} |")


def decoder_shapes(directory: Path | None) -> MemoryShapes:
    """Return the shapes of a decoder with its language head; those of Llama 3 8B without a directory."""
    from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

    if directory is not None:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    else:
        config = LlamaConfig(
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            vocab_size=128256,
        )
    model = build_empty(AutoModelForCausalLM, config)
    return memory_shapes(model, map_model(model, head_modules=()), scores_vocabulary=True)


def settings_of(
    shapes: MemoryShapes, rank: int, dtype: str, rows: int, longest: int, recompute: bool
) -> MemorySettings:
    """Return the settings of a run on a GPU, in bf16, evaluated and checked in batches of the same size."""
    linears = [linear for block in shapes.model.blocks for linear in block.linears]
    return MemorySettings(
        precision="bf16",
        dtype=dtype,
        rows=rows,
        longest=longest,
        masked=rows > 1,
        scored=rows * longest,
        work=UpdateWork({linear.name: rank for linear in linears}),
        trained_params=rank * sum(linear.unit_params for linear in linears),
        on_gpu=True,
        recompute=recompute,
        eval_rows=rows,
        eval_longest=longest,
        eval_scored=rows * longest,
        compared_scored=rows * longest,
        generates=True,
        second_model=False,
    )


def cells(memory: MemoryForecast) -> str:
    """Return the cells of a row behind its settings."""
    kept = memory.activations + max(0, memory.inside - memory.logits)
    sizes = (memory.weights, kept, memory.logits, memory.peak)
    card = f"{memory.card} GB" if memory.card else "more than 80 GB"
    return " | ".join([*(f"{size / 1e9:.1f}" for size in sizes), card])


if __name__ == "__main__":
    main()
