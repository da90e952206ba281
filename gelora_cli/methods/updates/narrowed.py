"""A LoRA adapter saved with lower ranks than its tensors have while it trains, in PEFT's ordinary format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from peft import PeftModel

from gelora_cli.allocation.peft_pattern import rank_pattern_json
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.run_files import PEFT_CONFIG, PEFT_WEIGHTS
from gelora_cli.methods.updates.lora import save_peft, saved_name, write_peft


def save_narrowed(model: PeftModel, directory: Path, plan: RankPlan, ranks: Mapping[str, int]) -> None:
    """Write the first `ranks[name]` rows of A and columns of B of each module; one of rank 0 is left out.

    The files are PEFT's own (`rank_pattern`, `alpha_pattern`), so that PEFT alone loads, merges and serves them.

    Args:
        model: the wide model, whose A (R, in) and B (out, R) are zero beyond these ranks.
        directory: gets `adapter_config.json` and `adapter_model.safetensors`, whole or not at all.
        plan: the wide plan.
        ranks: the rank of each module of the plan.
    """
    from safetensors.torch import load_file

    narrow = _with_ranks(plan, ranks)
    # PEFT refuses an adapter without modules, so where nothing is left one module of zeros stands for it.
    if not narrow.rank_pattern:
        narrow = _with_ranks(plan, {next(iter(plan.rank_pattern)): 1})

    def narrowed(saved: Path) -> None:
        tensors = load_file(saved / PEFT_WEIGHTS)
        for name in plan.rank_pattern:
            a, b = tensors.pop(saved_name(name, "A")), tensors.pop(saved_name(name, "B"))
            if rank := narrow.rank_pattern.get(name):
                # safetensors refuses views, whose memory has another order.
                tensors[saved_name(name, "A")] = a[:rank].contiguous()  # (k, in)
                tensors[saved_name(name, "B")] = b[:, :rank].contiguous()  # (out, k)
        config = json.loads((saved / PEFT_CONFIG).read_text(encoding="utf-8"))
        write_peft(saved, tensors, config | rank_pattern_json(narrow))

    save_peft(model, directory, narrowed)


def _with_ranks(plan: RankPlan, ranks: Mapping[str, int]) -> RankPlan:
    """Return the plan with these ranks of its modules; those that are not named get none."""
    rows = []
    for row in plan.blocks:
        module_ranks = tuple(ranks.get(name, 0) for name in row.modules)
        rows.append(replace(row, rank=max(module_ranks, default=0), module_ranks=module_ranks))
    return replace(plan, blocks=tuple(rows))
