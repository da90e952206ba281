"""Trainings that are stopped and go on: bitwise the same weights and lines; checkpoints that are whole or not used."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gelora_cli.core import run_files
from gelora_cli.core.artifacts.result import EvalResult, TrainResult
from gelora_cli.core.distributed import make_accelerator
from gelora_cli.core.errors import GeloraError, RunError, StoppedError, UnusableError
from gelora_cli.core.files import append_line, file_sha256, truncate_file
from gelora_cli.core.processes import usable_cores, worker_threads
from gelora_cli.training.checkpoint import (
    TENSORS,
    Checkpoints,
    TrainState,
    latest_valid_checkpoint,
    saved_checkpoints,
    verify_checkpoint,
)
from tests.helpers.metric_lines import without_times
from tests.helpers.rivals import Case, case
from tests.helpers.train_settings import SETTINGS
from tests.helpers.training import fine_tune

METHODS = ("gelora", "adalora", "sora", "eva", "houlsby", "full", "cut")
AS_GELORA = ("eva", "cut")
"""Methods that train LoRA's matrices as GeLoRA does, from another start."""
KILLED = (
    *itertools.product(METHODS, ("last",), ("lora",)),
    *itertools.product([method for method in METHODS if method not in AS_GELORA], ("dev",), ("lora",)),
    *(pytest.param(method, "dev", "lora", marks=pytest.mark.slow) for method in AS_GELORA),
    ("gelora", "last", "lora_ga"),
)
"""Method, protocol, and variant of LoRA's update, of trainings that are killed.

The protocol `dev` also keeps the weights of the best epoch; `gelora` stands for those that keep the same ones.
"""
VALUES = (0.5, 0.9, 0.7)


STORED = """{
  "schema": "TrainState", "schema_version": 2,
  "step": 16, "examples": 128, "loss_examples": 0, "losses": [0.7646768093109131, 0.6783679127693176],
  "evaluations": [
    [{"split": "validation", "examples": 10, "metrics": {"accuracy": 0.5}, "reported": "accuracy",
      "collapsed": false, "seconds": 0.1, "remark": ""}],
    [{"split": "validation", "examples": 10, "metrics": {"accuracy": 0.9}, "reported": "accuracy",
      "collapsed": false, "seconds": 0.1, "remark": ""}]
  ],
  "best_epoch": 2, "settled_epoch": 1, "best_value": 0.9, "seconds": 1.4733179539998673,
  "evaluation_seconds": 8.199399962904863e-05, "processes": 1,
  "machine": "cpu, cpu (x86_64, 2 cores), torch 2.13.0+cpu", "metrics_bytes": 0,
  "metrics_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  "tensors_sha256": "", "threads": 1, "thread_settings": "OMP_NUM_THREADS=1"
}"""


class KilledError(Exception):
    """What ends a training in a test, at any point."""


def train(
    found: Case, directory: Path, *, die: Callable[[str, int], bool] = lambda kind, count: False, **changes: Any
) -> tuple[dict[str, torch.Tensor], TrainResult]:
    """Train three epochs of eight steps; `die(kind, count)` is asked before each line and evaluation."""
    attached = found.attach()
    counts = {"line": 0, "evaluation": 0}

    def count(kind: str) -> None:
        counts[kind] += 1
        if die(kind, counts[kind]):
            raise KilledError

    def record(values: dict[str, Any]) -> None:
        count("line")
        append_line(directory / run_files.METRICS, values)

    def evaluate(epoch: int) -> tuple[EvalResult, ...]:
        count("evaluation")
        return (EvalResult("validation", 10, {"accuracy": VALUES[epoch - 1]}, "accuracy", False, 0.1),)

    stop = changes.pop("stop", lambda: False)
    checkpoints = changes.pop("checkpoints", Checkpoints(directory, 3, None))
    result = fine_tune(
        attached,
        found.train,
        replace(SETTINGS, **({"epochs": 3, "learning_rate": 1e-2, "log_steps": 2} | changes)),
        pad_token_id=0,
        accelerator=make_accelerator("float32"),
        evaluate=evaluate,
        select=lambda: None,
        record=record,
        checkpoints=checkpoints,
        stop=stop,
    )
    return {name: tensor.detach().clone() for name, tensor in attached.trainable().items()}, result


