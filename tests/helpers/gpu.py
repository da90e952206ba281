"""Whether there is a CUDA device, the same runs on it and on the CPU, and who makes the host wait for it.

`python -m tests.helpers.gpu` fails where there is none: `make test-gpu` must not pass by skipping everything.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gelora_cli.core.devices import unusable_gpu
from gelora_cli.training.loop import Trainer
from tests.helpers.bench import Bench
from tests.helpers.metric_lines import losses_of

HIDDEN = {"CUDA_VISIBLE_DEVICES": ""}
"""With this environment a process sees no GPU."""
LIBRARY = "/transformers/"
"""In the path of a file of the library of models, whose own waits we can't take away."""
SHORT = ("task=cola", "budget=2500", "train.log_steps=1", "train.epochs=2", "train.checkpoint_steps=2")
"""A run of 12 steps with checkpoints."""
STOPPED_AT = 7


def missing_gpu() -> str:
    """Return why there is no CUDA device; empty where there is one."""
    if torch.cuda.is_available():
        return ""
    return unusable_gpu() or f"torch {torch.__version__} sees no CUDA device on this machine"


def on_cpu(commands: Sequence[Sequence[str]]) -> subprocess.Popen[str]:
    """Start one process without GPUs that does the commands one after the other."""
    words = [sys.executable, "-m", "tests.helpers.many", json.dumps(commands)]
    return subprocess.Popen(words, env=os.environ | HIDDEN, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process that must succeed, and return what it printed."""
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text[-3000:]
    return text


@contextlib.contextmanager
def recorded_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """Record for every optimizer step taken inside the files whose code made the host wait for the GPU."""
    steps: list[list[str]] = []
    take_step = Trainer.train_step

    def train_step(trainer: Trainer, *arguments: Any) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                take_step(trainer, *arguments)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        steps.append([warning.filename for warning in caught if "called a synchronizing" in str(warning.message)])

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", train_step)
        yield steps


def stop_at(monkeypatch: pytest.MonkeyPatch, bench: Bench, step: int, *words: str, model: str) -> None:
    """Run until before a step, as if the process had been killed there."""
    take_step = Trainer.train_step

    def train_step(trainer: Trainer, *arguments: Any) -> None:
        if trainer.state.step == step - 1:
            raise KeyboardInterrupt
        take_step(trainer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", train_step)
        assert bench.run(*words, model=model) == 130


def saved_adapter(bench: Bench) -> dict[str, torch.Tensor]:
    (path,) = (bench.only() / "adapter").glob("*.safetensors")
    return load_file(path)


class Twins:
    """The same runs on the GPU, in this process, and on the CPU, in another one.

    Attributes:
        gpu: name of a run -> its directory.
        cpu: the same of the runs on the CPU.
        waits: name -> for every step of the run on the GPU the files that made the host wait.
    """

    def __init__(
        self, root: Path, data: Path, models: dict[str, Path], runs: Mapping[str, tuple[str, Sequence[str]]]
    ) -> None:
        """Do the runs; each has a model kind and overrides."""
        gpu_benches = {name: Bench(root / "gpu" / name, data, models) for name in runs}
        cpu_benches = {name: Bench(root / "cpu" / name, data, models) for name in runs}
        commands = [cpu_benches[name].arguments(*words, model=kind) for name, (kind, words) in runs.items()]
        process = on_cpu(commands)
        self.waits: dict[str, list[list[str]]] = {}
        try:
            for name, (kind, words) in runs.items():
                with pytest.MonkeyPatch.context() as patch, recorded_waits(patch) as steps:
                    assert gpu_benches[name].run(*words, model=kind) == 0, name
                self.waits[name] = steps
            finish(process)
        finally:
            process.kill()
        self.gpu = {name: bench.only() for name, bench in gpu_benches.items()}
        self.cpu = {name: bench.only() for name, bench in cpu_benches.items()}

    def losses(self, name: str) -> tuple[list[float], list[float]]:
        """Return the losses of all steps, of the run on the GPU and of that on the CPU."""
        return losses_of(self.gpu[name]), losses_of(self.cpu[name])


if __name__ == "__main__":
    if reason := missing_gpu():
        sys.exit(f"make test-gpu: {reason}. Nothing was tested: it needs a CUDA device (gelora doctor says more).")
    print(f"testing on {torch.cuda.device_count()} x {torch.cuda.get_device_name()}, torch {torch.__version__}")
