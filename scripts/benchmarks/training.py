"""LoRA training beside a bare loop and transformers' Trainer, and its share of the machine's arithmetic.

    python -m scripts.benchmarks.training [--quick] [--glue DIR] [--model DIR]

On a GPU it also trains the shapes of bert-base and DeBERTaV3-base, with drawn weights.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate.state import AcceleratorState

from gelora_cli.data.batches import padded_load
from scripts.benchmarks.measuring import Timing, alternate
from scripts.benchmarks.options import add_glue, add_model, benchmark_parser, finish, require_glue
from scripts.benchmarks.record import BenchmarkRecord, Picture, Series, Table, reached
from scripts.benchmarks.training_cases import (
    BATCH,
    RANDOM_MODELS,
    Case,
    bare_pass,
    cola_case,
    device,
    gelora_pass,
    random_case,
    transformers_pass,
    wait,
)

GELORA, FAST, BARE = "gelora", "gelora, train.fast=true", "bare loop"
BEST, USUAL = "transformers' Trainer at its best", "transformers' Trainer as people run it"
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
NOTES = (
    "On one busy thread, in seconds of the CPU (which a busy machine lengthens less), medians of alternating passes: "
    "bf16 1.04 times the bare loop, with `train.fast=true` 1.25 times; float32 1.04 and 1.07 times.",
    "Without the weights that are cast once, the loop takes 1.003 times the CPU time of that of commit 18c735f, a "
    "hundred commits before (bf16, the median of 14 alternating rounds): what was added since then costs nothing. "
    "With them it takes 0.912 times as much.",
    "Kept: frozen weights are cast to bfloat16 once an epoch instead of at each use, bitwise the same numbers. On "
    "one busy thread a bf16 step was 1.10 times faster (median of 30 alternating rounds).",
    "Kept, behind `train.fast=true`: blocks in one type with a linear and its A and B as one operation, 1.24 times "
    "over the loop before these changes; with dropout from 16 bits 1.30 times (bf16, the same rounds). In float32 "
    "1.06 and 1.09 times.",
    "Thrown out: blocks in one type alone, without the operation for LoRA, gained 1.04 times, less than the weights "
    "that are cast once.",
    "Thrown out: `torch.compile` of each block with dynamic shapes. The first four steps took 99 s instead of 0.9 s, "
    "and the others were 1.09 times faster (bf16, one thread), so that a training of CoLA would never win that back.",
)

GPU_NOTES = (
    "Kept, behind `train.fast=true` on a GPU: whole batches padded to one of few widths, and one CUDA graph of forward "
    "pass, backward pass and clipping for each width. On an H100 with slow cores the host was the limit of every step "
    "that was tried before (host time and step time were equal): 37.5 ms a step of a model in MiniLM's shape on CoLA "
    "in bf16, 60.6 ms of bert-base at 128 tokens. A graph took 2.2 and 11.1 ms.",
    "Thrown out, since the host stays the limit without a graph (ms a step beside a bare loop's 37.3 and 63.1): a mask "
    "of four dimensions, so that transformers reads none from the GPU, 38.6 and 61.4; fused AdamW alone 39.6 and 64.3; "
    "batches in memory against batches made for each step 37.3 against 39.1. Weights cast once: 31.7 and 60.1.",
    "Thrown out: AdamW within the graph (`capturable`), 2.2 and 11.1 ms as without.",
)


def main() -> None:
    """Measure, print and write the record."""
    options = parse()
    with tempfile.TemporaryDirectory(prefix="training-") as scratch:
        record = measured(options, Path(scratch))
    finish(record, quick=options.quick)


def measured(options: argparse.Namespace, scratch: Path) -> BenchmarkRecord:
    """Measure every case and return the record; weights that are drawn lie in `scratch` meanwhile."""
    glue = require_glue(options.glue)
    examples = options.examples or (320 if options.quick else 640)
    rounds = options.rounds or (2 if options.quick else 7)
    first = cola_case(glue, options.model, examples)
    cases = [first]
    if torch.cuda.is_available():
        cases += [random_case(name, first, scratch) for name in options.shapes]
    goal = 1.3 if torch.cuda.is_available() else 1.15
    tables, best_ratios, series = [], [], []
    for case in cases:
        for precision in DTYPES:
            timings = measure(case, precision, rounds, scratch, usual=case is first)
            table = speeds(case, precision, timings)
            show(table)
            tables.append(table)
            speedup = timings[FAST].speedup_over(timings[BARE])
            best_ratios.append(f"{case.name}, {precision}: {reached(speedup >= goal)}, {speedup:.2f}")
            names = tuple(timings)
            rates = tuple(round(len(case.rows) / timings[name].median, 1) for name in names)
            series.append(Series(name=f"{case.name}, {precision}", at=names, values=rates))
            share = shares(case, precision, timings)
            show(share)
            tables.append(share)
    return BenchmarkRecord(
        name="training",
        machine_kind=machine_kind(),
        title="LoRA training",
        setting=(
            f"LoRA of rank 4 on the attention, batch {BATCH}, the first {examples:,} rows of CoLA, {rounds} rounds. "
            "All candidates have the same rows, gelora and the bare loop the same batches. The bare loop is "
            "transformers' model with PEFT's LoRA, AdamW, schedule and clipping over batches that lie on the device, "
            "and nothing else. gelora's loop makes its batches. transformers' Trainer at its best groups rows by "
            "length and "
            "runs in bf16; as people run it, it does neither."
        ),
        goal=f"{goal} times faster than the bare loop; with `train.fast=true`: {'; '.join(best_ratios)}",
        command="python -m scripts.benchmarks.training",
        tables=tuple(tables),
        notes=GPU_NOTES if torch.cuda.is_available() else NOTES,
        picture=Picture(
            kind="bars",
            title="Examples per second of LoRA training",
            subtitle=f"{series[-1].name}, batch {BATCH}, CoLA",
            alternative="Bars of examples per second for gelora, the bare loop and transformers' Trainer",
            series=(series[-1],),
            values_label="examples per second",
        ),
    )


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = benchmark_parser(__doc__, "320 rows, two rounds")
    add_glue(parser)
    add_model(parser)
    parser.add_argument("--shapes", nargs="*", default=list(RANDOM_MODELS), help="of drawn weights, on a GPU")
    parser.add_argument("--examples", type=int, help="rows of a pass (640)")
    parser.add_argument("--rounds", type=int, help="timed passes of each candidate (7)")
    return parser.parse_args()


def machine_kind() -> str:
    """Return `cpu`, or a short name of the GPU."""
    if not torch.cuda.is_available():
        return "cpu"
    words = torch.cuda.get_device_name().lower().replace("-", " ").split()
    return next((word for word in words if re.search(r"\d", word)), "gpu")


def measure(case: Case, precision: str, rounds: int, scratch: Path, *, usual: bool) -> dict[str, Timing]:
    """Return the seconds of a pass over the rows for every candidate; `usual`: also of transformers' Trainer."""
    AcceleratorState._reset_state()  # a process has one precision otherwise
    passes, theirs = rounds + 1, {}
    if usual:  # first, since transformers' arguments reset what accelerate has set up
        is_best = precision == "bf16"
        theirs = {BEST if is_best else USUAL: transformers_pass(case, scratch, at_its_best=is_best)}
    candidates: dict[str, Callable[[], object]] = {
        GELORA: gelora_pass(case, precision, passes),
        FAST: gelora_pass(case, precision, passes, fast=True),
        BARE: bare_pass(case, precision, passes),
        **theirs,
    }
    begun = time.perf_counter()
    timings = alternate(candidates, rounds)
    print(f"{case.name}, {precision}: {time.perf_counter() - begun:.0f} s", flush=True)
    return timings