def resume(directory: Path) -> None:
    """Do what `gelora run` does before it resumes."""
    state = latest_valid_checkpoint(directory)
    truncate_file(directory / run_files.METRICS, state.metrics_bytes if state else 0)


def same(one: tuple[dict[str, torch.Tensor], TrainResult], other: tuple[dict[str, torch.Tensor], TrainResult]) -> None:
    assert all(torch.equal(tensor, other[0][name]) for name, tensor in one[0].items())
    first, second = (replace(result, seconds=0.0, evaluation_seconds=0.0) for _, result in (one, other))
    assert first == second


@pytest.fixture
def bert(tiny_models: dict[str, Path]) -> Path:
    return tiny_models["bert"]


@pytest.mark.parametrize(("method", "protocol", "variant"), KILLED)
def test_a_killed_training_ends_as_if_it_never_was(
    bert: Path, tmp_path: Path, method: str, protocol: str, variant: str
) -> None:
    changes: dict[str, Any] = {} if variant == "lora" else {"variant": variant}

    def found() -> Case:
        return case(bert, method, **changes)

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    wanted = train(found(), whole, protocol=protocol)
    for kind, number in (("line", 3), ("evaluation", 1), ("line", 4), ("evaluation", 1), ("line", 2)):
        with pytest.raises(KilledError):
            train(found(), broken, protocol=protocol, die=lambda k, n, at=(kind, number): (k, n) == at)  # type: ignore[misc]
        resume(broken)
    torch.manual_seed(99)  # whatever ran before in the process that goes on
    resumed = train(found(), broken, protocol=protocol)
    same(wanted, resumed)
    assert without_times(whole) == without_times(broken)


