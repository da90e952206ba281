"""Exact neighbours and TwoNN beside scikit-dimension, DADApy, and the matrix product that they can't do without.

    python -m scripts.benchmarks.neighbours [--quick] [--dadapy-python PYTHON]

The points resemble mean-pooled sentence states: float32 in 384 columns whose deviations fall off as 1, 1/2, 1/3 ...,
around a mean that is larger than they are, a tenth of them closer to another point. The limit is half of the float32
product of all pairs, since a distance serves both of its points.

DADApy needs numpy below 2, so it runs in an environment of its own:

    python -m venv dadapy && dadapy/bin/pip install "numpy<2" dadapy==0.3.4

and `--dadapy-python dadapy/bin/python` (or the variable DADAPY_PYTHON) names its interpreter.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gelora_cli.core.processes import usable_cores
from gelora_cli.geometry.fit import fit
from gelora_cli.geometry.neighbours import nearest_two
from scripts.benchmarks.measuring import Timing, alternate
from scripts.benchmarks.options import benchmark_parser, finish
from scripts.benchmarks.record import BenchmarkRecord, Table, library_versions

Points = npt.NDArray[np.float32]
COLUMNS = 384
LARGE_COLUMNS = 768
TILE = 2048
COMMAND = "python -m scripts.benchmarks.neighbours --dadapy-python dadapy/bin/python"
SETTING = (
    "TwoNN by least squares, a tenth of the ratios discarded, of made points that resemble sentence states (float32). "
    "*GEMM limit* is half of the float32 product of all pairs, which every exact search by products needs, timed in "
    "the same rounds. DADApy and scikit-dimension are public tools at their defaults, asked for two neighbours. "
    "`gelora` includes the estimate."
)
GOAL = (
    "TwoNN of 100,000 points in 768 columns takes at most 1 GiB above the data; its time stands beside the GEMM limit."
)
DADAPY = """
import json, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from dadapy import Data
for line in sys.stdin:
    data = Data(np.load(line.strip()), maxk=2, n_jobs=int(sys.argv[1]))
    print(json.dumps(float(data.compute_id_2NN()[0])), flush=True)
"""
LARGE = """
import json, pathlib, re, sys, time
import numpy as np
from gelora_cli.geometry.fit import fit
from gelora_cli.geometry.neighbours import nearest_two
from scripts.benchmarks.neighbours import states
def peak():
    # Of this program alone: ru_maxrss keeps the peak of the process that started it.
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
nearest_two(states(3000, 768, 1))  # libraries set up their buffers
points = np.load(sys.argv[1])
before, begun = peak(), time.perf_counter()
r1, r2 = nearest_two(points)
print(json.dumps([time.perf_counter() - begun, peak() - before, fit(r2 / r1)]))
"""


def main() -> None:
    """Measure all sizes, print them, and write the record."""
    arguments = parse()
    sizes = (1000, 2000) if arguments.quick else (2000, 8551, 20_000)
    rounds = 1 if arguments.quick else 5
    rows: list[tuple[str, ...]] = []
    with dadapy_worker(arguments.dadapy_python) as dadapy:
        for n in sizes:
            rows += compare(n, rounds, dadapy)
            print("\n".join("  ".join(row) for row in rows if row[0] == f"{n:,}"), flush=True)
    large = large_table(10_000 if arguments.quick else 100_000)
    tables = [
        Table(
            caption=f"Two neighbours and TwoNN, d = {COLUMNS}",
            columns=("points", "tool", "seconds", "times gelora's", "idim"),
            rows=tuple(rows),
        ),
        large,
    ]
    has_gpu = torch.cuda.is_available()
    record = BenchmarkRecord(
        name="neighbours",
        machine_kind=arguments.machine_kind or ("gpu" if has_gpu else "cpu"),
        title="Exact neighbours and TwoNN",
        setting=SETTING,
        goal=f"{GOAL} Measured: {large.rows[0][3]}.",
        command=COMMAND,
        tables=tuple(tables),
        notes=NOTES,
        versions=library_versions(["scikit-dimension"] if find_spec("skdim") else []),
    )
    finish(record, quick=arguments.quick)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = benchmark_parser(__doc__, "small sizes, each timed once")
    parser.add_argument(
        "--dadapy-python",
        default=os.environ.get("DADAPY_PYTHON"),
        help="an interpreter that has DADApy; none: left out",
    )
    parser.add_argument("--machine-kind", help="of the record, such as h100 (cpu or gpu)")
    return parser.parse_args()


def states(n: int, columns: int, seed: int) -> Points:
    """Return points (n, columns) that resemble sentence states."""
    rng = np.random.default_rng(seed)
    deviations = (1 / np.arange(1, columns + 1)).astype(np.float32)
    points = rng.standard_normal((n, columns), np.float32) * deviations
    near = rng.choice(n, n // 10, replace=False)
    noise = rng.standard_normal((n // 10, columns), np.float32)
    points[near] = points[rng.permutation(near)] + np.float32(0.1) * noise * deviations
    points += 0.1 * rng.standard_normal(columns).astype(np.float32)
    return points


def compare(n: int, rounds: int, dadapy: Callable[[Path], float] | None) -> list[tuple[str, ...]]:
    """Return a row for each tool and for the limit."""
    points = states(n, COLUMNS, 0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "points.npy")
        np.save(file, points)
        tools: dict[str, Callable[[], float]] = {"gelora": functools.partial(ours, points, "cpu")}
        if torch.cuda.is_available():
            tools["gelora on the GPU"] = functools.partial(ours, points, "cuda")
        if find_spec("skdim"):
            tools["scikit-dimension"] = functools.partial(scikit_dimension, points)
        if dadapy is not None:
            tools["DADApy"] = functools.partial(dadapy, file)
        values = {name: tool() for name, tool in tools.items()}
        limits: dict[str, Callable[[], object]] = {"GEMM limit": functools.partial(half_product, points, "cpu")}
        if torch.cuda.is_available():
            limits["GEMM limit of the GPU"] = functools.partial(half_product, points, "cuda")
        timings = alternate({**tools, **limits}, rounds)
    return [comparison_row(n, name, timings, values) for name in timings]


def comparison_row(n: int, name: str, timings: Mapping[str, Timing], values: Mapping[str, float]) -> tuple[str, ...]:
    """Return points, tool, seconds, how many times gelora's, and the idim that it found."""
    times = timings[name].ratio_to(timings["gelora"])
    idim = f"{values[name]:.4f}" if name in values else ""
    return f"{n:,}", name, f"{timings[name].median:.3f}", f"{times:.2f}", idim


