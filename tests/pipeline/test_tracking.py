"""Tracking: stable ranks of known matrices, Jacobians of known blocks, and trainings that don't notice it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gelora_cli.core import run_files
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import append_line
from gelora_cli.geometry.distinct_points import IdimEstimate
from gelora_cli.geometry.jacobians import stable_rank
from gelora_cli.geometry.probe import GeometryProbe, probe_tokens, undisturbed
from gelora_cli.methods.updates.checks import plain_model
from gelora_cli.plots.trajectories import CAVEATS, Snapshot, read_snapshots, trajectory_figure
from gelora_cli.trackers.json_lines import read_metric_lines
from tests.helpers.bench import Bench, predictions, result_of
from tests.helpers.metric_lines import without_times
from tests.helpers.rivals import Case, case, tune

ESTIMATE = IdimEstimate(2.0, 1.5, 2.5, None, None, 30, 0, 30, constant=False)


class LinearBlocks(nn.Module):
    """A body of blocks that are known matrices: each adds to its input what the matrix makes of it."""

    def __init__(self, matrices: list[torch.Tensor]) -> None:
        super().__init__()
        linears = [nn.Linear(matrix.shape[1], matrix.shape[0], bias=False) for matrix in matrices]
        for linear, matrix in zip(linears, matrices, strict=True):
            linear.weight.data.copy_(matrix)
        self.blocks = nn.ModuleList(linears)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            states = block(states)
        return states


def probe(body: Any, estimate: Any = lambda points: ESTIMATE, **changes: Any) -> GeometryProbe:
    """Make a probe of a body with `blocks`, on two probe tokens of random states (1, 5, 8)."""
    states = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(0))
    values: dict[str, Any] = {
        "states": lambda: [np.zeros((30, 2), np.float32)],
        "probes": [({"states": states}, 2), ({"states": states[:, :3]}, 0)],
        "updates": None,
        "linears": [],
    }
    return GeometryProbe(model=body, body=body, layers=body.blocks, estimate=estimate, **(values | changes))


def test_jacobians_of_known_matrices_have_their_stable_ranks() -> None:
    one, graded = torch.outer(torch.arange(1.0, 9.0), torch.ones(8)), torch.diag(torch.tensor([2.0] + [1.0] * 7))
    found = probe(LinearBlocks([torch.eye(8), graded, one])).measure()
    for key in ("jacobian_stable_ranks", "jacobian_low", "jacobian_high"):
        assert found[key] == pytest.approx([8.0, 1 + 7 / 4, 1.0])
    assert found["idims"] == [2.0]
    assert (found["idim_low"], found["idim_high"]) == ([1.5], [2.5])
    assert "update_stable_ranks" not in found


def test_updates_are_a_mean_over_the_linears_that_moved() -> None:
    moved = {"a": torch.eye(4), "b": torch.ones(4, 3), "c": torch.zeros(4, 4), "d": torch.full((2, 2), torch.inf)}
    found = probe(
        LinearBlocks([torch.eye(8)]), updates=lambda: moved, linears=[["a", "b", "c", "x"], ["c"], ["a", "d"]]
    )
    assert found.measure()["update_stable_ranks"] == [pytest.approx(2.5), None, None]


def test_what_can_not_be_measured_ends_no_run() -> None:
    def refuse(_: Any) -> IdimEstimate:
        raise GeloraError("a grid")

    found = probe(LinearBlocks([torch.eye(8) * torch.nan]), refuse).measure()
    assert found["idims"] == found["jacobian_stable_ranks"] == [None]
    json.dumps(found, allow_nan=False)


def test_probe_tokens_stand_in_the_middle_of_short_sequences() -> None:
    lengths = np.array([40, 12, 5, 13, 11, 12])
    assert probe_tokens(lengths, 3) == [(1, 6), (5, 6), (3, 6)]
    assert probe_tokens(lengths, 9)[3:] == [(0, 20), (4, 5), (2, 2)]


def test_modes_and_random_states_are_as_before(tiny_models: dict[str, Path]) -> None:
    model = case(tiny_models["bert"], "gelora").attach().model.train()
    plain_model(model).get_submodule("bert.embeddings").eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    with undisturbed(model):
        assert not any(module.training for module in model.modules())
        torch.rand(3)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_the_random_states_of_other_processes_gpus_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a list of devices torch opens every GPU that it counts.
    monkeypatch.setattr(torch.cuda, "device_count", lambda: pytest.fail("all GPUs were counted"))
    with undisturbed(nn.Linear(2, 2)):
        pass


@pytest.mark.parametrize("method", ["gelora", "adalora", "sora", "eva", "full", "bitfit", "houlsby"])
def test_updates_are_what_the_modules_do(tiny_models: dict[str, Path], method: str) -> None:
    # A linear's own output and its update's give what the module gives.
    from dataclasses import replace

    found: Case = case(tiny_models["bert"], method)
    start = {name: tensor.clone() for name, tensor in found.loaded.model.state_dict().items()}
    attached = replace(found, request=replace(found.request, keep_start=True)).attach()
    assert (attached.updates is None) is (method in ("bitfit", "houlsby"))
    if attached.updates is None:
        return
    assert all(stable_rank(update) == 0 for update in attached.updates().values())
    tune(found, attached)
    model: Any = plain_model(attached.model)
    model.eval()
    updates = attached.updates()
    assert set(updates) >= set(found.request.plan.rank_pattern)
    inputs = torch.randn(3, 32)
    for name in found.request.plan.rank_pattern or list(updates)[:2]:
        bias = attached.trainable().get(f"{name}.bias", start[f"{name}.bias"])
        wanted = inputs @ (start[f"{name}.weight"] + updates[name]).T + bias
        assert torch.allclose(model.get_submodule(name)(inputs), wanted, atol=1e-5), name
    assert any(bool(update.any()) for update in updates.values())  # AdaLoRA may leave a module nothing


TRACKED = ["profile.track=true", "profile.track_examples=40", "profile.track_tokens=2"]
RUN = ["task=cola", "budget=2500", "train.epochs=2", "train.log_steps=2"]


def test_an_observed_run_is_the_same_run(
    bench: Bench,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench.run(*RUN) == 0
    directory = bench.only()
    weights, rows, lines = (
        (directory / "adapter/adapter_model.safetensors").read_bytes(),
        predictions(directory),
        without_times(directory),
    )
    assert bench.run(*RUN, *TRACKED) == 0
    assert "this run was not tracked" in capsys.readouterr().out
    assert not read_snapshots(read_metric_lines(directory / run_files.METRICS))
    assert bench.run(*RUN, *TRACKED, "force=true") == 0
    assert bench.only() == directory
    assert (directory / "adapter/adapter_model.safetensors").read_bytes() == weights
    assert predictions(directory) == rows
    assert [line for line in without_times(directory) if "track" not in line] == lines
    snapshots = read_snapshots(read_metric_lines(directory / run_files.METRICS))
    assert [(snapshot.step, snapshot.epoch) for snapshot in snapshots] == [(0, 0), (6, 1), (12, 2)]
    check_snapshots(snapshots)
    assert "track.png" in (directory / "DONE").read_text()
    assert bench.run(*RUN, *TRACKED) == 0
    assert "this run was not tracked" not in capsys.readouterr().out
    figure = trajectory_figure(snapshots, result_of(directory))
    assert len(figure.axes) == 6
    assert figure.get_supxlabel() == CAVEATS
    assert all(axis.get_xlabel() for axis in figure.axes)


def check_snapshots(snapshots: list[Snapshot]) -> None:
    for snapshot in snapshots:
        assert [len(snapshot.values[key]) for key in ("idims", "idim_low", "jacobian_stable_ranks")] == [4, 4, 3]
        assert all(1 <= (value or 0) <= 32 for value in snapshot.values["jacobian_stable_ranks"])
    assert snapshots[0].values["update_stable_ranks"] == (None, None, None)
    assert all((value or 0) >= 1 for value in snapshots[-1].values["update_stable_ranks"])
    assert snapshots[0].values["jacobian_stable_ranks"] != snapshots[-1].values["jacobian_stable_ranks"]


def test_a_tracked_training_that_is_killed_keeps_its_course(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = Bench(tmp_path / "other", bench.data, bench.models)
    steps = [*RUN, *TRACKED, "train.checkpoint_steps=4"]
    assert bench.run(*steps) == 0
    append, count = append_line, 0

    def dying(path: Path, values: dict[str, Any]) -> None:
        nonlocal count
        count += "track" in values
        if count == 2:
            raise KeyboardInterrupt
        append(path, values)

    monkeypatch.setattr("gelora_cli.trackers.json_lines.append_line", dying)
    assert other.run(*steps) == 130
    monkeypatch.setattr("gelora_cli.trackers.json_lines.append_line", append)
    assert other.run(*steps) == 0
    assert "resumed from the checkpoint at step 6" in (other.only() / run_files.LOG).read_text()
    assert without_times(other.only()) == without_times(bench.only())
    assert sum("track" in line for line in without_times(other.only())) == 3
