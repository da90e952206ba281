"""Whether a GPU gives the numbers of the CPU: the tests of tests/gpu, losses, idims, and neighbours of real runs.

    python -m scripts.benchmarks.gpu [--glue DIR] [--model DIR] [--without-tests]

It needs a CUDA device and about two minutes. CPU and GPU train at the same time, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.codec import read_artifact
from gelora_cli.geometry.neighbours import nearest_two
from scripts.benchmarks.measuring import alternate, skip
from scripts.benchmarks.neighbours import states
from scripts.benchmarks.options import add_glue, add_model, finish, require_glue
from scripts.benchmarks.record import ROOT, BenchmarkRecord, Table
from scripts.benchmarks.training import machine_kind

ROWS = 512
COMMANDS = """
import json, sys
from gelora_cli.commands.main import command_line
sys.exit(max(command_line(words) for words in json.loads(sys.argv[1])))
"""
RUNS: dict[str, list[str]] = {
    "gelora": ["method=gelora"],
    "gelora, DoRA": ["method=gelora", "method.variant=dora"],
    "adalora": ["method=adalora"],
    "sora": ["method=sora"],
}
ON_GPU: dict[str, list[str]] = {
    "gelora, bf16": ["method=gelora", "precision=bf16"],
    "gelora, train.fast": ["method=gelora", "train.fast=true"],
}
"""Runs beside those of `RUNS` that are compared with `gelora` on the GPU."""
SETTING = (
    f"Real runs on {ROWS} rows of CoLA, MiniLM, 0.1M parameters, without dropout, the same on the CPU and on the GPU; "
    "neighbours of made points that resemble sentence states. float32 products are not in TF32."
)
GOAL = (
    "The losses of a run on the GPU in float32 are those of the CPU within 2e-4 at every step, its ranks are the same, "
    "and distances are the same to rounding."
)


def main() -> None:
    """Measure, print and write the record."""
    options = parse()
    tables = [] if options.without_tests else [tests_table()]
    with tempfile.TemporaryDirectory() as folder:
        directories = train(Path(folder), options)
        tables += [losses_table(directories), profile_table(directories)]
    tables.append(neighbours_table())
    for table in tables:
        print(f"\n{table.caption}", *("  ".join(row) for row in (table.columns, *table.rows)), sep="\n", flush=True)
    record = BenchmarkRecord(
        name="gpu",
        machine_kind=machine_kind(),
        title="The numbers of a GPU",
        setting=SETTING,
        goal=GOAL,
        command="python -m scripts.benchmarks.gpu",
        tables=tuple(tables),
    )
    finish(record, quick=False)


def parse() -> argparse.Namespace:
    """Return the options; end where there is nothing to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_glue(parser)
    add_model(parser)
    parser.add_argument("--without-tests", action="store_true", help="leave out the tests of tests/gpu")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        skip("left out: it needs a CUDA device")
    require_glue(options.glue)
    return options


def tests_table() -> Table:
    """Run the tests of tests/gpu; return how many passed, were left out, and failed."""
    words = ["-q", "-n", "6", "--dist", "loadfile", "-p", "no:cacheprovider", "-m", "gpu", "--tb=short", "tests/gpu"]
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    seconds = time.perf_counter() - begun
    print(done.stdout[-6000:], flush=True)
    counts = {word: number for number, word in re.findall(r"(\d+) (passed|skipped|failed|error)", done.stdout[-400:])}
    rows = tuple((word, counts.get(word, "0")) for word in ("passed", "skipped", "failed"))
    return Table(
        caption=f"make test-gpu: {seconds:.0f} s. Skipped are those that need several GPUs",
        columns=("tests", "number"),
        rows=rows,
    )


