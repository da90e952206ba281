"""What `gelora tune tune.budgets=[...]` prints: what it would take, the table of budgets, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gelora_cli.commands.base import relative
from gelora_cli.commands.study_text import estimated_hours
from gelora_cli.commands.terminal import labelled, wrapped
from gelora_cli.core.artifacts.budgets import BudgetCell, BudgetStudy, MarginTest
from gelora_cli.core.artifacts.study import Study
from gelora_cli.core.messages import join_names
from gelora_cli.launchers.job import Outcome
from gelora_cli.report.text_table import format_table, terminal_width

HEADER = ("method", "budget", "parameters", "mean", "95 % interval", "below largest", "p worse", "p within", "shown")
LEFT_OUT_FIRST = ("parameters", "p within", "p worse", "95 % interval")


def budget_text(study: BudgetStudy, file: Path, picture: Path) -> str:
    """Return the table of a study of budgets, its files, and a sentence for each method."""
    tests = {(test.label, test.budget): test for test in study.tests}
    rows = [_row(cell, tests.get((cell.label, cell.budget))) for cell in study.cells]
    about = (
        f"mean: {study.reported} over {len(study.seeds)} seeds on {study.drawn}; p worse and p within: one-sided tests "
        f"against a difference of {study.margin:g}, corrected over the budgets of a method"
    )
    lines = ["", format_table(HEADER, rows, width=terminal_width(), optional=LEFT_OUT_FIRST), "", wrapped(about), ""]
    lines += [labelled("study", str(relative(file))), labelled("picture", str(relative(picture))), ""]
    lines += [wrapped(answer.sentence) for answer in study.answers]
    return "\n".join(lines)


def unequal_trials_text(studies: Sequence[Study]) -> str:
    """Return that methods were tuned with fewer trials than others, since some failed; empty if none was."""
    fewer = []
    for study in studies:
        for method in study.methods:
            done = sum(trial.status == "done" for trial in method.trials)
            if done < study.trials_per_method:
                fewer.append(f"{method.label} at {study.budget} with {done} of {study.trials_per_method}")
    if not fewer:
        return ""
    return wrapped(
        f"Some trials failed, so that not all were tuned alike: {join_names(fewer)}. Give the same command again to "
        "try them once more."
    )


def budget_dry_run_text(labels: Sequence[str], outcomes: Sequence[Outcome], trials: int, seeds: int) -> str:
    """Return how many runs there would be, and about how many hours."""
    header = ("method and budget", "runs", "minutes a run", "hours")
    runs = trials + seeds
    table, hours, measuring = estimated_hours(header, labels, outcomes, runs)
    total = (
        f"{len(labels) * runs} runs ({trials} trials and {seeds} seeds for each method and budget), about "
        f"{hours:.2f} hours one after the other, of which {measuring:.2f} for profiles and signals; runs "
        "that are done are not run again, and a wider range adds to them"
    )
    return "\n".join(["", table, "", wrapped(total)])


def _row(cell: BudgetCell, test: MarginTest | None) -> list[str]:
    """Return the cells of a line; the largest budget has no test."""
    interval = "-" if cell.low is None or cell.high is None else f"{cell.low:.4f} to {cell.high:.4f}"
    line = [cell.label, cell.budget, f"{cell.params:,}", f"{cell.mean:.4f}", interval]
    if test is None:
        return [*line, "-", "-", "-", "largest"]
    shown = "not tested" if test.p_worse is None else "nothing"
    if test.shown_worse:
        shown = "worse"
    elif test.shown_within:
        shown = "within the margin"
    return [
        *line,
        f"{test.difference:+.4f}",
        "-" if test.p_worse_corrected is None else f"{test.p_worse_corrected:.3f}",
        "-" if test.p_within_corrected is None else f"{test.p_within_corrected:.3f}",
        shown,
    ]
