"""What a model card says of a training: the model that it started from, its loss, and its ranks."""

from __future__ import annotations

from gelora_cli.allocation.formatting import budget_line, variant_lines
from gelora_cli.allocation.stability import describe_stability
from gelora_cli.config.class_weights import BALANCED, NONE
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.messages import escape_markdown
from gelora_cli.pipeline.accepted_map import describe_names
from gelora_cli.pipeline.card_facts import CardFacts


def origin_lines(result: RunResult, facts: CardFacts) -> list[str]:
    """Return which model was trained, with what an earlier run made of it."""
    # Names of models and labels are the user's: without escaping they could format the page, or add links to it.
    base = escape_markdown(facts.base)
    lines = [f"- base model: {base}"]
    if facts.config.model.accept_map:
        names = escape_markdown(describe_names(facts.config.model))
        lines.append(f"- where its linear layers are: found in the model itself, and accepted by the user: {names}")
    if facts.starts_from:
        earlier_runs = escape_markdown(", then ".join(facts.starts_from))
        lines.append(f"- starts from: {base}, merged with {earlier_runs}")
    for run, difference in result.start_differences.items():
        lines.append(
            f"- {escape_markdown(run)} trained on weights that were not in float32. It is merged into weights in "
            f"float32, whose last hidden states differ from its own by {difference:.2g} of their size"
        )
    return lines


def loss_lines(config: RunConfig) -> list[str]:
    """Return what was changed about the loss, and what that does to probabilities."""
    lines = []
    given, smoothing = config.task.class_weights, config.train.label_smoothing
    if given != NONE:
        weights = "balanced to the training rows" if given == BALANCED else " ".join(f"{number:g}" for number in given)
        lines.append(
            f"- class weights in the loss: {weights}. They shift the probabilities towards labels with a larger "
            "weight, away from how often a label occurs"
        )
    if smoothing:
        lines.append(f"- label smoothing: {smoothing:g}, so that probabilities stay away from 0 and 1")
    return lines


def rank_lines(result: RunResult, plan: RankPlan) -> list[str]:
    """Return the plan's ranks, and those that each module has at the end where they differ."""
    if not plan.blocks:
        return []
    unit = "ranks" if plan.unit == "rank" else f"{plan.unit}s"
    differs_by_module = any(row.module_ranks for row in plan.blocks)
    largest = " (the largest of its modules)" if differs_by_module else ""
    lines = [f"- {unit}{largest}, block 1 to {len(plan.blocks)}: {' '.join(map(str, plan.ranks))}"]
    lines += [f"- {text}" for text in (*plan.structure, *variant_lines(plan))]
    if differs_by_module or result.effective_ranks != plan.rank_pattern:
        by_block = []
        for row in plan.blocks:
            # A method that prunes may have removed a module: its rank is then 0.
            ranks = [result.effective_ranks.get(name, 0) for name in row.modules]
            by_block.append(" ".join(map(str, ranks)))
        lines.append(f"- in the end, by module: {', '.join(by_block)}")
    if plan.stability is not None:
        lines.append(f"- would other texts give these ranks? {describe_stability(plan.stability)}")
    return lines


def used_text(result: RunResult, plan: RankPlan) -> str:
    """Return how much of the budget the adapter uses, at the end and at most."""
    if plan.budget_params is None:
        return budget_line(plan)
    share = 100 * result.adapter_params / plan.budget_params
    used = f"budget {plan.budget}: {result.adapter_params:,} of {plan.budget_params:,} used, {share:.1f} %"
    if result.trained_params == result.adapter_params:
        return used
    return f"{used}; at most {result.trained_params:,} were trained at any time"