def speeds(case: Case, precision: str, timings: dict[str, Timing]) -> Table:
    """Return examples per second and times the bare loop of all candidates."""
    rows = []
    for name, timing in timings.items():
        rate, speedup = len(case.rows) / timing.median, timing.speedup_over(timings[BARE])
        rows.append((name, f"{rate:,.0f}", f"{1e3 * timing.median / len(case.batches()):.1f}", f"{speedup:.2f}"))
    columns = ("loop", "examples per second", "ms a step", "times the bare loop")
    return Table(caption=f"{case.name}, {precision}", columns=columns, rows=tuple(rows))


def shares(case: Case, precision: str, timings: dict[str, Timing]) -> Table:
    """Return what share of the machine's rate of products each loop reaches."""
    operations, load = case.operations(), padded_load(case.rows.lengths, case.batches())
    width = 384 if case.name == "minilm" else 768
    tokens = load.tokens // load.passes
    side = 8192 if torch.cuda.is_available() else 2048
    typical = product_rate(tokens, width, 4 * width, DTYPES[precision])
    best = product_rate(side, side, side, DTYPES[precision])
    rows = []
    for name in (GELORA, FAST, BARE):
        rate = operations / timings[name].median
        rows.append((name, f"{rate / 1e9:,.0f}", f"{rate / typical:.0%}", f"{rate / best:.0%}"))
    caption = (
        f"{case.name}, {precision}: share of the arithmetic limit. A product ({tokens}, {width}) by ({width}, "
        f"{4 * width}), as a step has them, runs at {typical / 1e9:,.0f} GFLOP/s; one of {side} by {side} at "
        f"{best / 1e9:,.0f}"
    )
    columns = ("loop", "GFLOP/s", "of the product as in a step", "of the large product")
    return Table(caption=caption, columns=columns, rows=tuple(rows))


def product_rate(rows: int, inner: int, columns: int, dtype: torch.dtype) -> float:
    """Return the measured operations per second of a product of matrices (rows, inner) and (inner, columns)."""
    a, b = (torch.randn(shape, device=device()).to(dtype) for shape in ((rows, inner), (inner, columns)))
    operations = 2 * rows * inner * columns
    calls = max(1, round(2e10 / operations))
    seconds = []
    for _ in range(6):
        wait()
        begun = time.perf_counter()
        for _ in range(calls):
            a @ b
        wait()
        seconds.append(time.perf_counter() - begun)
    return calls * operations / statistics.median(seconds[1:])


def show(table: Table) -> None:
    """Print a table."""
    print(f"\n{table.caption}\n" + "  ".join(table.columns))
    for row in table.rows:
        print("  ".join(f"{cell:>12}" for cell in row), flush=True)


if __name__ == "__main__":
    main()
