"""Which rows are compared with each other, and what came of it; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gelora_cli.artifacts import GeloraError
from gelora_cli.ranks import EXEMPT_BUDGET
from gelora_cli.report.rows import Row, differing
from gelora_cli.report.runs import Settings

if TYPE_CHECKING:
    from gelora_cli.report.significance import ComparedRow, Comparison

OF_A_METHOD = ("method.", "profile.", "ranks.", "train.learning_rate")
"""Settings that methods may differ in and still be compared: their own, and the learning rate that suits them."""

Group = tuple[str, str, str, str, Settings]


@dataclass(frozen=True)
class RowGroup:
    """Rows that may be compared with each other, under a name in words; exempt rows stand with those of each budget."""

    name: str
    rows: tuple[Row, ...]


def row_groups(rows: Sequence[Row]) -> list[RowGroup]:
    """The rows by equal task, model, budget, protocol, data and training settings."""
    groups: dict[Group, list[Row]] = {}
    for row in rows:
        groups.setdefault(_group(row), []).append(row)
    return [RowGroup(_name(group, groups), tuple(members)) for group, members in _with_exempt(groups).items()]


def comparisons(groups: Sequence[RowGroup]) -> tuple[list[Comparison], list[str]]:
    """Every pair of rows of each group, corrected over all of them; and why a group can't be compared, if any."""
    from gelora_cli.report.significance import compare_rows

    try:
        return compare_rows([row for group in groups for row in _compared(group)]), []
    except GeloraError:
        problems = [_problem(group) for group in groups]
    kept = [group for group, problem in zip(groups, problems, strict=True) if problem is None]
    found = compare_rows([row for group in kept for row in _compared(group)])
    return found, [problem for problem in problems if problem is not None]


def _compared(group: RowGroup) -> list[ComparedRow]:
    from gelora_cli.report.significance import ComparedRow

    runs = [{run.result.seed: run.directory for run in row.runs} for row in group.rows]
    return [ComparedRow(shown_name(row), group.name, by_seed) for row, by_seed in zip(group.rows, runs, strict=True)]


def _problem(group: RowGroup) -> str | None:
    """Why the runs of this group alone can't be compared, such as a metric that has no test."""
    from gelora_cli.report.significance import compare_rows

    try:
        compare_rows(_compared(group), resamples=1)
    except GeloraError as error:
        return f"{group.name}: {error}"
    return None


def shown_name(row: Row) -> str:
    """The row's name, marked where the budget does not bind it."""
    return f"{row.name} (exempt)" if row.exempt else row.name


def _group(row: Row) -> Group:
    shared = tuple((key, value) for key, value in row.cell[4] if not key.startswith(OF_A_METHOD))
    return (row.task, row.model, row.budget, row.protocol, shared)


def _with_exempt(groups: dict[Group, list[Row]]) -> dict[Group, list[Row]]:
    """Exempt rows at the end of every group that differs from theirs in the budget alone."""
    found = {group: list(members) for group, members in groups.items() if group[2] != EXEMPT_BUDGET}
    for group, members in groups.items():
        if group[2] == EXEMPT_BUDGET:
            hosts = [other for other in found if (*other[:2], *other[3:]) == (*group[:2], *group[3:])]
            for host in hosts:
                found[host] += members
            if not hosts:
                found[group] = list(members)
    return found


def _name(group: Group, groups: dict[Group, list[Row]]) -> str:
    task, model, budget, protocol, settings = group
    apart = differing(settings, (other[4] for other in groups if other[:4] == group[:4]))
    return f"{task}, {model}, budget {budget}, protocol {protocol}{apart}"
