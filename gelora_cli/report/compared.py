"""Which rows are compared with each other, and what came of it; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gelora_cli.core.errors import GeloraError
from gelora_cli.report.rows import Row, differing
from gelora_cli.report.runs import Settings

if TYPE_CHECKING:
    from gelora_cli.report.significance import ComparedRow, Comparison

OF_A_METHOD = ("method.", "profile.", "ranks.", "train.learning_rate")
"""Settings that methods may differ in and still be compared: their own, and the learning rate that suits them."""


class Group(NamedTuple):
    """What rows that are compared have in common; `params` is the bound, under `auto` what GeLoRA's own ranks cost.

    `modules` is empty for a method whose budget no choice of modules changes: adapters under a bound in parameters, and
    exempt ones, which have no `params` either.
    """

    task: str
    model: str
    protocol: str
    settings: Settings
    budget: str
    params: int
    modules: str

    def takes(self, guest: Group) -> bool:
        """Whether rows of `guest` are compared with these, too: what they have no say in may differ."""
        bound = not guest.params or (self.budget, self.params) == (guest.budget, guest.params)
        return self[:4] == guest[:4] and bound and guest.modules in ("", self.modules)


@dataclass(frozen=True)
class RowGroup:
    """Rows that may be compared with each other, under a name in words; exempt rows stand with those of each budget."""

    name: str
    rows: tuple[Row, ...]


def row_groups(rows: Sequence[Row]) -> list[RowGroup]:
    """The rows by equal task, model, budget in parameters, adapted modules, protocol, data and training settings."""
    groups: dict[Group, list[Row]] = {}
    for row in rows:
        groups.setdefault(_group(row), []).append(row)
    found = _with_guests(groups)
    return [RowGroup(_name(group, found), tuple(members)) for group, members in found.items()]


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
    settings = dict(row.cell[4])
    shared = tuple((key, value) for key, value in row.cell[4] if not key.startswith(OF_A_METHOD))
    plan = row.runs[0].plan
    modules = plan.modules if "ranks.plan" in settings else settings.get("method.modules", "")
    params = 0 if row.exempt else plan.budget_params or plan.auto_params
    return Group(row.task, row.model, row.protocol, shared, row.budget, params, modules)


def _with_guests(groups: dict[Group, list[Row]]) -> dict[Group, list[Row]]:
    """Rows that modules, or any budget, have no say in stand at the end of every group that takes them."""
    found: dict[Group, list[Row]] = {}
    for group in sorted(groups, key=lambda group: (not group.modules, not group.params)):
        hosts = [host for host in found if host.takes(group)]
        for host in hosts:
            found[host] += groups[group]
        if not hosts:
            found[group] = list(groups[group])
    return found


def _name(group: Group, groups: Iterable[Group]) -> str:
    like = [_said(other) for other in groups if other[:3] == group[:3] and other.budget == group.budget]
    apart = differing(_said(group), like) + ("" if dict(group.settings).get("smoke") is None else " [smoke]")
    return f"{group.task}, {group.model}, budget {group.budget}, protocol {group.protocol}{apart}"


def _said(group: Group) -> Settings:
    """The settings, and modules and bound where the method has them, as keys and texts."""
    more = {"modules": group.modules, "parameters": f"{group.params:,}" if group.params else ""}
    return (*group.settings, *((key, text) for key, text in more.items() if text))
