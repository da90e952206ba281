"""Seconds from a command to its first optimizer step with warm caches, in parts; and a whole run over its parts.

    python -m scripts.benchmarks.start [--quick] [--glue DIR]

Each measurement is a process of its own, as a user starts it. It runs the command with clocks around its stages.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gelora_cli.core.heavy_imports import import_heavy
from scripts.benchmarks.options import add_glue, benchmark_parser, finish, require_glue
from scripts.benchmarks.record import ROOT, BenchmarkRecord, Table, reached

LIBRARIES = ("torch", "accelerate", "transformers.modeling_utils", "peft")
"""What every run imports by `import_heavy`. The child does so first, so that the other parts are without these."""
STAGES = {
    "check the overrides": ("gelora_cli.commands.override_checks", "check_overrides"),
    "find and check what the run depends on": ("gelora_cli.pipeline.run", "resolve_inputs"),
    "load model and tokenizer": ("gelora_cli.pipeline.stages", "open_session"),
    "read the profile": ("gelora_cli.pipeline.stages", "shared_signals"),
    "encode the rows": ("gelora_cli.pipeline.session", "Session.train_split"),
    "attach, check outputs and gradients": ("gelora_cli.pipeline.stages", "attach_method"),
    "write the plan": ("gelora_cli.pipeline.stages", "_write_plan"),
    "train": ("gelora_cli.training.loop", "Trainer.train_epoch"),
    "evaluate": ("gelora_cli.training.loop", "Trainer.evaluate_epoch"),
    "save and reload": ("gelora_cli.pipeline.stages", "save_and_reload"),
    "write the result": ("gelora_cli.pipeline.stages", "write_result"),
}
"""Part -> the function whose seconds it is, where it is called from; up to `write the plan` before the first step."""
BEFORE_STEP = tuple(STAGES)[:7]
IMPORTS, FIRST, WHOLE, COMPOSE = "import libraries", "to the first step", "whole run", "compose, and all else"
NOTES = (
    "Kept: the pictures of profile and plan are drawn after the training, since they import matplotlib; and metrics of "
    "labels and scores are computed without the libraries `evaluate` and `datasets`, to the same values. Of the 22.7 s "
    "of CPU that a profiled command of three steps took, these imports were 1.5 s and 2.4 s.",
    "Kept: no garbage collection while torch, transformers and PEFT are imported, and what they make is left out of "
    "later collections. From the command to the end of the first step: 7.3 s of CPU time before and 6.0 s after "
    "(medians of 4, in turns, on two cores that other work shared). All imports alone: 5.1 s and 4.3 s.",
    "Thrown out: rarer collections in place of none (`gc.set_threshold`). It gained less (6.3 s before, 5.6 s with it, "
    "5.2 s without any collection, 3 rounds in turns), and would hold for the training, too.",
    "What is left before the first step is mostly imports of torch and transformers: `transformers` imports "
    "`torch.distributed.tensor`, and with it `torch._dynamo` and sympy, and for its losses scipy.",
)


def main() -> None:
    """Measure, print and write the record; or be one measured command."""
    options = parse()
    if options.child:
        child(Path(options.child), options.overrides)
        return
    glue = require_glue(options.glue)
    repeats = 2 if options.quick else 5
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), glue, 320 if options.quick else 2000, repeats)
    finish(make_record(measured, repeats), quick=options.quick)


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = benchmark_parser(__doc__, "320 rows, two commands")
    add_glue(parser)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(folder: Path, glue: Path, rows: int, repeats: int) -> list[dict[str, float]]:
    """Return the seconds of each part of some commands; an unmeasured one before fills the caches."""
    overrides = ["task=cola", "model=minilm", "method=gelora", "budget=0.1M", f"data.glue={glue}"]
    overrides += [
        f"data.max_train_examples={rows}",
        "train.epochs=1",
        f"runs_dir={folder}/runs",
        "data.max_eval_examples=500",
    ]
    overrides += ["profile.max_examples=1000"]
    measured = []
    for number in range(repeats + 1):
        report = folder / f"{number}.json"
        command = [sys.executable, "-m", "scripts.benchmarks.start", "--child", str(report), "--", *overrides]
        begun = time.time()
        environment = os.environ | {"GELORA_BEGUN": repr(begun)}
        done = subprocess.run(
            [*command, f"seed={number}"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"the measured command failed:\n{done.stderr[-2000:]}")
        parts = json.loads(report.read_text(encoding="utf-8"))
        parts[WHOLE] = time.time() - begun
        print(f"command {number}: first step after {parts[FIRST]:.2f} s, whole {parts[WHOLE]:.2f} s", flush=True)
        measured.append(parts)
    return measured[1:]


def child(report: Path, overrides: list[str]) -> None:
    """Be the measured command: import libraries, run it with clocks, and write the seconds of its parts."""
    begun = float(os.environ["GELORA_BEGUN"])
    for name in LIBRARIES:
        import_heavy(name)
    seconds: dict[str, float] = {IMPORTS: time.time() - begun}
    from gelora_cli.commands.main import command_line
    from gelora_cli.training.loop import Trainer

    for part, (module, name) in STAGES.items():
        put_clock(part, importlib.import_module(module), name, seconds)
    step = Trainer.train_step

    def first_step(trainer: Trainer, rows: Any) -> None:
        step(trainer, rows)
        seconds.setdefault(FIRST, time.time() - begun)

    setattr(Trainer, "train_step", first_step)  # noqa: B010 - a method is replaced, which mypy takes for a mistake
    status = command_line(["run", *overrides])
    report.write_text(json.dumps(seconds), encoding="utf-8")
    sys.exit(status)


def put_clock(part: str, module: Any, name: str, seconds: dict[str, float]) -> None:
    """Add the seconds of a function, or of a method, to those of a part."""
    owner_name, _, last = name.rpartition(".")
    owner = getattr(module, owner_name) if owner_name else module
    function: Callable[..., Any] = getattr(owner, last)

    @functools.wraps(function)
    def timed(*arguments: Any, **named: Any) -> Any:
        begun = time.time()
        try:
            return function(*arguments, **named)
        finally:
            seconds[part] = seconds.get(part, 0.0) + time.time() - begun

    setattr(owner, last, timed)


def make_record(measured: list[dict[str, float]], repeats: int) -> BenchmarkRecord:
    """Print the medians, and return the record of them."""

    def median(part: str) -> float:
        return statistics.median(parts.get(part, 0.0) for parts in measured)

    def known(parts: dict[str, float], stages: Iterable[str]) -> float:
        return parts.get(IMPORTS, 0.0) + sum(parts.get(stage, 0.0) for stage in stages)

    rows = [(IMPORTS, f"{median(IMPORTS):.2f}"), *((part, f"{median(part):.2f}") for part in BEFORE_STEP)]
    before_step = statistics.median(known(parts, BEFORE_STEP) for parts in measured)
    rows += [(COMPOSE, f"{median(FIRST) - before_step:.2f}"), (FIRST, f"{median(FIRST):.2f}")]
    rows += [(part, f"{median(part):.2f}") for part in STAGES if part not in BEFORE_STEP]
    rows += [(WHOLE, f"{median(WHOLE):.2f}")]
    table = Table(caption="Seconds of each part, medians", columns=("part", "seconds"), rows=tuple(rows))
    ratio = statistics.median(parts[WHOLE] / known(parts, STAGES) for parts in measured)
    for row in rows:
        print(f"{row[0]:42} {row[1]:>7}")
    print(f"whole over the sum of its parts: {ratio:.3f}")
    goal = (
        f"4 s to the first step: {reached(median(FIRST) <= 4)}, {median(FIRST):.1f} s; a whole run at most 10 % over "
        f"the sum of its parts: {reached(ratio <= 1.1)}, {ratio - 1:+.1%}"
    )
    return BenchmarkRecord(
        name="start",
        machine_kind="cpu",
        title="From a command to its first step",
        setting=(
            f"`gelora run task=cola model=minilm method=gelora budget=0.1M` with the profile in the cache, {repeats} "
            "processes one after the other, each with a seed of its own, after one that filled the caches. The parts "
            "are imports and stages; between them lie composing the configuration, locks, logs and small files."
        ),
        goal=goal,
        command="python -m scripts.benchmarks.start",
        tables=(table,),
        notes=NOTES,
    )


if __name__ == "__main__":
    main()
