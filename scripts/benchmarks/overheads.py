"""What checkpoints, lines of metrics, trackers and the progress bar cost of a training, each and together.

    python -m scripts.benchmarks.overheads [--quick] [--glue DIR] [--model DIR]

All trainings lie in one process and take turns; they differ by the callbacks of the loop alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from gelora_cli.commands.main import command_line
from gelora_cli.config.schema import JSON_LINES, TrackerConfig
from gelora_cli.core.devices import resolve_precision
from gelora_cli.core.registries import TRACKERS
from gelora_cli.trackers.opening import open_trackers
from gelora_cli.training.callback import Callback
from gelora_cli.training.checkpoint import TENSORS, Checkpoints
from gelora_cli.training.checkpointing import Checkpointing
from gelora_cli.training.loop import Trainer
from gelora_cli.training.recording import MetricsLog, ProgressBar
from scripts.benchmarks.measuring import alternate
from scripts.benchmarks.options import add_glue, add_model, benchmark_parser, finish, require_glue
from scripts.benchmarks.record import BenchmarkRecord, Table, reached
from scripts.benchmarks.training import machine_kind
from scripts.benchmarks.training_cases import Case, cola_case, gelora_trainer, wait

WITHOUT, TOGETHER = "without any", "checkpoints, metrics.jsonl and bar together"
COLA_ROWS, CLOCK = 8551, 300.0
"""Rows of CoLA's training split, and `train.checkpoint_seconds`."""
OTHER_TRACKERS = ("tensorboard",)
NOTES = (
    "The probe of the geometry has no row: where `profile.track` is off the loop has no callback and the model no hook "
    "of it, so that there is nothing to measure.",
)


def main() -> None:
    """Measure, print and write the record."""
    options = parse()
    glue = require_glue(options.glue)
    examples, rounds = (320, 2) if options.quick else (1280, 7)
    precision = resolve_precision("auto")
    case = cola_case(glue, options.model, examples)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as trackers:
        choices = callbacks_of(Path(folder), glue, trackers)
        candidates: dict[str, Callable[[], object]] = {}
        for name, callbacks in choices.items():
            candidates[name] = one_pass(gelora_trainer(case, precision, rounds + 1, callbacks=callbacks))
        timings = alternate(candidates, rounds)
        rows = []
        for name, timing in timings.items():
            cost = timing.ratio_to(timings[WITHOUT]) - 1
            rows.append((name, f"{len(case.rows) / timing.median:,.0f}", f"{cost:+.1%}"))
            print(f"{name:44} {rows[-1][1]:>8} {rows[-1][2]:>8}", flush=True)
        together = timings[TOGETHER].ratio_to(timings[WITHOUT]) - 1
        checkpoint = checkpoint_table(case, precision, timings[WITHOUT].median, Path(folder))
    columns = ("callbacks", "examples per second", "cost")
    record = BenchmarkRecord(
        name="overheads",
        machine_kind=machine_kind(),
        title="What observing a training costs",
        setting=(
            f"LoRA of rank 4 on MiniLM, {precision}, passes over {examples:,} rows of CoLA in batches of 32, {rounds} "
            "rounds. A pass with checkpoints asks for one after each step, as the clock does, and writes one "
            "at its end, as before an evaluation."
        ),
        goal=f"below 2 % together: {reached(together < 0.02)}, {together:+.1%}",
        command="python -m scripts.benchmarks.overheads",
        tables=(Table(caption="Cost of each", columns=columns, rows=tuple(rows)), checkpoint),
        notes=NOTES,
    )
    finish(record, quick=options.quick)


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = benchmark_parser(__doc__, "320 rows, two rounds")
    add_glue(parser)
    add_model(parser)
    return parser.parse_args()


def callbacks_of(folder: Path, glue: Path, trackers: ExitStack) -> dict[str, Sequence[Callback]]:
    """Return the callbacks of each candidate; `trackers` ends what they start."""

    def checkpointing(name: str) -> Checkpointing:
        return Checkpointing(Checkpoints(folder / name, None, CLOCK), stop=lambda: False)

    def json_lines(name: str) -> MetricsLog:
        (folder / name).mkdir(exist_ok=True)
        return MetricsLog([TRACKERS.get(JSON_LINES).open(folder / name, TrackerConfig.of(JSON_LINES))])

    choices: dict[str, Sequence[Callback]] = {
        WITHOUT: (),
        "progress bar": (ProgressBar(),),
        "metrics.jsonl": (json_lines("lines"),),
        "checkpoints": (checkpointing("checkpoints"),),
        TOGETHER: (json_lines("together"), ProgressBar(), checkpointing("together")),
    }
    for name in OTHER_TRACKERS:
        if importlib.util.find_spec(name):
            run = small_run(folder / "runs", glue, name)
            opened = trackers.enter_context(open_trackers(run, {name: TrackerConfig.of(name)}))
            choices[f"metrics.jsonl and {name}"] = (MetricsLog(opened),)
    return choices


def small_run(runs: Path, glue: Path, tracker: str) -> Path:
    """Return the directory of a run of one step: a tracker reads configuration and plan of the run that it follows."""
    overrides = ["task=cola", "model=minilm", "method=lora", "budget=rank:4", f"data.glue={glue}", f"runs_dir={runs}"]
    overrides += ["data.max_train_examples=64", "data.max_eval_examples=64", "profile.max_examples=200"]
    overrides.append(f"tracker={tracker}")  # its settings are then in the configuration that it reads
    assert command_line(["run", *overrides, "train.max_steps=1"]) == 0
    return next(runs.rglob("DONE")).parent


def one_pass(trainer: Trainer) -> Callable[[], object]:
    """Return an epoch of a trainer with all hooks but those of the evaluation itself."""
    callbacks = trainer.callbacks

    def call() -> None:
        trainer.state.epoch += 1
        for callback in callbacks:
            callback.on_start(trainer)
        trainer.train_epoch()
        for callback in callbacks:
            callback.before_evaluation(trainer)
        for callback in callbacks:
            callback.close()
        wait()

    return call


def checkpoint_table(case: Case, precision: str, pass_seconds: float, folder: Path) -> Table:
    """Return size and seconds of a checkpoint, and its share of a training of all of CoLA."""
    trainer = gelora_trainer(case, precision, 1)
    trainer.state.epoch = 1
    with trainer.ready_to_step():
        trainer.train_step(case.batches()[0])
    store, seconds = Checkpoints(folder / "single", None, CLOCK), []
    for _ in range(20):
        trainer.state.step += 1
        begun = time.perf_counter()
        checkpoint = trainer.state.state_dict()
        assert checkpoint is not None
        store.save(checkpoint.state, checkpoint.tensors)
        seconds.append(time.perf_counter() - begun)
    size = max(path.stat().st_size for path in store.directory.rglob(TENSORS))
    single = statistics.median(seconds)
    epoch = pass_seconds * COLA_ROWS / len(case.rows)
    share = single * (2 / epoch + 1 / CLOCK)
    row = (f"{size / 1e6:.2f}", f"{1e3 * single:.0f}", f"{share:.2%}")
    print(f"a checkpoint: {row[0]} MB, {row[1]} ms, {row[2]} of a training of all of CoLA", flush=True)
    return Table(
        caption="A checkpoint; of a training of all of CoLA: two an epoch, and one every 300 s",
        columns=("MB", "ms", "share of the training"),
        rows=(row,),
    )


if __name__ == "__main__":
    main()
