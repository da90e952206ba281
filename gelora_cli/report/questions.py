"""What a comparison is asked, and its answers: contrasts of two methods, over the tasks of a report; no torch.

A question names its contrasts before the runs are looked at. Only these are tested for it, and corrected among
themselves: 8 methods on 4 tasks make 112 pairs, and a correction over all of them would hide everything. `answers.py`
computes the answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from gelora_cli.report.comparison import LEVEL, Comparison

if TYPE_CHECKING:
    from gelora_cli.report.bootstrap import Variances


SAME_RUNS = "no difference: both are the same runs, since they have one plan"


class Contrast(NamedTuple):
    """Two methods, or two rows by their names, of which the first is asked to be the better one."""

    first: str
    second: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question to a comparison.

    Attributes:
        id: a short name, such as `uniform`.
        text: the question in words.
        contrasts: what is tested for it.
        tasks: on which tasks; empty for all of the report.
    """

    id: str
    text: str
    contrasts: tuple[Contrast, ...]
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AcrossTasks:
    """`first` against `second` over several tasks; differences are in points, 0 to 100, and positive for `first`.

    Where there is no test, interval and p are None.

    Attributes:
        first: a method, or the name of a row.
        second: what it is compared with.
        board: model, budget, modules and protocol, in words.
        tasks: the tasks on which both are compared.
        differences: the mean difference on each of these tasks.
        parts: the parts of each difference's variance; empty where a task has no test.
        difference: the mean of `differences`, each task counted once.
        low: the lower end of its 95 % interval.
        high: the upper end.
        p: the two-sided p-value of this one contrast.
        p_corrected: Holm's over all contrasts of the question. It decides.
        seeds: the shared seeds, the fewest of any task.
        most_seeds: the most of any task.
        collapsed_first: runs of `first` that collapsed, over all of the tasks.
        collapsed_second: the same of `second`.
        same_ranks: tasks on which both have equal ranks with every seed, so that only their settings differ.
        problem: why there is no test or no verdict; empty where there is one.
        verdict: what came of it, in words.
    """

    first: str = ""
    second: str = ""
    board: str = ""
    tasks: tuple[str, ...]
    differences: tuple[float, ...]
    parts: tuple[Variances, ...] = ()
    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_corrected: float | None = None
    seeds: int = 0
    most_seeds: int = 0
    collapsed_first: int = 0
    collapsed_second: int = 0
    same_ranks: tuple[str, ...] = ()
    problem: str = ""
    verdict: str = ""

    @property
    def id(self) -> str:
        """Return the name by which a claim refers to it, such as `gelora-lora, minilm, budget 0.15M`."""
        return f"{self.first}-{self.second}, {self.board}"

    @property
    def tasks_won(self) -> int:
        """Return on how many tasks `first` has the higher mean."""
        return sum(difference > 0 for difference in self.differences)

    @property
    def tasks_lost(self) -> int:
        """Return on how many tasks `second` has the higher mean."""
        return sum(difference < 0 for difference in self.differences)

    @property
    def reason(self) -> str:
        """Return why there is no verdict, to stand behind words that say that there is none."""
        return self.problem.removeprefix("no verdict: ")

    @property
    def is_same_runs(self) -> bool:
        """Return whether both names are of the same runs, which leaves nothing to test."""
        return self.problem == SAME_RUNS

    @property
    def is_shown(self) -> bool:
        """Return whether a difference is shown after the correction."""
        return not self.problem and self.p_corrected is not None and self.p_corrected < LEVEL


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the tests of a question say.

    Its tests over tasks decide, corrected over its contrasts. Those on single tasks are a family of their own: they say
    where a difference is.

    Attributes:
        question: the question.
        comparisons: its contrasts on each single task, corrected over all of these, the first method first.
        across: its contrasts over the tasks, one for each model, budget, modules and protocol.
        verdict: the answer in words, a clause for each of `across`.
        problems: by contrast and board, why it is not compared there on some tasks, a sentence each.
    """

    question: Question
    comparisons: tuple[Comparison, ...]
    across: tuple[AcrossTasks, ...]
    verdict: str
    problems: Mapping[tuple[Contrast, str], tuple[str, ...]] = field(default_factory=dict)


def across_verdict(across: AcrossTasks, tests: int) -> str:
    """Say in plain words what came of a test over tasks that is one of so many."""
    if across.problem:
        return across.problem
    if across.is_shown:
        return describe_across(across)
    tasks = _count_tasks(len(across.tasks))
    text = f"no difference shown between {across.first} and {across.second} over {tasks}"
    if across.p is not None and across.p < LEVEL:
        return f"{text}: {describe_across(across)} alone, but not as one of {tests} tests"
    return text


def describe_across(across: AcrossTasks) -> str:
    """Say which one is better and by how many points, with the interval turned to a positive difference.

    Raises:
        ValueError: there is no interval.
    """
    if across.low is None or across.high is None:
        raise ValueError(f"{across.id} has no interval")
    better, worse, low, high = across.first, across.second, across.low, across.high
    if across.difference <= 0:
        better, worse, low, high = across.second, across.first, -across.high, -across.low
    return (
        f"{better} above {worse} by {abs(across.difference):.2f} points over {_count_tasks(len(across.tasks))} "
        f"(95 % interval {low:.2f} to {high:.2f})"
    )


def _count_tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"
