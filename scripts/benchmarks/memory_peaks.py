"""Forecasts of memory beside measured peaks: training steps of small decoders and an encoder, each in its own process.

    python -m scripts.benchmarks.memory_peaks [--quick]

A peak is the largest resident set in two steps of gelora's Trainer, read every two milliseconds, above what the process
held before the model was built. On the CPU alone: a resident set says nothing about a GPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gelora_cli.models.memory import MemoryForecast, MemorySettings, MemoryShapes, forecast
from scripts.benchmarks.options import benchmark_parser, finish
from scripts.benchmarks.record import ROOT, BenchmarkRecord, Table, reached

if TYPE_CHECKING:
    from gelora_cli.models.operations import UpdateWork

RANK, STEPS, EVERY_SECONDS = 8, 2, 0.002
NEAR = 0.10
"""How far a forecast may lie from the peak."""
# glibc keeps freed memory otherwise, which a resident set would count.
RETURN_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model and how it is trained.

    Attributes:
        name: how the table names the model.
        width: of the hidden states.
        blocks: how many.
        inner: width of the feed-forward.
        vocabulary: tokens.
        rows: of a batch.
        longest: tokens of its longest row.
        precision: in which the model computes.
        dtype: in which its weights are stored.
        recompute: whether blocks are computed again on the way back.
        encoder: whether it is a BERT that tells two labels apart, in place of a Llama that writes text.
    """

    name: str
    width: int
    blocks: int
    inner: int
    vocabulary: int
    rows: int
    longest: int
    precision: str = "float32"
    dtype: str = "float32"
    recompute: bool = False
    encoder: bool = False


SMALL: dict[str, Any] = {"name": "6 blocks of 256", "width": 256, "blocks": 6, "inner": 768, "vocabulary": 4096}
MIDDLE: dict[str, Any] = {"name": "8 blocks of 512", "width": 512, "blocks": 8, "inner": 1408, "vocabulary": 4096}
WIDE: dict[str, Any] = {"name": "6 blocks of 256, V 16,384", "width": 256, "blocks": 6, "inner": 768}
ENCODER: dict[str, Any] = {"name": "encoder, 6 blocks of 384", "width": 384, "blocks": 6, "inner": 1536}
CASES = (
    Case(**SMALL, rows=8, longest=128),
    Case(**SMALL, rows=8, longest=128, recompute=True),
    Case(**SMALL, rows=8, longest=128, precision="bf16"),
    Case(**SMALL, rows=8, longest=128, precision="bf16", dtype="bf16"),
    Case(**SMALL, rows=8, longest=128, precision="bf16", dtype="bf16", recompute=True),
    Case(**SMALL, rows=8, longest=256),
    Case(**MIDDLE, rows=4, longest=256),
    Case(**MIDDLE, rows=4, longest=256, precision="bf16"),
    Case(**MIDDLE, rows=4, longest=256, precision="bf16", dtype="bf16", recompute=True),
    Case(**WIDE, vocabulary=16384, rows=8, longest=128, recompute=True),
    Case(**ENCODER, vocabulary=4096, rows=16, longest=128, encoder=True),
    Case(**ENCODER, vocabulary=4096, rows=16, longest=128, encoder=True, recompute=True),
)
WARM_UP = Case(name="", width=256, blocks=1, inner=768, vocabulary=4096, rows=8, longest=128)
"""Large enough for libraries to allocate what they keep for products of large matrices."""


def main() -> None:
    """Measure every case in a process of its own, print and write the record."""
    parser = benchmark_parser(__doc__, "two cases")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(Case(**json.loads(options.case)))))
        return
    rows, ratios = [], []
    for case in CASES[:2] if options.quick else CASES:
        found = measured_alone(case)
        ratios.append(found["forecast"] / found["peak"])
        computed = f"{case.precision}, weights {case.dtype}" + ", checkpointing" * case.recompute
        sizes = (f"{found['forecast'] / 1e6:,.0f}", f"{found['peak'] / 1e6:,.0f}", f"{ratios[-1]:.2f}")
        rows.append((case.name, f"{case.rows} x {case.longest}", computed, *sizes))
        print(*rows[-1], sep="  ", flush=True)
    furthest = max(abs(ratio - 1) for ratio in ratios)
    columns = ("model", "batch", "computed in", "forecast, MB", "peak, MB", "forecast / peak")
    record = BenchmarkRecord(
        name="memory_peaks",
        machine_kind="cpu",
        title="Memory, forecast and measured",
        setting=(
            f"LoRA of rank {RANK} on all linears of models with drawn weights, two steps of gelora's Trainer, each in "
            "a process of its own. The peak is that of the resident set above what the process held after it had "
            "trained one block in the same way. It says nothing about a GPU."
        ),
        goal=f"within {NEAR:.0%} of the peak: {reached(furthest <= NEAR)}, the furthest is {furthest:.0%} off",
        command="python -m scripts.benchmarks.memory_peaks",
        tables=(Table(caption="Training steps", columns=columns, rows=tuple(rows)),),
    )
    finish(record, quick=options.quick)