def train(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Path]]:
    """Do all runs; return name -> directory for `cpu` and `gpu`."""
    model = ["model=minilm"] if options.model is None else [f"model.path={options.model}"]
    shared = ["task=cola", *model, f"data.glue={options.glue}", "budget=0.1M", "model.dropout=0", "train.epochs=1"]
    shared += [f"data.max_train_examples={ROWS}", "data.max_eval_examples=128", f"profile.max_examples={ROWS}"]
    shared += ["train.log_steps=1"]
    processes = []
    sides = {"cpu": RUNS, "gpu": RUNS | ON_GPU}
    for side, runs in sides.items():
        commands = [
            ["run", *shared, *words, *precision(words), f"runs_dir={folder / side / slug(name)}"]
            for name, words in runs.items()
        ]
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if side == "cpu" else {}
        words = [sys.executable, "-c", COMMANDS, json.dumps(commands)]
        process = subprocess.Popen(
            words, env=os.environ | hidden, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        processes.append((side, process))
    for side, process in processes:
        said, _ = process.communicate()
        if process.returncode:
            sys.exit(f"the runs on the {side} failed:\n{said[-3000:]}")
    directories: dict[str, dict[str, Path]] = {side: {} for side in sides}
    for side, runs in sides.items():
        for name in runs:
            directories[side][name] = next((folder / side / slug(name)).rglob(RunManifest.FILE)).parent
    return directories


def slug(name: str) -> str:
    """Return the name of a run without what a value on the command line can't hold."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def precision(words: Sequence[str]) -> list[str]:
    """Return float32, unless the words say another precision."""
    return [] if any(word.startswith("precision=") for word in words) else ["precision=float32"]


def losses(directory: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the loss of every step."""
    lines = map(json.loads, (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return np.array([line["loss"] for line in lines if "loss" in line])


def losses_table(directories: Mapping[str, Mapping[str, Path]]) -> Table:
    """Return the largest relative difference of a loss for every run."""
    pairs = [(f"{name}, float32", directories["gpu"][name], directories["cpu"][name], "CPU") for name in RUNS]
    pairs += [(name, directories["gpu"][name], directories["gpu"]["gelora"], "GPU, float32") for name in ON_GPU]
    rows = []
    for name, directory, other, beside in pairs:
        ours, theirs = losses(directory), losses(other)
        peak = read_artifact(RunManifest, directory / RunManifest.FILE).peak_bytes or 0
        rows.append(
            (
                name,
                beside,
                str(len(ours)),
                f"{np.abs(ours / theirs - 1).max():.1e}",
                f"{theirs[-1]:.5f}",
                f"{ours[-1]:.5f}",
                f"{peak / 2**20:.0f}",
            )
        )
    return Table(
        caption="Losses of a run on the GPU beside another",
        columns=("run on the GPU", "beside", "steps", "largest relative difference", "its last", "last", "peak MiB"),
        rows=tuple(rows),
    )


def profile_table(directories: Mapping[str, Mapping[str, Path]]) -> Table:
    """Return the idims of all layers and the ranks that follow, of both devices."""
    rows = []
    for side in ("cpu", "gpu"):
        directory = directories[side]["gelora"]
        profile = read_artifact(IdProfile, directory / IdProfile.FILE)
        ranks = read_artifact(RankPlan, directory / RankPlan.FILE).ranks
        idims = " ".join(f"{layer.idim:.6f}" for layer in profile.layers)
        rows.append((side.upper(), idims, " ".join(map(str, ranks))))
    return Table(
        caption="Intrinsic dimensions of all layers, and GeLoRA's ranks",
        columns=("device", "idims", "ranks"),
        rows=tuple(rows),
    )


def neighbours_table() -> Table:
    """Return seconds on both devices, and the largest relative difference of a distance."""
    rows = []
    for n, columns in ((8551, 384), (20_000, 384), (20_000, 768), (100_000, 768)):
        points = states(n, columns, 0)
        gpu = nearest_two(points, device="cuda")
        seconds = alternate({"gpu": partial(nearest_two, points, device="cuda")}, 3, warm_up=0)
        cells = [f"{n:,}", str(columns), "", f"{seconds['gpu'].median:.3f}", ""]
        if n <= 20_000:
            begun = time.perf_counter()
            cpu = nearest_two(points)
            cells[2] = f"{time.perf_counter() - begun:.2f}"
            cells[4] = f"{max(float(np.abs(a / b - 1).max()) for a, b in zip(gpu, cpu, strict=True)):.1e}"
        rows.append(tuple(cells))
    return Table(
        caption="Two exact neighbours of every point",
        columns=("points", "columns", "seconds on the CPU", "on the GPU", "largest relative difference"),
        rows=tuple(rows),
    )


if __name__ == "__main__":
    main()
