"""The model card and the summary of one run."""

from __future__ import annotations

from collections.abc import Sequence

from gelora_cli.artifacts import EvalResult, RankPlan, RunResult
from gelora_cli.ranks import PLANNED, budget_line

CARD = """---
library_name: {library}
base_model: {base}
tags: [gelora, {method}, {task}]
---
# {model} on {task}, {method}, budget {budget}, seed {seed}

{what}, made by gelora

| split | {metrics} |
|---|{rule}|
{rows}

- selection: {selection}{chosen}
{origin}{ranks}- parameters: adapter {adapter:,}, head {head:,}, backbone {backbone:,}; {used}
- training settings: {preset}
- seconds: {profile}, attaching {attach_seconds:.1f}, training {train_seconds:.1f}
- reload check: largest difference of scores {difference:.2g} on {checked} sequences

![idim profile](profile.png)

![ranks](ranks.png)

{loading}

Made by `{command}`
"""


LORA = """A LoRA adapter with one rank per transformer block (method: *GeLoRA: Geometric Adaptive Ranks For Efficient
LoRA Fine-tuning*, arXiv 2412.09250, or a control of it)"""
WHAT = {
    "adalora": "A LoRA adapter in the form of singular values (AdaLoRA, arXiv 2303.10512)",
    "sora": "A LoRA adapter whose gates were closed by a threshold (SoRA, arXiv 2311.11696)",
    "eva": "A LoRA adapter with ranks by explained variance of activations (EVA, arXiv 2410.07170)",
    "bitfit": "The bias terms of a fine-tuned model (BitFit, arXiv 2106.10199)",
    "houlsby": "Bottleneck adapters after attention and feed-forward (Houlsby et al., arXiv 1902.00751)",
    "pfeiffer": "Bottleneck adapters after feed-forward (Pfeiffer et al., arXiv 2005.00247)",
    "full": "All weights of a fine-tuned model",
}
LOADING = """```python
{imports}
from transformers import {auto_class}

base = {auto_class}.from_pretrained("{base}"{arguments})
model = {load}
```"""
MERGED_START = """The adapter belongs on {base} with the adapters of the runs named above merged into it, and gives
other outputs on {base} itself. `gelora predict` and `gelora evaluate` on this directory put them together."""
PEFT_LINES = ("from peft import PeftModel", 'PeftModel.from_pretrained(base, "adapter")')
OWN_LINES = (
    "from pathlib import Path\n\nfrom gelora_cli.methods import load_adapter",
    'load_adapter(base, Path("adapter"))',
)

CHOSEN = "\n- `..._chosen_on_eval`: the best over all thresholds, chosen on the evaluated data itself: optimistic"


def model_card(
    result: RunResult,
    plan: RankPlan,
    *,
    peft: bool,
    base: str,
    labels: int,
    key_mapping: dict[str, str] | None,
    preset: str,
    command: str,
    starts_from: Sequence[str] = (),
) -> str:
    """The run's README.md: scores, ranks, counts and how to load the adapter; no `labels` for question answering.

    `peft`: the adapter is in PEFT's own format. `starts_from`: the runs whose adapters were merged into the base.
    """
    arguments = f", num_labels={labels}" * bool(labels) + f", key_mapping={key_mapping!r}" * bool(key_mapping)
    loading = (MERGED_START if starts_from else LOADING).format(
        base=base,
        imports=PEFT_LINES[0] if peft else OWN_LINES[0],
        load=PEFT_LINES[1] if peft else OWN_LINES[1],
        auto_class="AutoModelForSequenceClassification" if labels else "AutoModelForQuestionAnswering",
        arguments=arguments,
    )
    names = list(result.results[0].metrics)
    text = CARD.format(
        base=base,
        task=result.task,
        model=result.model,
        method=result.method,
        budget=result.budget,
        seed=result.seed,
        metrics=" | ".join(names),
        rule="---|" * (len(names) - 1) + "---",
        rows="\n".join(_row(evaluated) for evaluated in result.results),
        selection=result.selection,
        chosen=CHOSEN if any("chosen_on_eval" in name for name in names) else "",
        what=LORA if result.method in PLANNED else WHAT[result.method],
        ranks=_ranks_text(result, plan),
        adapter=result.adapter_params,
        head=plan.head_params,
        backbone=plan.backbone_params,
        used=used_text(result, plan),
        library="peft" if peft else "gelora",
        loading=loading,
        origin=f"- starts from: {base}, merged with {', then '.join(starts_from)}\n" if starts_from else "",
        preset=preset,
        profile=_profile_text(result),
        attach_seconds=result.attach_seconds,
        train_seconds=result.train_seconds,
        difference=result.reload_check.largest_difference,
        checked=result.reload_check.examples,
        command=command,
    )
    if not plan.blocks or plan.blocks[0].idim_in is None:
        text = text.replace("![idim profile](profile.png)\n\n", "")
    return text if plan.blocks else text.replace("![ranks](ranks.png)\n\n", "")


def used_text(result: RunResult, plan: RankPlan) -> str:
    """How much of the budget the adapter uses, at its end and at the most."""
    if plan.budget_params is None:
        return budget_line(plan)
    share = 100 * result.adapter_params / plan.budget_params
    peak = f"; at the most {result.trained_params:,} trained" if result.trained_params != result.adapter_params else ""
    return f"budget {plan.budget}: {result.adapter_params:,} of {plan.budget_params:,} used, {share:.1f} %{peak}"


def _profile_text(result: RunResult) -> str:
    reused = " (reused)" if result.profile_reused else ""
    return f"profile {result.profile_seconds:.1f}{reused}" if result.profile_seconds else "no profile"


def _ranks_text(result: RunResult, plan: RankPlan) -> str:
    """The plan's ranks, and what each module has in the end where that is another."""
    if not plan.blocks:
        return ""
    shown = " ".join(map(str, plan.ranks))
    largest = " (the largest of its modules)" if any(row.module_ranks for row in plan.blocks) else ""
    lines = [
        f"- {'ranks' if plan.unit == 'rank' else plan.unit + 's'}{largest}, block 1 to {len(plan.blocks)}: {shown}"
    ]
    if result.effective_ranks != plan.rank_pattern or any(row.module_ranks for row in plan.blocks):
        by_block = [" ".join(str(result.effective_ranks.get(name, 0)) for name in row.modules) for row in plan.blocks]
        lines.append(f"- in the end, by module: {', '.join(by_block)}")
    return "\n".join(lines) + "\n"


def _row(evaluated: EvalResult) -> str:
    return f"| {evaluated.split} | " + " | ".join(f"{value:.4f}" for value in evaluated.metrics.values()) + " |"
