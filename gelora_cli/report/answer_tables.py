"""Tests over tasks as tables of text; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gelora_cli.report.questions import AcrossTasks, Answer
from gelora_cli.report.tables import NONE, Table, number

if TYPE_CHECKING:
    from gelora_cli.report.power import Power

TITLES = (
    "first",
    "second",
    "in words",
    "difference, points",
    "95 % interval",
    "p",
    "p, corrected",
    "tasks won, lost",
    "seeds",
    "shown at 80 %, points",
    "seeds for half a point",
)
CAPTION = (
    "the difference is the mean over the tasks, each counted once, and what is said holds for these tasks. The p that "
    "is corrected over all lines of this question decides. Shown at 80 % is the smallest difference that such a test "
    "shows with that chance."
)


def answer_tables(answers: Sequence[Answer], power: Sequence[Power]) -> Iterator[Table]:
    """Return a table for each question and board: a line for each contrast over the tasks, with what it could show."""
    for answer in answers:
        for board in dict.fromkeys(one.board for one in answer.across):
            yield answer_table(answer, board, power)


def answer_table(answer: Answer, board: str, power: Sequence[Power]) -> Table:
    """Return the table of one question on one board, which is given in words as its contrasts have it."""
    by_contrast = {(one.first, one.second): one for one in power if one.board == board}
    members = [one for one in answer.across if one.board == board]
    tasks = ", ".join(dict.fromkeys(task for one in members for task in one.tasks))
    lines = tuple(_line(one, by_contrast.get((one.first, one.second))) for one in members)
    return Table(f"{answer.question.text} {board}; {tasks}: {CAPTION}", TITLES, lines)


def _line(across: AcrossTasks, power: Power | None) -> tuple[str, ...]:
    """Return the cells of a contrast in the order of `TITLES`."""
    interval = NONE if across.low is None else f"{number(across.low, 2)} to {number(across.high, 2)}"
    detectable, needed = NONE, NONE
    if power is not None:
        detectable = f"{power.detectable:.2f}"
        needed = power.half_a_point_takes
    return (
        across.first,
        across.second,
        across.verdict,
        f"{round(across.difference, 2) + 0.0:+.2f}",  # no -0.00
        interval,
        number(across.p, 3) or NONE,
        number(across.p_corrected, 3) or NONE,
        f"{across.tasks_won}, {across.tasks_lost}",
        str(across.seeds),
        detectable,
        needed,
    )
