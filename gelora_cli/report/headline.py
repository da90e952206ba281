"""The headline of a report's page: how uniform LoRA stands, in words; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gelora_cli.report.analysis import Analysis
from gelora_cli.report.comparison import Comparison
from gelora_cli.report.groups import display_name
from gelora_cli.report.leaderboard import Board, Entry
from gelora_cli.report.tables import is_reference

MOST_NAMES = 4
"""Methods that a headline names; of more it says how many."""
NO_VERDICT = ("no verdict", "not comparable")
"""How the words of a comparison begin that decides nothing."""


def headline(analysis: Analysis) -> str:
    """Say in a sentence or two how uniform LoRA stands: over tasks where there is a leaderboard, else on each task."""
    boards = [board for board in analysis.leaderboards if board.best and board.reference]
    if len(boards) == 1:
        return _describe_board(boards[0])
    return _count_boards(boards) if boards else _describe_pairs(analysis)


def _describe_board(board: Board) -> str:
    """Say whether uniform LoRA is the best of a leaderboard, or shown to be worse than the best, or neither."""
    reference = board.reference
    assert reference is not None
    best = board.best[0]
    where = f"Over {len(board.tasks)} tasks"
    if reference.is_best:
        others = [entry for entry in board.entries if entry.against_best is not None]
        worse = sum(_is_shown_worse(entry) for entry in others)
        ending = f"; {worse} of {len(others)} others are shown to be worse" if others else ""
        return (
            f"{where} no method is above uniform LoRA: it has the highest average, {best.average:.2f} points{ending}."
        )
    lead = f"{where} {best.name} has the highest average, {best.average:.2f} points"
    if reference.average is None:
        return f"{lead}; uniform LoRA lacks a task."
    if _is_shown_worse(reference):
        return f"{lead}, and uniform LoRA, {reference.average:.2f}, is shown to be worse."
    if reference.not_shown_worse:
        return f"{lead}, but uniform LoRA, {reference.average:.2f}, is not shown to be worse."
    return f"{lead}, and uniform LoRA has {reference.average:.2f}: no verdict."


def _is_shown_worse(entry: Entry) -> bool:
    """Return whether a test over the tasks shows that an entry is worse than the best."""
    test = entry.against_best
    return test is not None and test.is_shown and test.difference > 0


def _count_boards(boards: Sequence[Board]) -> str:
    """Say on how many leaderboards, as of several budgets, a method is shown to be above uniform LoRA."""
    names: dict[str, None] = {}
    for board in boards:
        if board.reference is not None and _is_shown_worse(board.reference):
            names[f"{board.best[0].name} at {board.key.budget}"] = None
    which = f"{len(boards)} leaderboards ({_listed([board.key.budget for board in boards])})"
    if not names:
        return f"On none of {which} is a method shown to be above uniform LoRA over the tasks."
    return (
        f"On {len(names)} of {which} a method is shown to be above uniform LoRA over the tasks: {_listed(list(names))}."
    )


def _describe_pairs(analysis: Analysis) -> str:
    """Say which rows the tests of single tasks show to differ from uniform LoRA."""
    references = {display_name(row) for row in analysis.rows if is_reference(row)}
    if not references:
        return "There is no uniform LoRA to compare with here."
    pairs = []
    for pair in analysis.comparisons:
        if (pair.first in references) != (pair.second in references):  # two of its learning rates are no question here
            pairs.append(pair)
    decided = [pair for pair in pairs if not pair.verdict.startswith(NO_VERDICT)]
    if not decided:
        return f"No verdict yet on what differs from uniform LoRA: {_why_none(pairs)}."
    tests = "the one comparison" if len(decided) == 1 else f"{len(decided)} comparisons"
    tasks = _tasks(analysis, decided)
    shown = [pair for pair in decided if pair.is_shown]
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
            yield f"{side}: {_listed(names)}."


def _listed(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    rest = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{', '.join(names[:MOST_NAMES])}{rest}"
