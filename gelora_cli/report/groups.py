"""Step 3 of a comparison: which rows may be compared with each other; no torch.

`group_rows` is the entry point.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gelora_cli.report.rows import Row, trial_mark
from gelora_cli.report.settings import VARIANT, Settings, describe_differences

METHOD_SETTINGS = ("method.", "profile.", "ranks.", "train.learning_rate")
"""Settings that methods may differ in and still be compared: those of the method, and the learning rate it needs."""


class GroupKey(NamedTuple):
    """What rows that are compared have in common.

    Attributes:
        settings: those that are not the method's.
        params: the bound in parameters; under `auto` what GeLoRA's own ranks cost, 0 of exempt methods.
        modules: the adapted modules; empty for a method whose budget no choice of modules changes, such as adapters
            under a bound in parameters, and exempt methods.
    """

    task: str
    model: str
    protocol: str
    settings: Settings
    budget: str
    params: int
    modules: str

    def accepts(self, other: GroupKey) -> bool:
        """Return whether rows of `other`, which may have no bound or no modules, are compared with these, too."""
        same_runs = self[:4] == other[:4]  # task, model, protocol, settings
        same_bound = not other.params or (self.budget, self.params) == (other.budget, other.params)
        return same_runs and same_bound and other.modules in ("", self.modules)


class BoardKey(NamedTuple):
    """What groups of several tasks have in common where a method is compared over these tasks.

    Settings such as the number of epochs may differ from task to task.
    """

    model: str
    budget: str
    protocol: str
    modules: str
    smoke: bool
    on_holdout: bool

    def __str__(self) -> str:
        modules = f", modules {self.modules}" if self.modules else ""
        trial = trial_mark(smoke=self.smoke, on_holdout=self.on_holdout)
        return f"{self.model}, budget {self.budget}{modules}, protocol {self.protocol}{trial}"


@dataclass(frozen=True)
class RowGroup:
    """Rows that may be compared with each other, under a name in words; exempt rows stand with those of each budget."""

    name: str
    rows: tuple[Row, ...]
    key: GroupKey

    @property
    def board(self) -> BoardKey:
        """Return what it has in common with groups of other tasks over which a method is one."""
        first = self.rows[0]
        return BoardKey(first.model, self.key.budget, first.protocol, self.key.modules, first.smoke, first.on_holdout)

    def find_row(self, name: str) -> Row | None:
        """Return the row of this name, or the only one of this method, also as a control that the row shows."""
        named = rows_by_name(self.rows).get(name)
        matching = [row for row in self.rows if name in row.names] or [row for row in self.rows if row.is_of(name)]
        return named or (matching[0] if len(matching) == 1 else None)


def group_rows(rows: Sequence[Row]) -> list[RowGroup]:
    """Group rows by task, model, budget in parameters, adapted modules, protocol, data and training settings."""
    by_key: dict[GroupKey, list[Row]] = {}
    for row in rows:
        by_key.setdefault(_group_key(row), []).append(row)
    groups = _merge_accepted(by_key)
    return [RowGroup(_group_name(key, groups), tuple(members), key) for key, members in groups.items()]


def groups_by_board(groups: Iterable[RowGroup]) -> dict[BoardKey, list[RowGroup]]:
    """Return the groups over whose tasks a method is compared, in the order of their first ones."""
    boards: dict[BoardKey, list[RowGroup]] = {}
    for group in groups:
        boards.setdefault(group.board, []).append(group)
    return boards


def rows_by_name(rows: Iterable[Row]) -> dict[str, Row]:
    """Return the rows of one task by what tells them apart among these alone.

    A control that a row shows has a name, too. A method has its bare name where it has one row. A form of its update is
    named after it alone, whatever the rates of both are, so that a name is the same on every task. A row's own name
    says also what tells it from other boards.
    """
    by_form: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_form.setdefault((row.method, _variant(row)), []).append(row)
    named: dict[str, Row] = {}
    for members in by_form.values():
        for row in members:
            ending = describe_differences(row.key.settings, [other.key.settings for other in members])
            for method in row.methods:
                named.setdefault(method + ending, row)
    return named


def _variant(row: Row) -> str:
    """Return the form of the update as its settings name it; empty for plain LoRA."""
    return dict(row.key.settings).get(VARIANT, "")


def display_name(row: Row) -> str:
    """Return the row's name, marked where the budget does not bind it."""
    return f"{row.name} (exempt)" if row.exempt else row.name


def _group_key(row: Row) -> GroupKey:
    """Return what a row must have in common with others to be compared with them."""
    settings = dict(row.key.settings)
    shared = tuple((key, value) for key, value in row.key.settings if not key.startswith(METHOD_SETTINGS))
    plan = row.runs[0].plan
    # A saved plan brings its modules along; the configuration does not say them.
    modules = plan.modules if "ranks.plan" in settings else settings.get("method.modules", "")
    # `auto` names no number. There the bound is what GeLoRA's own ranks cost.
    params = 0 if row.exempt else plan.budget_params or plan.auto_params
    return GroupKey(row.task, row.model, row.protocol, shared, row.budget, params, modules)


def _merge_accepted(by_key: dict[GroupKey, list[Row]]) -> dict[GroupKey, list[Row]]:
    """Add rows that have no modules, or no bound, at the end of every group that accepts them.

    Groups with modules and a bound come first, so that all of them are there when a row without them is added.
    """
    groups: dict[GroupKey, list[Row]] = {}
    for key in sorted(by_key, key=lambda key: (not key.modules, not key.params)):
        accepting = [group for group in groups if group.accepts(key)]
        for group in accepting:
            groups[group] += by_key[key]
        if not accepting:
            groups[key] = list(by_key[key])
    return groups


def _group_name(key: GroupKey, keys: Iterable[GroupKey]) -> str:
    """Return task, model, budget and protocol, and the settings in which groups of the same differ."""
    trial = _trial_text(key)
    similar = [
        _all_settings(other)
        for other in keys
        if other[:3] == key[:3] and other.budget == key.budget and _trial_text(other) == trial
    ]
    differences = describe_differences(_all_settings(key), similar)
    return f"{key.task}, {key.model}, budget {key.budget}, protocol {key.protocol}{differences}{trial}"


def _trial_text(key: GroupKey) -> str:
    """Return the marks of short trials and of values on held-out rows, which tell groups apart."""
    settings = dict(key.settings)
    return trial_mark(smoke="smoke" in settings, on_holdout="holdout" in settings)


def _all_settings(key: GroupKey) -> Settings:
    """Return the settings with modules and bound, where the group has them."""
    settings = list(key.settings)
    if key.modules:
        settings.append(("modules", key.modules))
    if key.params:
        settings.append(("parameters", f"{key.params:,}"))
    return tuple(settings)
