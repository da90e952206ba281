"""Sweeps are composed with fewer compositions, and to what Hydra's own sweep gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from gelora_cli.commands import sweep_composition
from gelora_cli.commands.sweep_composition import _as_dataclasses, _compose_by_hydra, compose_sweep
from gelora_cli.config.overrides import override_problems

GRIDS = {
    "groups, numbers and texts": [
        *("task=cola,rte", "model=minilm", "budget=rank:4,0.3M", "train.learning_rate=3e-4"),
        *("runs_dir=/tmp/a b/${x},other", "data.glue=/tmp/glue"),
    ],
    "keys of a method": ["method=lora", "method.dropout=0,0.1", "ranks.path=null", "seed=range(2)"],
    "a list among the values": ["method=lora", "trackers=[],[json_lines]", "seed=0,1"],
    "a mapping": ["method=lora", "train={epochs: 2}", "train.batch_size=8,16"],
    "one job": ["method=lora", "seed=3"],
}


def compositions(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the list to which each sweep that Hydra composes adds its overrides."""
    asked: list[list[str]] = []

    def compose(schema: str, flags: list[str], overrides: list[str]) -> list[sweep_composition.WordsAndConfig]:
        asked.append(overrides)
        return _compose_by_hydra(schema, flags, overrides)

    monkeypatch.setattr(sweep_composition, "_compose_by_hydra", compose)
    return asked


@pytest.mark.parametrize("overrides", GRIDS.values(), ids=GRIDS)
def test_jobs_are_those_of_hydras_own_sweep(overrides: list[str]) -> None:
    composed = compose_sweep("run", ["--multirun"], overrides)
    expected = _as_dataclasses(_compose_by_hydra("run", ["--multirun"], overrides))
    assert [job.words for job in composed] == [job.words for job in expected]
    assert [job.config for job in composed] == [job.config for job in expected]


def test_plain_values_need_no_composition_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = compositions(monkeypatch)
    jobs = compose_sweep("run", ["--multirun"], ["method=lora,gelora", "seed=0,1,2", "train.epochs=1,2"])
    assert asked == [["method=lora,gelora", "seed=0", "train.epochs=1"]]
    assert len({str(job.config) for job in jobs}) == 12


def test_a_group_that_is_called_as_a_key_is_left_to_hydra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("experiment/mine", "defaults:\n  - /protocol: dev\n"), ("protocol/dev", "seed: 5\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
    (tmp_path / "protocol" / "last.yaml").write_text("# @package _global_\nseed: 6\n")
    asked = compositions(monkeypatch)
    words = ["experiment=mine", "protocol=dev,last"]
    assert [job.config.seed for job in compose_sweep("run", ["--multirun", "--config-dir", str(tmp_path)], words)] == [
        5,
        6,
    ]
    assert asked[-1] == words


@pytest.mark.parametrize("word", ["seed=range(0)", "method=range(3,3)", "method=glob(lo*)", "seed=glob(*)"])
def test_a_sweep_without_values_is_refused(word: str) -> None:
    problems, good = override_problems("run", [word], None)
    assert len(problems) == 1 and problems[0].startswith(f"{word}: it names no value") and not good