def measured_alone(case: Case) -> dict[str, int]:
    """Return the forecast and the peak of a case, measured in a new process."""
    command = [sys.executable, "-m", "scripts.benchmarks.memory_peaks", "--case", json.dumps(asdict(case))]
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | RETURN_MEMORY, capture_output=True, text=True, check=True
    )
    found: dict[str, int] = json.loads(ended.stdout.splitlines()[-1])
    return found


def measure(case: Case) -> dict[str, int]:
    """Return the forecast and the peak of a case, in bytes."""
    # A process has one precision.
    train(replace(WARM_UP, precision=case.precision, dtype=case.dtype, encoder=case.encoder))
    gc.collect()
    before = resident_bytes()
    with watched() as peak:
        expected = train(case)
    return {"forecast": expected, "peak": peak[0] - before}


def train(case: Case) -> int:
    """Take a few steps, and return the forecast of their memory in bytes."""
    import torch

    from gelora_cli.allocation.planning import plan_method
    from gelora_cli.config.schema import PlannedLoraConfig
    from gelora_cli.core.budget import parse_budget
    from gelora_cli.core.distributed import make_accelerator
    from gelora_cli.core.registries import METHODS
    from gelora_cli.methods.base import MethodContext
    from gelora_cli.methods.updates.arithmetic import training_arithmetic
    from gelora_cli.models.block_map import block_modules, map_model
    from gelora_cli.models.load import LoadedModel
    from gelora_cli.models.memory_shapes import memory_shapes
    from gelora_cli.models.quantized import store_weights
    from gelora_cli.models.recompute import recomputing
    from gelora_cli.training.loop import Trainer
    from gelora_cli.training.timing import no_results
    from scripts.benchmarks.memory_cases import drawn_model, drawn_rows
    from scripts.benchmarks.train_settings import measured_settings

    model, head_modules = drawn_model(case.width, case.blocks, case.inner, case.vocabulary, encoder=case.encoder)
    model_map = map_model(model, head_modules=head_modules)
    shapes = memory_shapes(model, model_map, scores_vocabulary=not case.encoder)
    method = PlannedLoraConfig(name="lora", modules="all")
    plan = plan_method(
        model_map, {}, parse_budget(f"rank:{RANK}"), method="lora", assume_even=True, scaling=2.0, modules="all"
    )
    entry = METHODS.get("lora")
    expected = forecast_of(case, shapes, entry.work(plan, model_map, method), plan.trained_params)
    store_weights(LoadedModel(model, model_map), case.dtype, torch.device("cpu"))
    kind = "classification" if case.encoder else "generation"
    settings = measured_settings(kind, learning_rate=1e-4, epochs=STEPS, batch_size=case.rows)
    trainer = Trainer(
        entry.attach(MethodContext(model, model_map, plan, method, 0)),
        drawn_rows(case.rows, case.longest, case.vocabulary, encoder=case.encoder),
        replace(settings, warmup_ratio=0.0),
        pad_token_id=0,
        accelerator=make_accelerator(case.precision),
        evaluate=no_results,
        callbacks=(),
    )
    blocks = block_modules(model, model_map)
    trainer.model.train()
    with (
        training_arithmetic(blocks, bf16=case.precision == "bf16", fast=False),
        recomputing(blocks if case.recompute else ()),
    ):
        for _ in range(STEPS):
            trainer.train_step(np.arange(case.rows))
    return expected.training


def forecast_of(case: Case, shapes: MemoryShapes, work: UpdateWork, trained_params: int) -> MemoryForecast:
    """Return the forecast of a case's training; its evaluation is of one token."""
    settings = MemorySettings(
        precision=case.precision,
        dtype=case.dtype,
        rows=case.rows,
        longest=case.longest,
        scored=case.rows * case.longest,
        work=work,
        trained_params=trained_params,
        recompute=case.recompute,
        eval_rows=1,
        eval_longest=1,
        eval_scored=1,
    )
    return forecast(shapes, settings)


@contextmanager
def watched() -> Iterator[list[int]]:
    """Read the resident set over and over while what is inside runs; the list holds the largest."""
    peak, ended = [resident_bytes()], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            peak[0] = max(peak[0], resident_bytes())
            time.sleep(EVERY_SECONDS)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def resident_bytes() -> int:
    """Return the resident set of this process, as Linux counts it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
