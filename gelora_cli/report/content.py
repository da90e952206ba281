"""All that a report shows, and what its first lines say of it; no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gelora_cli.plots.base import Picture
from gelora_cli.report.analysis import Analysis
from gelora_cli.report.comparison import Comparison
from gelora_cli.report.groups import RowGroup, display_name
from gelora_cli.report.headline import describe_alone
from gelora_cli.report.leaderboard import Board
from gelora_cli.report.rows import Row
from gelora_cli.report.runs import CONTRADICTION, UnusedRun
from gelora_cli.report.tables import Table, is_reference, number


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """All that a report shows.

    Attributes:
        analysis: the rows, and what came of comparing them.
        unused: the runs that give no number.
        published: published figures beside ours; None where none were given or none is of these tasks.
        left_out: how many runs scored on held-out training rows are left out.
    """

    title: str
    analysis: Analysis
    unused: tuple[UnusedRun, ...]
    pictures: tuple[Picture, ...]
    published: Table | None
    left_out: int = 0


def summary(content: ReportContent) -> Iterator[str]:
    """Say in a few lines what was compared, and the best row of each group beside uniform LoRA."""
    analysis = content.analysis
    rows = analysis.rows
    yield from _describe_boards(analysis)
    yield _count_runs(rows)
    duplicates = sum(len(row.duplicates) for row in rows)
    if duplicates:
        yield f"{_count(duplicates, 'run')} of controls with GeLoRA's plan and seeds: named in its row, counted once."
    contradictions = sum(run.status == CONTRADICTION for run in content.unused)
    if contradictions:
        yield (
            f"{_count(contradictions, 'run')} with another result than a run of equal settings and seed that counts: "
            "the first by path does, and the values are in the list below."
        )
    if content.unused:
        yield f"{_count(len(content.unused), 'more run')} gave no number; see the list below."
    smoke = sum(len(row.all_runs) for row in rows if row.smoke)
    if smoke:
        yield f"{_count(smoke, 'run')} with smoke=true: short trials on little data, in rows of their own, not results."
    on_holdout = sum(len(row.all_runs) for row in rows if row.on_holdout)
    if on_holdout:
        yield f"{_count(on_holdout, 'run')} scored on held-out training rows (data.holdout), in rows of their own."
    if content.left_out:
        yield (
            f"{_count(content.left_out, 'run')} scored on held-out training rows (data.holdout, as in trials of gelora "
            "tune) left out: held_out=true shows them."
        )
    collapsed = sum(row.collapsed for row in rows)
    if collapsed:
        yield f"{_count(collapsed, 'run')} collapsed: kept in every mean and test; a column has the mean without."
    if analysis.has_unequal_trials:
        counts = "several numbers of trials, or unknown ones, are behind the settings of rows that are compared"
        if analysis.testing.ignore_trials:
            yield f"Trials are ignored (ignore_trials=true): {counts}, and a difference may be that of the search."
        else:
            yield f"{counts.capitalize()}: no verdict for these pairs. gelora tune gives every method the same number."
    if analysis.testing.against:
        tests = _count(sum(pair.p is not None for pair in analysis.comparisons), "test")
        names = ", ".join(analysis.testing.against)
        yield f"Pairs are tested against {names} alone: p-values are corrected over {tests}."
    for group in analysis.groups:
        yield _describe_best(group, analysis.comparisons)


def _describe_boards(analysis: Analysis) -> Iterator[str]:
    """Say of each leaderboard which method is best over its tasks, and which are not shown to be worse."""
    for board in analysis.leaderboards:
        over = f"Over {_count(len(board.tasks), 'task')} ({board.title})"
        if not board.rivals:
            yield f"{over}: no method has a value on every task."
            continue
        if not board.best:
            yield f"{over}: {describe_alone(board)}"
            continue
        best = board.best[0]
        names = " and ".join(entry.name for entry in board.best)
        lead = f"{names} {'has' if len(board.best) == 1 else 'have'} the highest average, {best.average:.2f} points"
        sentences = [f"{over}: {lead}."]
        if text := _describe_others(board):
            sentences.append(text)
        yield " ".join(sentences)


def _describe_others(board: Board) -> str:
    """Say which methods a test over the tasks does not show to be worse than the best, and which it does."""
    tested = [entry for entry in board.entries if entry.against_best is not None]
    level = [entry.name for entry in tested if entry.not_shown_worse]
    worse = [entry.name for entry in tested if entry.against_best is not None and entry.against_best.is_shown]
    sentences = []
    if level:
        sentences.append(f"Not shown to be worse over these tasks: {', '.join(level)}.")
    if worse:
        sentences.append(f"Shown to be worse: {', '.join(worse)}.")
    if board.notes and not sentences:
        return f"No test against it: {board.notes[0]}."
    return " ".join(sentences)


def _count_runs(rows: Sequence[Row]) -> str:
    runs = [run for row in rows for run in row.all_runs]
    methods = list(dict.fromkeys(run.result.method for run in runs))
    tasks = list(dict.fromkeys(row.task for row in rows))
    seeds = sorted({run.result.seed for run in runs})
    parts = [
        f"{_count(len(methods), 'method')} ({', '.join(methods)})",
        f"{_count(len(tasks), 'task')} ({', '.join(tasks)})",
        f"{_count(len(seeds), 'seed')} ({', '.join(map(str, seeds))})",
    ]
    return f"{_count(len(runs), 'finished run')}: {', '.join(parts)}."


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _describe_best(group: RowGroup, comparisons: Sequence[Comparison]) -> str:
    """Name the best mean under the budget, with every row that has it, and how it compares with uniform LoRA."""
    # Rows without a budget stand beside those of every budget, so they can't be the best under one.
    rows = [row for row in group.rows if not row.exempt] or list(group.rows)
    highest = max(row.mean for row in rows)
    best = [row for row in rows if math.isclose(row.mean, highest, rel_tol=1e-12)]  # equal but for rounding
    names = ", ".join(row.name for row in best)
    if len(best) > 1:
        names = f"{', '.join(row.name for row in best[:-1])} and {best[-1].name}"
    if len(rows) == 1:
        lead = f"{names} is the only row"
    else:
        lead = f"of {len(rows)} rows {names} {'has' if len(best) == 1 else 'have'} the highest mean"
    optimistic = " (optimistic)" if best[0].protocol == "dev" else ""
    most_seeds = max(len(row.runs) for row in rows)
    spreads = "; ".join(dict.fromkeys(_describe_spread(row, most_seeds) for row in best))
    sentence = f"{group.name}{optimistic}: {lead}, {best[0].metric} {number(highest, best[0].digits)} ({spreads})."
    return f"{sentence} {_compare_with_reference(best, group, comparisons)}".rstrip()


def _describe_spread(row: Row, most_seeds: int) -> str:
    """Return the row's sd and seeds, and how many other rows have where they have more."""
    seeds = _count(len(row.runs), "seed")
    if len(row.runs) < most_seeds:
        seeds += f", others up to {most_seeds}"
    return seeds if row.sd is None else f"sd {number(row.sd, row.digits)}, {seeds}"


def _compare_with_reference(best: Sequence[Row], group: RowGroup, comparisons: Sequence[Comparison]) -> str:
    """Say how the best rows compare with uniform LoRA; nothing where they have no budget."""
    if best[0].exempt:
        return ""
    references = [row for row in group.rows if is_reference(row)]
    if not references:
        return "There is no uniform LoRA to compare it with."
    reference = max(references, key=lambda row: row.mean)  # of several learning rates, such as in a sweep, the best
    if reference in best:
        return "That is uniform LoRA." if len(best) == 1 else "Uniform LoRA is one of them."
    verdicts = []
    for row in best:
        names = {display_name(row), display_name(reference)}
        pairs = [pair for pair in comparisons if pair.group == group.name and {pair.first, pair.second} == names]
        verdicts.append(pairs[0].verdict if pairs else "not compared")
    return f"Uniform LoRA has {number(reference.mean, reference.digits)}: {'; '.join(dict.fromkeys(verdicts))}."
