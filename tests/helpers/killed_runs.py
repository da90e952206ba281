"""Runs that are killed at a step, and what their adapters are compared by."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from gelora_cli.core import run_files
from tests.helpers.bench import Bench


def kill_at_step(step: int, bench: Bench, *words: str, model: str) -> None:
    """Run in a forked process that kills itself in an optimizer step."""

    def run() -> None:
        steps = 0
        taken: Any = torch.optim.AdamW.step

        def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return taken(self, *args, **kwargs)

        torch.optim.AdamW.step = counted  # type: ignore[method-assign]
        os._exit(bench.run(*words, model=model))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(timeout=300)
    assert process.exitcode == -signal.SIGKILL


def check_equal_adapters(one: Path, other: Path) -> None:
    first, second = (load_file(path / "adapter" / run_files.PEFT_WEIGHTS) for path in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
