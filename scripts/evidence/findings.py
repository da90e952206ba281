"""From the runs of complete rounds to everything that the page says: rows, boards, answers and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gelora_cli.metrics.definitions import Array
from gelora_cli.report.answers import answer_questions
from gelora_cli.report.comparison import FEWEST_SEEDS
from gelora_cli.report.groups import RowGroup, group_rows
from gelora_cli.report.leaderboard import Board, Entry, make_boards, points
from gelora_cli.report.questions import Answer
from gelora_cli.report.ranking import Ranking, rank_methods
from gelora_cli.report.relations import PlanGain, plan_gains
from gelora_cli.report.rows import Row, make_rows
from gelora_cli.report.runs import RowKey
from gelora_cli.report.significance import compare_groups
from scripts.evidence.claims import Texts, load_texts
from scripts.evidence.plan import Scale
from scripts.evidence.whole_rounds import Evidence, read_evidence


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the page is written from.

    Attributes:
        evidence: the runs and studies.
        texts: the questions, with the sentences of every outcome.
        groups: the rows that are compared, of complete rounds alone; none where no round is complete.
        boards: the methods over the tasks, for each budget and choice of modules.
        answers: of the questions that contrasts answer.
        gains: the plans whose agreement was measured, with their gains over uniform ranks.
        rankings: the mean ranks of the methods over the tasks of a board, by its title.
        over_budgets: those over the boards, by the averages over their tasks; None of a single board.
        problems: why a group of runs can't be compared.
    """

    evidence: Evidence
    texts: Texts
    groups: tuple[RowGroup, ...]
    boards: tuple[Board, ...]
    answers: tuple[Answer, ...]
    gains: tuple[PlanGain, ...]
    rankings: Mapping[str, Ranking]
    over_budgets: Ranking | None = None
    problems: tuple[str, ...] = ()

    @property
    def has_rounds(self) -> bool:
        """Return whether a round is complete."""
        return bool(self.groups)

    @property
    def has_tests(self) -> bool:
        """Return whether a contrast has a test, which takes three rounds."""
        return any(contrast.p is not None for answer in self.answers for contrast in answer.across)

    @property
    def is_provisional(self) -> bool:
        """Return whether a contrast is tested with fewer seeds than the plan has."""
        tested = [contrast for answer in self.answers for contrast in answer.across if contrast.p is not None]
        return any(contrast.seeds < self.evidence.scale.seeds for contrast in tested)


def find(scale: Scale, places: Sequence[Path]) -> Findings:
    """Read runs, and answer the questions.

    Args:
        scale: the plan.
        places: archives or directories of runs; those that are not there count as empty.
    """
    evidence = read_evidence(scale, places)
    texts = load_texts()
    asked = [question.asked() for question in texts.questions.values()]
    groups = group_rows(make_rows(evidence.runs))
    comparisons, problems = compare_groups(groups)
    boards = make_boards(groups, comparisons)
    rankings = {board.title: rank_board(board) for board in boards}
    return Findings(
        evidence=evidence,
        texts=texts,
        groups=tuple(groups),
        boards=tuple(boards),
        answers=tuple(answer_questions(asked, groups, comparisons)),
        gains=tuple(plan_gains(groups, comparisons)),
        rankings={title: ranking for title, ranking in rankings.items() if ranking is not None},
        over_budgets=rank_over_boards(boards),
        problems=tuple(problems),
    )


def rank_board(board: Board) -> Ranking | None:
    """Return the mean ranks of the methods over the tasks of a board; None below two tasks or methods.

    Methods that no budget binds are left out: they are not compared at equal parameters.
    """
    # Two names of the same runs would be one order that they agree on everywhere.
    distinct: dict[tuple[RowKey, ...], Entry] = {}
    for entry in board.entries:
        if not entry.exempt:
            distinct.setdefault(tuple(row.key for row in entry.rows.values()), entry)
    entries = list(distinct.values())
    values: dict[str, dict[str, float]] = {}
    for task in board.tasks:
        means = {entry.name: points(entry.rows[task]) for entry in entries if task in entry.rows}
        values[task] = {name: mean for name, mean in means.items() if mean is not None}
    return _ranked(values)


def seed_dependence(board: Board) -> float | None:
    """Return how much the means over tasks vary between seeds, over what they would on independent tasks.

    Of each method's differences d_ts from uniform LoRA, task t and seed s: the sum over methods of var_s(mean_t d_ts),
    over that of T^-2 sum_t var_s(d_ts). The test over tasks takes it as 1. None where nothing has three seeds.
    """
    uniform = board.reference
    joint, independent = 0.0, 0.0
    for entry in board.entries:
        if uniform is None or uniform.average is None or entry.average is None:
            continue
        seeds = sorted(set(entry.shared_seeds) & set(uniform.shared_seeds))
        if len(seeds) >= FEWEST_SEEDS and entry is not uniform:
            differences = np.array(
                [_of_seeds(entry.rows[task], seeds) - _of_seeds(uniform.rows[task], seeds) for task in board.tasks]
            )  # (T, S)
            joint += float(differences.mean(axis=0).var(ddof=1))
            independent += float(differences.var(axis=1, ddof=1).sum()) / len(board.tasks) ** 2
    return joint / independent if independent > 0 else None


def _of_seeds(row: Row, seeds: Sequence[int]) -> Array:
    """Return what seeds reached, in points, (S,)."""
    values = row.value_by_seed
    return (row.points_factor or 1.0) * np.array([values[seed] for seed in seeds])


def rank_over_boards(boards: Sequence[Board]) -> Ranking | None:
    """Return the mean ranks of the methods over boards, by their averages; None below two boards or methods."""
    values = {}
    for board in boards:
        averages = {entry.name: entry.average for entry in board.entries if not entry.exempt}
        values[board.title] = {name: average for name, average in averages.items() if average is not None}
    return _ranked(values)


def _ranked(values: Mapping[str, Mapping[str, float]]) -> Ranking | None:
    try:
        return rank_methods(values)
    except ValueError:
        return None
