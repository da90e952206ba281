"""The model card and the summary of one run."""

from __future__ import annotations

from gelora_cli.artifacts import EvalResult, RankPlan, RunResult

CARD = """---
library_name: peft
base_model: {base}
tags: [lora, gelora, {task}]
---
# {model} on {task}, {method}, budget {budget}, seed {seed}

A LoRA adapter with one rank per transformer block, made by gelora
(method: *GeLoRA: Geometric Adaptive Ranks For Efficient LoRA Fine-tuning*, arXiv 2412.09250).

| split | {metrics} |
|---|{rule}|
{rows}

- selection: {selection}{chosen}
- ranks, block 1 to {blocks}: {ranks}
- parameters: adapter {adapter:,}, head {head:,}, backbone {backbone:,}; budget {budget} ({used})
- training settings: {preset}
- seconds: profile {profile_seconds:.1f}{reused}, training {train_seconds:.1f}
- reload check: largest difference of scores {difference:.2g} on {checked} sequences

![idim profile](profile.png)

![ranks](ranks.png)

```python
from peft import PeftModel
from transformers import {auto_class}

base = {auto_class}.from_pretrained("{base}"{arguments})
model = PeftModel.from_pretrained(base, "adapter")
```

Made by `{command}`
"""


CHOSEN = "\n- `..._chosen_on_eval`: the best over all thresholds, chosen on the evaluated data itself: optimistic"


def model_card(
    result: RunResult,
    plan: RankPlan,
    *,
    base: str,
    labels: int,
    key_mapping: dict[str, str] | None,
    preset: str,
    command: str,
) -> str:
    """The run's README.md: scores, ranks, counts and how to load the adapter; no `labels` for question answering."""
    arguments = f", num_labels={labels}" * bool(labels) + f", key_mapping={key_mapping!r}" * bool(key_mapping)
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
        blocks=len(plan.blocks),
        ranks=" ".join(map(str, plan.ranks)),
        adapter=plan.adapter_params,
        head=plan.head_params,
        backbone=plan.backbone_params,
        used=used_text(plan),
        preset=preset,
        profile_seconds=result.profile_seconds,
        reused=" (reused)" if result.profile_reused else "",
        train_seconds=result.train_seconds,
        difference=result.reload_check.largest_difference,
        checked=result.reload_check.examples,
        auto_class="AutoModelForSequenceClassification" if labels else "AutoModelForQuestionAnswering",
        arguments=arguments,
        command=command,
    )
    return text if plan.blocks[0].idim_in is not None else text.replace("![idim profile](profile.png)\n\n", "")


def used_text(plan: RankPlan) -> str:
    """How much of the budget the adapter uses."""
    if plan.budget_params is None:
        return f"the rule's own ranks, {plan.adapter_params:,} parameters"
    share = 100 * plan.adapter_params / plan.budget_params
    return f"{plan.adapter_params:,} of {plan.budget_params:,} used, {share:.1f} %"


def _row(evaluated: EvalResult) -> str:
    return f"| {evaluated.split} | " + " | ".join(f"{value:.4f}" for value in evaluated.metrics.values()) + " |"
