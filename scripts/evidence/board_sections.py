"""The methods over the tasks: a table for each budget and choice of modules, and which has the highest average."""

from __future__ import annotations

from collections.abc import Iterable

from gelora_cli.report.leaderboard import Board, Entry
from gelora_cli.report.rows import Row
from scripts.evidence.claims import Claim
from scripts.evidence.findings import Findings
from scripts.evidence.markdown import NONE, Line, mean_sd, table

BOLD = "**Bold**: the best of those that the budget binds."
DAGGER = (
    "\N{DAGGER}: not shown to be worse than the best average, by a test over the tasks corrected over the others; the "
    "same runs chose the best, so that says no more."
)
COLUMNS = (
    "Methods that no budget binds stand last. *Trained at most*: the parameters of adapters while training, the most "
    "at any step; methods that move rank begin with more than they keep."
)

UNEQUAL_SEEDS = """\
Averages here are over the seeds that each method has, {few} to {many}. The contrasts of the questions take those that
both methods have, so a difference there is not always that of two averages here.
"""


def board_section(findings: Findings) -> str:
    """Return every board under its heading."""
    marks = [BOLD, DAGGER, COLUMNS] if any(map(has_mark, findings.boards)) else [BOLD, COLUMNS]
    parts = ["## The methods on every task\n", f"{' '.join(marks)}\n"]
    for number, board in enumerate(findings.boards, start=1):
        parts.append(f"### {board.title}\n")
        parts.append(board_table(findings, board, anchor=_anchor(number)))
        parts.append(_metrics(findings, board))
        parts += [f"Not tested: {note}.\n" for note in board.notes]
        seeds = {len(entry.shared_seeds) for entry in board.entries}
        if len(seeds) > 1:
            parts.append(UNEQUAL_SEEDS.format(few=min(seeds), many=max(seeds)))
    return "\n".join(parts)


def board_claims(findings: Findings) -> list[Claim]:
    """Return for every board which method has the highest average, and which are shown to be worse."""
    texts = findings.texts.board
    claims = []
    for number, board in enumerate(findings.boards, start=1):
        others = [entry for entry in board.entries if entry.against_best is not None and not entry.is_best]
        worse = _names(entry for entry in others if not entry.not_shown_worse)
        rest = _names(entry for entry in others if entry.not_shown_worse)
        if board.best:
            parts = [
                texts["best"].format(
                    best=_names(board.best),
                    average=f"{board.best[0].average:.1f}",
                    tasks=len(board.tasks),
                    board=f"; {board.title}" if len(findings.boards) > 1 else "",
                )
            ]
            parts += [texts["worse"].format(names=worse)] if worse else []
            parts += [texts["rest"].format(names=rest)] if rest else []
            sentence = " ".join([*parts, texts["chosen"]])
        else:
            sentence = texts["none"]
        claims.append(Claim(f"headline-{_anchor(number)}", sentence, _anchor(number)))
    return claims


def has_mark(board: Board) -> bool:
    """Return whether a method of a board has the mark of those not shown to be worse than the best."""
    return any(entry.not_shown_worse and not entry.is_best for entry in board.entries)


def peak_ratios(board: Board) -> dict[str, float]:
    """Return for methods that train more parameters than they keep how many times as many, the most on any task."""
    return {entry.name: entry.trained_params / entry.adapter_params for entry in board.entries if entry.trains_more}


def _names(entries: Iterable[Entry]) -> str:
    return ", ".join(f"`{entry.name}`" for entry in entries)


def _anchor(number: int) -> str:
    """Return the anchor of the table of a board, counted from 1."""
    return f"board-{number}"


def board_table(findings: Findings, board: Board, *, anchor: str = "", is_short: bool = False) -> str:
    """Return a line for each method: parameters, mean and standard deviation on each task, the average over them.

    Args:
        findings: what is said.
        board: the methods.
        anchor: what a link to the table names.
        is_short: leave out parameters, seeds, and standard deviations but for that of the average.
    """
    names = [findings.evidence.task_name(task) for task in board.tasks]
    entries = sorted(board.entries, key=lambda entry: entry.exempt)  # stable: within both, the order of the board
    lines = [Line(_cells(board, entry, is_short=is_short)) for entry in entries]
    sizes = () if is_short else ("parameters", "trained at most")
    titles = ("method", *sizes, *names, "average") + (() if is_short else ("seeds",))
    return table(titles, lines, anchor=anchor)


def _cells(board: Board, entry: Entry, *, is_short: bool) -> tuple[str, ...]:
    cells = [f"`{entry.name}`"]
    if not is_short:
        cells += [f"{entry.adapter_params:,}", f"{entry.trained_params:,}"]
    for task in board.tasks:
        row = entry.rows.get(task)
        text = NONE if row is None else _value(row, is_best=entry.name in board.best_on(task), is_short=is_short)
        cells.append(text)
    average = NONE if entry.average is None else mean_sd(entry.average, entry.sd)
    if entry.is_best:
        average = f"**{average}**"
    elif entry.not_shown_worse:
        average += " \N{DAGGER}"
    return (*cells, average) if is_short else (*cells, average, str(len(entry.shared_seeds)))


def _value(row: Row, *, is_best: bool, is_short: bool) -> str:
    factor = 1.0 if row.points_factor is None else row.points_factor
    sd = None if row.sd is None or is_short else factor * row.sd
    text = mean_sd(factor * row.mean, sd)
    if row.collapsed:
        text += f" ({row.collapsed} collapsed)"
    return f"**{text}**" if is_best else text


def _metrics(findings: Findings, board: Board) -> str:
    """Return what the values of each task are, how many rows they are on, and how many it was trained on."""
    texts = []
    for task in board.tasks:
        row = next(entry.rows[task] for entry in board.entries if task in entry.rows)
        name = findings.evidence.task_name(task)
        text = f"{name}: {row.metric.replace('_', ' ')} on {row.evaluated_examples:,} rows"
        trained = row.training_examples
        texts.append(text if trained is None else f"{text}, trained on {trained:,}")
    return f"{'; '.join(texts)}.\n"
