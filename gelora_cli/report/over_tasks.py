"""What a report asks of several tasks by itself: whether a method differs from uniform LoRA over them; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gelora_cli.report.comparison import Comparison
from gelora_cli.report.groups import RowGroup
from gelora_cli.report.leaderboard import Board
from gelora_cli.report.questions import Answer, Contrast, Question
from gelora_cli.report.runs import UNIFORM

if TYPE_CHECKING:
    from gelora_cli.report.power import Power


def answer_over_tasks(
    boards: Sequence[Board],
    groups: Sequence[RowGroup],
    comparisons: Sequence[Comparison],
    *,
    references: Sequence[str] = (UNIFORM,),
    ignore_trials: bool = False,
) -> list[Answer]:
    """Test every method against each reference over the tasks of boards of several tasks.

    Args:
        boards: the leaderboards; those of one task are asked nothing.
        groups: the rows that were compared.
        comparisons: the tested pairs of these groups.
        references: names of entries; one that no board has is asked nothing.
        ignore_trials: give a verdict also where unequal numbers of trials are behind the settings of two rows.

    Returns:
        An answer for each reference, corrected over its own contrasts on all boards.
    """
    from gelora_cli.report.answers import answer_questions  # scipy

    several = [board for board in boards if len(board.tasks) > 1]
    keys = {board.key for board in several}
    members = [group for group in groups if group.board in keys]
    questions = [question for name in references if (question := _question(name, several)) is not None]
    return answer_questions(questions, members, comparisons, ignore_trials=ignore_trials)


def power_over_tasks(answers: Sequence[Answer]) -> list[Power]:
    """Return what the test of each contrast over tasks can show, as one of those of its question."""
    from gelora_cli.report.power import power_of  # scipy

    power = []
    for answer in answers:
        tests = sum(across.p is not None for across in answer.across)
        power += [power_of(across, tests) for across in answer.across]
    return [one for one in power if one is not None]


def _question(reference: str, boards: Sequence[Board]) -> Question | None:
    """Return whether methods that have every task differ from one that has, too; None where there is no such pair."""
    contrasts: dict[Contrast, None] = {}
    for board in boards:
        complete = [entry.name for entry in board.entries if entry.average is not None]
        if reference in complete:
            contrasts |= {Contrast(name, reference): None for name in complete if name != reference}
    if not contrasts:
        return None
    name = "uniform LoRA" if reference == UNIFORM else reference
    return Question(
        id=reference, text=f"Which methods differ from {name} over these tasks?", contrasts=tuple(contrasts)
    )
