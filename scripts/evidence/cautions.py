"""What is to be held against a difference that a recommendation rests on."""

from __future__ import annotations

from gelora_cli.report.questions import AcrossTasks
from scripts.evidence.board_sections import peak_ratios
from scripts.evidence.claims import points
from scripts.evidence.findings import Findings
from scripts.evidence.rates import cost_of_factor


def cautions(findings: Findings, across: AcrossTasks) -> str:
    """Return the sentences, each with a blank before it; nothing where nothing is known against the difference."""
    sentences = findings.texts.sentences
    scale = findings.evidence.scale
    text = ""
    by_task = dict(zip(across.tasks, across.differences, strict=True))
    for task in scale.studied:
        if task in by_task and len(by_task) > 1:
            text += " " + sentences["caution_tuned"].format(task=task, signed=points(by_task[task]))
    for method in (across.first, across.second):
        cost = cost_of_factor(scale, method)
        if cost is not None:
            task = findings.evidence.task_name(cost[1])
            text += " " + sentences["caution_rate"].format(method=method, size=f"{cost[0]:.1f}", task=task)
    board = next(board for board in findings.boards if board.title == across.board)
    ratios = peak_ratios(board)
    if across.first in ratios:
        text += " " + sentences["caution_peak"].format(first=across.first, ratio=f"{ratios[across.first]:.1f}")
    return text
