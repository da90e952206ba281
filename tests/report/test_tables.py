"""Which row of a table is uniform LoRA, with which the others are compared, and what a row says of its plans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from gelora_cli.core.artifacts.plan import PlanStability
from gelora_cli.report.rows import Row
from gelora_cli.report.runs import read_run
from gelora_cli.report.settings import flatten
from gelora_cli.report.tables import NONE, is_reference, result_tables
from tests.helpers.written_runs import write_run


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lora", True),
        ("lora (train.epochs=3)", True),
        ("lora [smoke]", True),
        ("gelora = lora", True),
        ("gelora = lora [smoke]", True),
        ("gelora", False),
        ("adalora [smoke]", False),
    ],
)
def test_uniform_lora_is_the_reference(name: str, expected: bool) -> None:
    assert is_reference(cast("Row", SimpleNamespace(name=name))) is expected


def test_a_row_says_how_stable_its_plans_are(tmp_path: Path) -> None:
    def row(method: str, *verdicts: tuple[str, float | None]) -> Row:
        runs = []
        for seed, (verdict, agreement) in enumerate(verdicts):
            run = read_run(write_run(tmp_path, method, seed, 0.5))
            stability = PlanStability(verdict, agreement, None, (), (), ()) if verdict else None
            runs.append(replace(run, plan=replace(run.plan, stability=stability)))
        return Row(runs[0].key, method, tuple(runs))

    measured = row("gelora", ("stable", 0.91), ("stable", 0.93), ("unstable", 0.6))
    fixed, control, old = (
        row("shuffled", ("stable", None)),
        row("lora", ("", None)),
        row("random", ("not measured", None)),
    )
    (table,) = result_tables([measured, fixed, control, old])
    column = table.titles.index("stability of the plan (agreement)")
    assert [line[column] for line in table.lines] == ["stable (0.92), unstable (0.60)", "fixed", NONE, NONE]
    (table,) = result_tables([control, old])  # nothing is known of any row
    assert "stability of the plan (agreement)" not in table.titles


def test_settings_stand_as_they_are_typed() -> None:
    values = {"train": {"fast": True, "epochs": 3}, "smoke": False, "data": {"max_train_examples": None}}
    assert flatten(values) == {
        "train.fast": "true",
        "train.epochs": "3",
        "smoke": "false",
        "data.max_train_examples": "null",
    }
