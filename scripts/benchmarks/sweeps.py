"""How long a sweep takes before its first job starts: composing, checking, and looking at model and data.

python -m scripts.benchmarks.sweeps [--quick]
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import TypeVar

from gelora_cli.commands.hydra_app import compose_each
from gelora_cli.commands.sweep_composition import compose_sweep
from gelora_cli.commands.sweeping import check_inputs, choose_launcher, complete_jobs, compose_jobs
from gelora_cli.config.composing import composed_config
from gelora_cli.core.registries import COMMANDS
from scripts.benchmarks.measuring import alternate
from scripts.benchmarks.options import benchmark_parser, finish
from scripts.benchmarks.record import BenchmarkRecord, Table, reached

METHODS = ("gelora", "lora", "shuffled", "random", "reversed", "adalora", "sora", "houlsby", "bitfit", "full")
GOAL_SECONDS = 10.0
Result = TypeVar("Result")


def main() -> None:
    """Measure, print and write the record."""
    quick = benchmark_parser(__doc__, "40 jobs, each timed once").parse_args().quick
    seeds, rounds = (2, 1) if quick else (25, 3)
    stages = [plan(grid(seeds)) for _ in range(rounds)]
    medians = {}
    for name in stages[0]:
        medians[name] = statistics.median(stage[name] for stage in stages)
    jobs = len(METHODS) * 2 * seeds
    print(f"{jobs} jobs: {medians}", flush=True)
    small = grid(1)
    timings = alternate(
        {"by Hydra": lambda: by_hydra(small), "by groups": lambda: compose_sweep("run", ["--multirun"], small)},
        1 if quick else 3,
        warm_up=0,
    )
    hydra = timings["by Hydra"].median / (len(METHODS) * 2)
    total = sum(medians.values())
    record = BenchmarkRecord(
        name="sweeps",
        machine_kind="cpu",
        title="Planning a sweep",
        setting=(
            f"`gelora run -m task=demo model=minilm` with {len(METHODS)} methods, 2 budgets and {seeds} seeds: {jobs} "
            "jobs, up to the start of the first. Medians."
        ),
        goal=f"{GOAL_SECONDS:.0f} s for 500 jobs: {reached(total <= GOAL_SECONDS)}, {total:.1f} s for {jobs}",
        command="python -m scripts.benchmarks.sweeps",
        tables=(
            Table(
                caption=f"Seconds of {jobs} jobs",
                columns=("stage", "seconds", "milliseconds per job"),
                rows=tuple((name, f"{value:.2f}", f"{1e3 * value / jobs:.1f}") for name, value in medians.items()),
            ),
        ),
        notes=(
            f"Before, Hydra composed each job twice: {1e3 * hydra:.0f} ms per job, about {500 * hydra:.0f} s for 500. "
            "Now it composes each combination of groups once, and plain values such as seeds and budgets are set on "
            f"that. With {len(METHODS)} methods, 2 budgets and one seed that is "
            f"{timings['by groups'].speedup_over(timings['by Hydra']):.1f} times faster; with more seeds it is more.",
            "Model and data are looked at once for all jobs that share them. That stage starts the process from which "
            "the jobs are forked, and most of it is the import of torch.",
        ),
    )
    finish(record, quick=quick)


def grid(seeds: int) -> list[str]:
    """Return the overrides of 20 jobs for each seed."""
    return [
        *("task=demo", "model=minilm", f"method={','.join(METHODS)}", "budget=0.1M,0.3M", "train.max_steps=2"),
        f"seed={','.join(map(str, range(seeds)))}",
    ]


def plan(overrides: list[str]) -> dict[str, float]:
    """Return the seconds of each stage before the first job."""
    run, words = COMMANDS.get("run"), ["run", "-m", *overrides]
    seconds: dict[str, float] = {}
    composed = timed(seconds, "composing and checking values", lambda: compose_jobs(run, ["--multirun"], overrides))
    jobs = timed(seconds, "completing", lambda: complete_jobs(composed, run, ["--multirun"], words))
    launcher = choose_launcher([job.config for job in composed])
    with launcher:
        timed(seconds, "looking at model and data", lambda: check_inputs(launcher, jobs))
    return seconds


def timed(seconds: dict[str, float], name: str, work: Callable[[], Result]) -> Result:
    """Do the work, and add its seconds under a name."""
    begun = time.perf_counter()
    result = work()
    seconds[name] = time.perf_counter() - begun
    return result


def by_hydra(overrides: list[str]) -> None:
    """Compose every job by Hydra's own sweep, with its composition of all jobs in advance, as versions before did."""
    with tempfile.TemporaryDirectory() as directory:
        words = [*overrides, f"hydra.sweep.dir={directory}"]
        compose_each("run", ["--multirun"], words, lambda composed: consume(composed_config(composed)))


def consume(_: object) -> None:
    """Take a configuration, which is not needed."""


if __name__ == "__main__":
    main()
