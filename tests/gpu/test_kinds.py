"""Every model kind and task kind on the GPU as on the CPU, and every signal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.core.registries import SIGNALS
from tests.helpers.bench import Bench, predictions, result_of
from tests.helpers.gpu import Twins, finish, on_cpu
from tests.helpers.squad_runs import arguments as squad_arguments
from tests.helpers.tiny import KINDS

pytestmark = pytest.mark.gpu

TOLERANCE = 2e-4
SHORT = ("model.dropout=0", "train.log_steps=1", "method=gelora", "budget=rank:2")
NAMES = (*KINDS, "regression", "squad", "squad_v2")


@pytest.fixture(scope="module")
def twins(
    tmp_path_factory: pytest.TempPathFactory, glue_dir: Path, squad_dir: Path, tiny_models: dict[str, Path]
) -> Twins:
    runs: dict[str, tuple[str, list[str]]] = {kind: (kind, ["task=cola", *SHORT]) for kind in KINDS}
    runs["regression"] = "roberta", ["task=stsb", *SHORT]
    for task in ("squad", "squad_v2"):
        runs[task] = "bert", squad_arguments(squad_dir, *SHORT, task=task)
    return Twins(tmp_path_factory.mktemp("kinds"), glue_dir, tiny_models, runs)


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_predictions_are_those_of_the_cpu(twins: Twins, name: str) -> None:
    gpu, cpu = twins.losses(name)
    assert len(gpu) >= 4 and gpu == pytest.approx(cpu, rel=TOLERANCE)
    assert result_of(twins.gpu[name]).reload_check.passed
    rows = [predictions(side[name]) for side in (twins.gpu, twins.cpu)]
    assert [row["id"] for row in rows[0]] == [row["id"] for row in rows[1]]
    if name == "regression":
        values = [[row["prediction"] for row in side] for side in rows]
        assert values[0] == pytest.approx(values[1], abs=1e-3)
    else:  # a near tie may fall either way
        same = sum(a["prediction"] == b["prediction"] for a, b in zip(*rows, strict=True))
        assert same >= len(rows[0]) - 1


def numbers(values: Any, path: str = "") -> dict[str, float]:
    """Return every number of nested JSON by its path; times are left out."""
    if isinstance(values, dict):
        parts = {f"{path}/{key}": value for key, value in values.items() if "seconds" not in key}
    elif isinstance(values, list):
        parts = {f"{path}/{index}": value for index, value in enumerate(values)}
    else:
        return {path: float(values)} if isinstance(values, int | float) and not isinstance(values, bool) else {}
    found: dict[str, float] = {}
    for name, value in parts.items():
        found |= numbers(value, name)
    return found


def test_every_signal_is_that_of_the_cpu(tmp_path: Path, glue_dir: Path, tiny_models: dict[str, Path]) -> None:
    words = ["task=cola", f"signals={','.join(SIGNALS.names())}", "model.dropout=0", "profile.max_examples=80"]
    sides = {side: Bench(tmp_path / side, glue_dir, tiny_models) for side in ("gpu", "cpu")}
    process = on_cpu([sides["cpu"].arguments(*words, command="profile")])
    assert sides["gpu"].run(*words, command="profile") == 0
    finish(process)
    files = {side: {path.name: path for path in (tmp_path / side).rglob("*.json")} for side in sides}
    compared = {"profile.json", *(name for name in files["cpu"] if name.startswith("signal-"))}
    assert len(compared) == len(SIGNALS.names()) and compared <= files["gpu"].keys()
    for name in compared:
        gpu, cpu = (numbers(json.loads(files[side][name].read_text())) for side in ("gpu", "cpu"))
        assert gpu.keys() == cpu.keys()
        assert [path for path in cpu if gpu[path] != pytest.approx(cpu[path], rel=1e-3, abs=1e-9)] == [], name