def test_without_checkpoints_it_starts_from_scratch(bert: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    wanted = train(case(bert, "gelora"), whole)
    none = Checkpoints(broken, None, None)
    with pytest.raises(KilledError):
        train(case(bert, "gelora"), broken, checkpoints=none, die=lambda kind, number: number == 9)
    assert not (broken / run_files.CHECKPOINTS).exists()
    resume(broken)
    same(wanted, train(case(bert, "gelora"), broken, checkpoints=none))
    assert without_times(whole) == without_times(broken)


def test_a_request_to_stop_keeps_everything_up_to_the_step(bert: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    wanted = train(case(bert, "gelora"), whole)
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) == 13

    with pytest.raises(StoppedError, match=r"interrupted at step 1[12] of 24"):
        train(case(bert, "gelora"), broken, stop=stop)
    state = latest_valid_checkpoint(broken)
    assert state is not None
    assert state.step in (11, 12)
    resume(broken)
    same(wanted, train(case(bert, "gelora"), broken))
    assert without_times(whole) == without_times(broken)


def test_a_stop_says_that_a_loss_that_is_not_finite_is_not_saved(bert: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"stop": lambda: True, "checkpoints": Checkpoints(tmp_path, 100, None), "max_steps": 8}
    with pytest.raises(StoppedError, match="at step 1 of 8, saved in a checkpoint"):
        train(case(bert, "gelora"), tmp_path, **changes)
    found = case(bert, "gelora")
    for parameter in found.loaded.model.parameters():
        parameter.data.fill_(torch.nan)
    (kept,) = saved_checkpoints(tmp_path)
    shutil.rmtree(kept)
    with pytest.raises(StoppedError, match="at step 1 of 8, not saved because the loss is not finite"):
        train(found, tmp_path, **changes)
    assert not saved_checkpoints(tmp_path)


def test_the_clock_writes_checkpoints_too(bert: Path, tmp_path: Path) -> None:
    steps: list[int] = []

    class Watched(Checkpoints):
        def save(self, state: TrainState, tensors: dict[str, torch.Tensor]) -> None:
            steps.append(state.step)
            super().save(state, tensors)

    train(case(bert, "gelora"), tmp_path, checkpoints=Watched(tmp_path, None, 0.0))
    assert sorted(set(steps)) == list(range(1, 25))
    assert len(saved_checkpoints(tmp_path)) == 1


def test_only_what_trains_is_stored(bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    found = case(bert, "gelora")
    train(found, tmp_path)
    tensors = load_file(saved_checkpoints(tmp_path)[-1] / TENSORS)
    trained = sum(tensor.numel() for name, tensor in tensors.items() if name.startswith("parameter/"))
    assert trained == found.request.plan.adapter_params + found.loaded.map.head_params
    kinds = {name.split("/")[0] for name in tensors}
    assert kinds == {"parameter", "exp_avg", "exp_avg_sq", "step", "share"}


def test_a_checkpoint_says_its_threads_and_opens_without(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    train(case(bert, "gelora"), tmp_path, max_steps=4)
    state = latest_valid_checkpoint(tmp_path)
    assert state is not None
    assert (state.threads, state.thread_settings) == (torch.get_num_threads(), "OMP_NUM_THREADS=1")
    path = saved_checkpoints(tmp_path)[-1] / TrainState.FILE
    values = json.loads(path.read_text())
    older = {key: value for key, value in values.items() if key not in ("threads", "thread_settings", "sha256")}
    path.write_text(json.dumps(older))
    assert latest_valid_checkpoint(tmp_path) == replace(state, threads=0, thread_settings="")


def test_a_checkpoint_of_the_version_before_opens(tmp_path: Path) -> None:
    # `STORED` was written before the loop had a state of its own; only the digest of the tensors is ours.
    from safetensors.torch import save_file

    place = tmp_path / run_files.CHECKPOINTS / "step-00000016-0002"
    place.mkdir(parents=True)
    save_file({"share/loss_sum": torch.zeros(1)}, place / TENSORS)
    stored = json.loads(STORED) | {"tensors_sha256": file_sha256(place / TENSORS)}
    (place / TrainState.FILE).write_text(json.dumps(stored))
    checkpoint = Checkpoints(tmp_path, 1, None).latest()
    assert checkpoint is not None
    state = checkpoint.state
    assert (state.step, state.examples, state.losses) == (16, 128, (0.7646768093109131, 0.6783679127693176))
    assert [results[0].value for results in state.evaluations] == [0.5, 0.9]
    assert (state.best_epoch, state.settled_epoch, state.best_value, state.processes) == (2, 1, 0.9, 1)
    assert list(checkpoint.tensors) == ["share/loss_sum"]


def test_the_names_in_a_checkpoint_stay(bert: Path, tmp_path: Path) -> None:
    # A later version must find each of these under the same name.
    from safetensors.torch import load_file

    found = case(bert, "gelora")
    train(found, tmp_path, max_steps=8, protocol="dev")
    (path,) = saved_checkpoints(tmp_path)
    names = set(load_file(path / TENSORS))
    parameters = {name.removeprefix("parameter/") for name in names if name.startswith("parameter/")}
    assert {f"{kind}/{name}" for kind in ("exp_avg", "exp_avg_sq", "step", "best") for name in parameters} <= names
    assert {name for name in names if name.startswith("share/")} == {"share/random", "share/loss_sum"}
    written = json.loads((path / TrainState.FILE).read_text())
    # `loss_divisor` and `before` are younger than the stored text, which must load without them.
    assert written.keys() - {"sha256", "loss_divisor", "before"} == json.loads(STORED).keys()


def test_the_threads_of_workers_are_asked_of_a_process_like_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert worker_threads(2) == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert worker_threads(usable_cores()) == 1
    assert worker_threads(1) == torch.get_num_threads()


def test_a_damaged_checkpoint_is_named_and_not_used(bert: Path, tmp_path: Path) -> None:
    train(case(bert, "gelora"), tmp_path)
    (path,) = saved_checkpoints(tmp_path)
    spare = tmp_path / "spare"
    shutil.copytree(path, spare)

    def refused(message: str) -> None:
        with pytest.raises(GeloraError, match=message):
            verify_checkpoint(path, tmp_path)
        assert latest_valid_checkpoint(tmp_path) is None
        shutil.rmtree(path)
        shutil.copytree(spare, path)

    tensors = path / TENSORS
    tensors.write_bytes(tensors.read_bytes()[:-1])
    refused("is missing or damaged")
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    refused("is missing or damaged")
    tensors.unlink()
    refused("is missing or damaged")
    (path / TrainState.FILE).write_text("{")
    refused("is damaged")
    (path / TrainState.FILE).unlink()
    refused("can't be read")
    text = (spare / TrainState.FILE).read_text()
    (path / TrainState.FILE).write_text(text.replace('"step": 24', '"step": 23'))
    refused("was edited")
    path.rename(path.with_name("step-00000025-0003"))
    path = path.with_name("step-00000025-0003")
    refused("is that of step 24")
    shutil.rmtree(path)
    path = path.with_name("step-00000024-0003")
    shutil.copytree(spare, path)
    (path / TrainState.FILE).write_text(text.replace('"schema_version": ', '"schema_version": 1'))
    with pytest.raises(UnusableError, match=r"this gelora reads version 2.*delete the checkpoint"):
        latest_valid_checkpoint(tmp_path)
    shutil.rmtree(path)
    shutil.copytree(spare, path)
    metrics = tmp_path / run_files.METRICS
    text = metrics.read_text()
    metrics.write_text(text.replace("0", "1", 1))
    refused("was changed or cut")
    metrics.write_text(text[:-5])
    refused("was changed or cut")
    metrics.write_text(text + '{"later": 1}\n')
    assert verify_checkpoint(path, tmp_path).step == 24


def test_a_damaged_one_is_replaced_when_its_moment_comes_again(bert: Path, tmp_path: Path) -> None:
    train(case(bert, "gelora"), tmp_path, max_steps=12)
    (path,) = saved_checkpoints(tmp_path)
    checkpoints = Checkpoints(tmp_path, 1, None)
    state, tensors = checkpoints.latest() or (None, {})
    assert state is not None
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}  # of a memory map of the file
    (path / TENSORS).write_bytes(b"")
    (tmp_path / run_files.CHECKPOINTS / ".writing-1").mkdir()
    checkpoints.save(state, tensors)
    assert latest_valid_checkpoint(tmp_path) is not None
    assert [entry.name for entry in (tmp_path / run_files.CHECKPOINTS).iterdir()] == [path.name]


def test_losses_that_are_not_finite_leave_the_last_good_one(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the loss is"):
        train(case(bert, "gelora"), tmp_path, learning_rate=1e30, max_grad_norm=1e30, warmup_ratio=0.5)
    state = latest_valid_checkpoint(tmp_path)
    found = Checkpoints(tmp_path, 1, None).latest()
    assert state is None or (found is not None and all(torch.isfinite(tensor).all() for tensor in found[1].values()))


def test_a_checkpoint_half_written_leaves_the_one_before(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    train(case(bert, "gelora"), tmp_path, max_steps=12)
    (path,) = saved_checkpoints(tmp_path)
    checkpoints = Checkpoints(tmp_path, 1, None)
    state, tensors = checkpoints.latest() or (None, {})
    assert state is not None

    def full(_: Any, target: Path, *rest: Any) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(GeloraError, match="free space on the disk"):
        checkpoints.save(replace(state, step=13), tensors)
    assert saved_checkpoints(tmp_path) == [path]
    assert verify_checkpoint(path, tmp_path).step == 12
