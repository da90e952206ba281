"""What servers and trainers other than PEFT make of ranks that differ; each fact names the version it was read in.

vLLM, LLaMA-Factory and Unsloth were read in November 2026, in their wheels, and not run.
"""

from __future__ import annotations

from gelora_cli.core.artifacts.plan import RankPlan

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of `max_lora_rank` that vLLM 0.33.0 accepts (`vllm/config/lora.py`), and 0.24.0 and 0.30.0 before it."""

PATTERN_LOST = (
    "LLaMA-Factory 0.9.5 has no rank pattern, and Unsloth 2026.10.9 makes TRL's trainers skip peft_config: both train "
    "other ranks, without a word; see docs/how-to/own-trainer.md"
)
"""For plans whose ranks differ. LLaMA-Factory: `model/adapter.py`. Unsloth: `models/rl.py`, `models/llama.py`."""

SCALINGS_LOST = (
    "alpha / r differs from module to module: vLLM 0.33.0 reads that, but 0.30.0 and 0.24.0 scale every module by "
    "lora_alpha / r, without a word; merge the adapter for those"
)
"""For plans whose scalings differ: `vllm/lora/peft_helper.py` of the three versions."""

DORA_REFUSED = "vLLM 0.33.0 refuses DoRA: merge the adapter"


def smallest_vllm_rank(largest: int) -> int | None:
    """Return the smallest `max_lora_rank` that holds a rank; None where vLLM accepts none so large."""
    return next((accepted for accepted in VLLM_RANKS if accepted >= largest), None)


def describe_vllm_rank(largest: int) -> str:
    """Return the `max_lora_rank` that an adapter with this largest rank needs, as a clause."""
    needed = smallest_vllm_rank(largest)
    if needed is None:
        return f"vLLM accepts no max_lora_rank above {VLLM_RANKS[-1]}: merge the adapter"
    return f"vLLM: max_lora_rank={needed}"


def serving_warnings(plan: RankPlan) -> tuple[str, ...]:
    """Return what goes wrong where an adapter of this plan is served by vLLM, a sentence each."""
    warnings = []
    if len(set(plan.scaling_pattern.values())) > 1:
        warnings.append(SCALINGS_LOST)
    if plan.variant == "dora":
        warnings.append(DORA_REFUSED)
    return tuple(warnings)
