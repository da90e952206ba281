"""The grid's table: what is one row, and what it says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from gelora_cli.config.files import read_config, write_config
from gelora_cli.config.schema import ProfileConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.done import mark_done
from gelora_cli.report.grid import grid_table
from gelora_cli.report.groups import group_rows
from gelora_cli.report.rows import make_rows
from gelora_cli.report.runs import UnusedRun, collect
from tests.helpers.plans import PLAN
from tests.helpers.written_runs import write_run


def rows(table: str) -> dict[str, list[str]]:
    """Return the cells of the grid by method."""
    cells_of = {}
    for line in table.splitlines()[1:]:
        cells = re.split(r" {2,}", line.strip())
        cells_of[cells[3]] = cells[4:]
    return cells_of


def test_a_row_is_a_method_over_its_seeds(tmp_path: Path) -> None:
    for seed, value in enumerate((0.5, 0.7, 0.9)):
        write_run(tmp_path, "gelora", seed, value, collapsed=seed == 0)
    write_run(tmp_path, "lora", 0, 0.6)
    found = rows(grid_table([tmp_path]))
    share = f"{100 * PLAN.adapter_params / (PLAN.budget_params or 1):.1f} %"
    cost, peak = f"{PLAN.adapter_params:,}", f"{PLAN.adapter_params + 7:,}"
    assert found["gelora"] == ["accuracy", "0.7000", "0.2000", "3", cost, share, peak, "2.5", "5.0", "5", "1"]
    assert found["lora"] == ["accuracy", "0.6000", "-", "1", cost, share, peak, "0.5", "4.0", "5", "0"]


def test_plans_that_coincide_are_one_row(tmp_path: Path) -> None:
    for method in ("gelora", "lora", "random"):
        for seed in (0, 1):
            write_run(tmp_path, method, seed, 0.5, same=method == "lora" or seed == 0)
    assert sorted(rows(grid_table([tmp_path]))) == ["gelora = lora", "random"]
    write_run(tmp_path, "lora", 2, 0.9, same=True)
    found = rows(grid_table([tmp_path]))
    assert sorted(found) == ["gelora", "lora", "random"], "a seed that GeLoRA lacks is not lost"
    assert found["lora"][3] == "3"


def test_merged_runs_are_kept_and_their_unfinished_counted(tmp_path: Path) -> None:
    for method in ("gelora", "lora"):
        write_run(tmp_path, method, 0, 0.5, same=True)
    collected = collect([tmp_path])
    cells = {run.result.method: run.key for run in collected.runs}
    unused = [UnusedRun(tmp_path, "failed", "", cell) for cell in cells.values()]
    (row,) = make_rows(collected.runs, [*unused, UnusedRun(tmp_path, "copy", "", cells["lora"])])
    assert [run.result.method for run in row.runs] == ["gelora"]
    assert [run.result.method for run in row.all_runs] == ["gelora", "lora"]
    assert row.notes == "one seed, 1 copy left out, 2 failed"


def test_runs_of_other_settings_are_other_rows(tmp_path: Path) -> None:
    for rate, value in ((0.1, 0.5), (0.2, 0.7)):
        write_run(tmp_path, "gelora", 0, value, rate=rate)
    write_run(tmp_path, "lora", 0, 0.6)
    found = rows(grid_table([tmp_path]))
    assert sorted(found) == ["gelora (train.learning_rate=0.1)", "gelora (train.learning_rate=0.2)", "lora"]
    assert [row[1] for _, row in sorted(found.items())] == ["0.5000", "0.7000", "0.6000"]


def _change(directory: Path, *, smoke: bool = False, **changes: Any) -> None:
    """Give a written run other settings, and make it a short trial."""
    config = read_config(directory / run_files.CONFIG)
    sections = {name: replace(getattr(config, name), **values) for name, values in changes.items()}
    write_config(replace(config, smoke=smoke, **sections), directory / run_files.CONFIG)
    write_artifact(replace(read_artifact(RunResult, directory / RunResult.FILE), smoke=smoke), directory)
    mark_done(directory)


def test_a_short_trial_gives_no_row_another_name(tmp_path: Path) -> None:
    write_run(tmp_path, "gelora", 0, 0.5)
    limits = {"data": {"max_train_examples": 64}, "train": {"epochs": 1}}
    _change(write_run(tmp_path / "smoke", "gelora", 0, 0.5), smoke=True, **limits)
    made = make_rows(collect([tmp_path]).runs)
    assert sorted(row.name for row in made) == ["gelora", "gelora [smoke]"]
    groups = group_rows(made)
    assert len(groups) == 2 and not any("(" in group.name for group in groups)


def test_a_default_is_not_named_where_the_other_row_names_its_value(tmp_path: Path) -> None:
    write_run(tmp_path, "gelora", 0, 0.5)
    _change(write_run(tmp_path / "few", "gelora", 0, 0.5), data={"max_train_examples": 64})
    _change(write_run(tmp_path / "less", "gelora", 0, 0.5), data={"max_train_examples": 32})
    _change(write_run(tmp_path / "plan", "gelora", 0, 0.5), profile={"max_examples": 500})
    names = sorted(row.name for row in make_rows(collect([tmp_path]).runs))
    assert names == [
        "gelora",
        "gelora (max_train_examples=32)",
        "gelora (max_train_examples=64)",
        "gelora (profile.max_examples=500)",
    ]


def test_what_can_not_change_a_number_makes_no_row_of_its_own(tmp_path: Path) -> None:
    for seed, budget in ((0, "0.1M"), (1, "100000"), (2, "0.15M")):
        directory = write_run(tmp_path, "full", seed, 0.5)
        config = replace(read_config(directory / run_files.CONFIG), budget=budget, precision="auto")
        write_config(replace(config, profile=ProfileConfig(seed=seed)), directory / run_files.CONFIG)
        mark_done(directory)
    assert [line[2] for line in rows(grid_table([tmp_path])).values()] == ["0.0000"]


def test_rows_stand_in_the_order_of_the_methods(tmp_path: Path) -> None:
    for method in ("random", "full", "sora", "gelora", "adalora", "lora"):
        write_run(tmp_path, method, 0, 0.5)
    assert list(rows(grid_table([tmp_path]))) == ["gelora", "lora", "random", "adalora", "sora", "full"]


def test_only_finished_runs_count_and_each_once(tmp_path: Path) -> None:
    done = write_run(tmp_path, "gelora", 0, 0.5)
    unfinished = write_run(tmp_path, "gelora", 1, 0.9)
    (unfinished / run_files.DONE).unlink()
    assert [run.directory for run in collect([tmp_path, done]).runs] == [done]
    (done / "result.json").write_text("{")
    assert grid_table([tmp_path]) == ""
