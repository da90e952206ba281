"""A generation task that is trained by two processes, in packed micro-batches, as by one process in padded batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gelora_cli.core import run_files
from tests.helpers.bench import Bench, result_of, without_times
from tests.helpers.warm import WARM

WORDS = (
    *("task=plural", "task.max_length=48", "task.max_new_tokens=2", "method=lora", "budget=rank:2", "model.dropout=0"),
    *("data.max_train_examples=40", "data.max_eval_examples=6", "profile.max_examples=64", "train.batch_size=16"),
    *("train.epochs=2", "train.warmup_ratio=0", "train.log_steps=1"),
)


@pytest.mark.distributed
def test_two_processes_train_packed_micro_batches_as_one_trains_whole_batches(
    tmp_path: Path, glue_dir: Path, tiny_models: dict[str, Path]
) -> None:
    one = Bench(tmp_path / "one", glue_dir, tiny_models)
    two = Bench(tmp_path / "two", glue_dir, tiny_models)
    assert one.run(*WORDS, model="llama") == 0
    divided = ("train.packing=true", "train.micro_batch_size=4", "launch.processes=2")
    done = WARM.run_gelora(*two.arguments(*WORDS, *divided, model="llama"))
    assert done.returncode == 0, done.stderr
    # The last batch of an epoch has 8 rows, and all rows learn unequal numbers of tokens.
    losses = []
    for bench in (one, two):
        losses.append([line["loss"] for line in without_times(bench.only()) if "loss" in line])
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    first, second = (load_file(bench.only() / run_files.ADAPTER / run_files.PEFT_WEIGHTS) for bench in (one, two))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=1e-4)
    assert result_of(two.only()).value == pytest.approx(result_of(one.only()).value, abs=1e-5)
