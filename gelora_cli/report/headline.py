"""The headline of a report: what its tests say of uniform LoRA, in words; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gelora_cli.report.analysis import Analysis
from gelora_cli.report.comparison import LEVEL, Comparison
from gelora_cli.report.groups import display_name
from gelora_cli.report.tables import is_reference

MOST_NAMES = 4
"""Methods that a headline names; of more it says how many."""


def headline(analysis: Analysis) -> str:
    """Say in a sentence or two whether any method is shown to differ from uniform LoRA, and which."""
    references = {display_name(row) for row in analysis.rows if is_reference(row)}
    if not references:
        return "There is no uniform LoRA to compare with here."
    pairs = []
    for pair in analysis.comparisons:
        if (pair.first in references) != (pair.second in references):  # two of its learning rates are no question here
            pairs.append(pair)
    decided = [pair for pair in pairs if pair.p_corrected is not None and not pair.verdict.startswith("no verdict")]
    decided = [pair for pair in decided if not pair.verdict.startswith("not comparable")]
    if not decided:
        return f"No verdict yet on what beats uniform LoRA: {_why_none(pairs)}."
    tests = "the one comparison" if len(decided) == 1 else f"{len(decided)} comparisons"
    tasks = _tasks(analysis, decided)
    shown = [pair for pair in decided if pair.p_corrected is not None and pair.p_corrected < LEVEL]
    if not shown:
        return f"No method is shown to differ from uniform LoRA, in {tests} on {tasks}."
    verb = "shows" if len(shown) == 1 else "show"
    sides = " ".join(_sides(shown, references))
    return f"Of {tests} with uniform LoRA on {tasks}, {len(shown)} {verb} a difference. {sides}"


def _why_none(pairs: Sequence[Comparison]) -> str:
    """Return why pairs have no verdict: unequal trials, or the most frequent reason."""
    if not pairs:
        return "no row can be compared with it"
    reasons = [pair.verdict.partition(": ")[2] for pair in pairs]
    if any(pair.verdict.startswith("not comparable") for pair in pairs):
        return "unequal numbers of trials are behind the settings"
    return max(dict.fromkeys(reasons), key=reasons.count)


def _tasks(analysis: Analysis, pairs: Sequence[Comparison]) -> str:
    named = {pair.group for pair in pairs}
    tasks = dict.fromkeys(group.rows[0].task for group in analysis.groups if group.name in named)
    return ", ".join(tasks) if len(tasks) <= MOST_NAMES else f"{len(tasks)} tasks"


def _sides(shown: Sequence[Comparison], references: set[str]) -> Iterator[str]:
    """Say which rows are above uniform LoRA, and which below it."""
    above: dict[str, None] = {}
    below: dict[str, None] = {}
    for pair in shown:
        first_is_reference = pair.first in references
        name = pair.second if first_is_reference else pair.first
        is_above = (pair.difference > 0) != first_is_reference
        (above if is_above else below)[name] = None
    for side, names in (("Above it", list(above)), ("Below it", list(below))):
        if names:
            rest = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            yield f"{side}: {', '.join(names[:MOST_NAMES])}{rest}."