def large_table(n: int) -> Table:
    """Return seconds and memory of one search of many points, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "points.npy")
        np.save(file, states(n, LARGE_COLUMNS, 0))
        done = subprocess.run([sys.executable, "-c", LARGE, str(file)], check=True, stdout=subprocess.PIPE, text=True)
    seconds, above, idim = json.loads(done.stdout)
    limit = product_seconds(states(4 * TILE, LARGE_COLUMNS, 0), "cpu") * (n / (4 * TILE)) ** 2
    rows: list[tuple[str, ...]] = [("CPU", f"{seconds:.1f}", f"{limit:.1f}", f"{above / 2**20:.0f} MiB", f"{idim:.4f}")]
    if torch.cuda.is_available():
        rows.append(large_on_gpu(n))
    print("\n".join("  ".join(row) for row in rows), flush=True)
    return Table(
        caption=f"n = {n:,}, d = {LARGE_COLUMNS} (the data: {4 * n * LARGE_COLUMNS / 2**20:.0f} MiB); the limit is "
        f"computed from half the product of {4 * TILE:,} points",
        columns=("device", "seconds", "GEMM limit", "memory above the data", "idim"),
        rows=tuple(rows),
    )


def large_on_gpu(n: int) -> tuple[str, ...]:
    """Return the row of the GPU; its memory includes the copy of the points."""
    points = states(n, LARGE_COLUMNS, 0)
    nearest_two(points[:3000], device="cuda")
    torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    r1, r2 = nearest_two(points, device="cuda")
    seconds, above = time.perf_counter() - begun, torch.cuda.max_memory_allocated() - points.nbytes
    limit = product_seconds(points[: 4 * TILE], "cuda") * (n / (4 * TILE)) ** 2
    return "GPU", f"{seconds:.2f}", f"{limit:.2f}", f"{above / 2**20:.0f} MiB", f"{fit(r2 / r1):.4f}"


def product_seconds(points: Points, device: str) -> float:
    """Return the seconds of half of the product of all pairs."""
    return alternate({"product": lambda: half_product(points, device)}, 3)["product"].median


def half_product(points: Points, device: str) -> None:
    """Multiply each pair of points once, tile by tile, in float32."""
    on_device = torch.from_numpy(points).to(device)
    for start in range(0, len(points), TILE):
        for other in range(start, len(points), TILE):
            torch.mm(on_device[start : start + TILE], on_device[other : other + TILE].T)
    if device != "cpu":
        torch.cuda.synchronize()


def ours(points: Points, device: str) -> float:
    """Return TwoNN of points by gelora."""
    r1, r2 = nearest_two(points, device=device)
    return fit(r2 / r1)


def scikit_dimension(points: Points) -> float:
    """Return TwoNN of points by scikit-dimension."""
    from skdim.id import TwoNN

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(TwoNN().fit(points).dimension_)


@contextmanager
def dadapy_worker(python: str | None) -> Iterator[Callable[[Path], float] | None]:
    """Start DADApy in its environment; give the function that makes it read and estimate a file of points."""
    if python is None:
        print("DADApy is left out: no --dadapy-python")
        yield None
        return
    # That environment holds other versions of our libraries, so nothing of ours is to be on its path.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-c", DADAPY, str(usable_cores())]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ask, answer = process.stdin, process.stdout

        def estimate(file: Path) -> float:
            ask.write(f"{file}\n")
            ask.flush()
            return float(json.loads(answer.readline()))

        yield estimate
        ask.close()


NOTES = (
    "**Kept: a look in bfloat16 first** where the CPU has matrix units for it (AMX). One core multiplied 1,000 "
    "to 1,650 GFLOP/s in bfloat16 and 150 (numpy) to 190 (torch) in float32. So all pairs are multiplied at "
    "full width, without the transposed half. A bound that knows how far rounding moved each point says which "
    "points are unsure (0.1 % of CoLA's states for 12 neighbours with 24 keys); those are searched in float32, "
    "then float64. All results have the same bits. Searching 12 neighbours of 8,528 states took 0.74 s of CPU "
    "time before and 0.33 s after, on one busy core.",
    "**Kept: keys with their place in one integer.** `numpy.partition` of 32-bit integers, key above and "
    "column below, on the minima of groups and then on the members of the smallest groups: 3 microseconds a "
    "point, where `partition` of all keys takes 0.9 ns a key (7.5 microseconds) and `topk` 3 ns a key.",
    "**Kept: exact distances only of keys below the bound**, in pieces of half a MiB: 1.0 ns a coordinate; "
    "pieces of 2 MiB took 1.6 to 2.2.",
    "**Thrown out: smaller blocks in the passes over float64 copies** (0.5 in place of 4 MiB): 80 to 60 ms a "
    "layer, but sums get other last digits.",
)


if __name__ == "__main__":
    main()
