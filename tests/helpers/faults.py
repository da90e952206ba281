"""Kill runs at random moments, give the same command again, and compare with a run that nothing happened to.

    python -m tests.helpers.faults --work DIR            # all faults; those that are done are not done again
    python -m tests.helpers.faults --work DIR --checkpoints off    # must fail

Each fault is a row of DIR/faults.csv: what was killed in which phase, the last step with a line of metrics and that of
the last whole checkpoint then, the step it was resumed from, and whether weights, lines of metrics (timings aside),
predictions and ranks are the same. A fault has passed where they are, no process is left over, and at most one interval
of checkpoints was repeated: without checkpoints that can't be.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gelora_cli.core.files import file_sha256
from gelora_cli.core.run_files import METRICS
from gelora_cli.training.checkpoint import saved_checkpoints
from tests.helpers.metric_lines import without_times
from tests.helpers.waiting import SECONDS, wait_until

PHASES = ("profile", "training", "evaluation", "checkpoint", "anywhere")
SMALL_SQUAD = ("task.max_length=48", "task.stride=12", "task.max_question_length=12", "task.max_answer_length=8")
SMALL_PLURAL = (
    "task.max_length=48",
    "task.max_new_tokens=4",
    "data.max_train_examples=60",
    "data.max_eval_examples=12",
)
SETTINGS = (
    *("budget=auto", "train.learning_rate=0.01", "train.batch_size=8"),
    *("train.epochs=3", "train.log_steps=2", "train.checkpoint_seconds=null"),
)
EVERY_STEPS = 3
ENOUGH = 40
MISSED = "nothing: it had ended"


@dataclass(frozen=True)
class Fault:
    """One kill: of which run, in which phase; `number` draws the moment."""

    task: str
    method: str
    processes: int
    phase: str
    number: int = 0
    precision: str = "float32"

    @property
    def run(self) -> str:
        """Return what is run, whatever is done to it."""
        return f"{self.task}-{self.method}-{self.processes}-{self.precision}"

    @property
    def name(self) -> str:
        return f"{self.run}-{self.phase}-{self.number}"


@dataclass(frozen=True)
class Row:
    """What came of a fault."""

    task: str
    method: str
    processes: int
    phase: str
    number: int
    precision: str
    killed: str
    logged: int
    checkpoint: int
    resumed: int
    orphans: int
    equal: bool
    differs: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Return whether all is bitwise the same, nothing is left over, and at most one interval was repeated."""
        repeated = self.logged - self.resumed
        return self.equal and not self.orphans and self.resumed >= self.checkpoint and repeated <= EVERY_STEPS


@dataclass(frozen=True)
class Place:
    """Where models and data are, and where runs go."""

    work: Path
    model: Path
    glue: Path
    squad: Path
    checkpoints: bool = True

    @property
    def decoder(self) -> Path:
        """Return the directory of a model for text generation."""
        return self.work / "decoder"

    def command(self, fault: Fault, runs: Path) -> list[str]:
        """Return the command that is killed and given again."""
        every = f"train.checkpoint_steps={EVERY_STEPS if self.checkpoints else 'null'}"
        # Of two rows the longest sequence never holds both, so packed micro-batches have more.
        own: dict[str, tuple[str, ...]] = {
            "cola": ("train.micro_batch_size=2",),
            "squad_v2": ("train.micro_batch_size=2", *SMALL_SQUAD, f"data.squad_v2={self.squad}"),
            "plural": ("train.micro_batch_size=4", *SMALL_PLURAL, "train.packing=true"),
        }
        model = self.decoder if fault.task == "plural" else self.model
        overrides = [f"task={fault.task}", f"method={fault.method}", f"launch.processes={fault.processes}"]
        overrides += [f"model.path={model}", f"data.glue={self.glue}", f"runs_dir={runs}"]
        overrides += [f"precision={fault.precision}"]
        return [sys.executable, "-m", "gelora_cli", "run", *overrides, *SETTINGS, *own[fault.task], every]


def all_faults() -> Iterator[Fault]:
    """Yield more than sixty faults: four methods on one and two processes in every phase, and other tasks."""
    for processes in (1, 2):
        for method in ("gelora", "adalora", "sora", "full"):
            for phase in PHASES:
                if phase != "profile" or method == "gelora":
                    yield Fault("cola", method, processes, phase)
        for method in ("gelora", "sora"):
            for phase in ("training", "evaluation", "anywhere"):
                yield Fault("squad_v2", method, processes, phase, 1)
                yield Fault("plural", method, processes, phase, 3)
        for method in ("gelora", "full"):
            for phase in ("training", "anywhere"):
                yield Fault("cola", method, processes, phase, 2, "bf16")


def run_anew(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)


def try_fault(
    place: Place, fault: Fault, give_again: Callable[[list[str]], subprocess.CompletedProcess[str]] = run_anew
) -> Row:
    """Kill a run, give its command again, compare; where it had ended before, sooner the next time."""
    started = time.perf_counter()
    reference = reference_run(place, fault)
    runs = place.work / "faults" / fault.name
    command = place.command(fault, runs)
    for attempt in range(5):
        shutil.rmtree(runs, ignore_errors=True)
        victim = kill_in_phase(fault, command, runs, reference, attempt)
        if victim != MISSED:
            break
    orphans, checkpoint, logged = left_over(runs), last_whole(runs), last_logged(runs)
    done = give_again(command)
    resumed = [int(step) for step in re.findall(r"resumed from the checkpoint at step (\d+)", done.stderr)]
    differs = f"exit {done.returncode}: {done.stderr[-200:]}" if done.returncode else difference(reference, only(runs))
    about = asdict(fault) | {"killed": victim, "logged": logged, "checkpoint": checkpoint}
    about["resumed"] = max(resumed, default=0)
    seconds = round(time.perf_counter() - started, 1)
    return Row(**about, orphans=orphans, equal=not differs, differs=differs, seconds=seconds)


def reference_run(place: Place, fault: Fault) -> Path:
    """Return the directory of the same run that nothing happened to; it is run only once."""
    runs = place.work / "whole" / fault.run
    if not any((path / "DONE").exists() for path in directories(runs)):
        subprocess.run(place.command(fault, runs), capture_output=True, text=True, check=True, timeout=SECONDS)
    return only(runs)


def kill_in_phase(fault: Fault, command: list[str], runs: Path, reference: Path, attempt: int) -> str:
    """Start the command, kill it at the fault's moment, and return who was killed."""
    moment = random.Random(f"{fault.name}-{attempt}")
    process = start(command)
    wait_for_moment(fault, runs, process, moment, reference, share=0.8**attempt)
    victim = kill(process, fault, moment)
    return MISSED if any((path / "DONE").exists() for path in directories(runs)) else victim


def start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start the command in a process group of its own, and drop its output."""
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=nowhere, stderr=nowhere, start_new_session=True)


def wait_for_moment(
    fault: Fault,
    runs: Path,
    process: subprocess.Popen[bytes],
    moment: random.Random,
    reference: Path,
    share: float,
) -> None:
    """Wait until the run is in the phase, and then at most a `share` of its length more; or until it has ended."""
    manifest = json.loads((reference / "run.json").read_text())
    lines = len((reference / "metrics.jsonl").read_text().splitlines())
    wanted, evaluation = moment.randrange(1, lines - 2), moment.randrange(1, 3)
    profiling = float(manifest["seconds"]["profile"])
    reached: dict[str, tuple[Callable[[], bool], float]] = {
        "profile": (lambda: "run directory" in text_of(runs, "log.txt"), profiling),
        "training": (lambda: text_of(runs, "metrics.jsonl").count("\n") >= wanted, 0.1),
        "evaluation": (lambda: last_whole(runs) >= evaluation * epoch_steps(reference), 0.03),
        "checkpoint": (lambda: last_whole(runs) >= wanted and is_writing(runs), 0.0),
        "anywhere": (lambda: bool(text_of(runs, "log.txt")), sum(manifest["seconds"].values())),
    }
    arrived, most = reached[fault.phase]
    wait_until(lambda: process.poll() is not None or arrived(), fault.phase, process, pause=0.001)
    time.sleep(moment.uniform(0.0, share * most))


def kill(process: subprocess.Popen[bytes], fault: Fault, moment: random.Random) -> str:
    """Send `kill -9` to the command, all its processes, or one worker, and return which it was."""
    workers = children(process.pid)
    victims = {"command": [process.pid], "group": [process.pid, *workers]}
    if fault.processes > 1 and workers:
        victims["worker"] = [moment.choice(workers)]
    name = moment.choice(list(victims))
    if process.poll() is not None:
        return MISSED
    for pid in victims[name]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(timeout=SECONDS)
    return name


def children(pid: int) -> list[int]:
    """Return the processes below this one that still exist."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


def left_over(runs: Path) -> int:
    """Count the processes that still work on these runs five seconds later."""
    deadline = time.perf_counter() + 5
    count = 1
    while count and time.perf_counter() < deadline:
        count = sum(str(runs).encode() in command for command in commands())
        time.sleep(0.05)
    return count


def commands() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue


def last_whole(runs: Path) -> int:
    """Return the step of the newest checkpoint of the run, 0 without one."""
    return max(
        (int(path.name.split("-")[1]) for found in directories(runs) for path in saved_checkpoints(found)),
        default=0,
    )


def checkpointed(runs: Path) -> int:
    """Return how many runs have a checkpoint."""
    return sum(bool(saved_checkpoints(path)) for path in directories(runs))


def last_logged(runs: Path) -> int:
    """Return the last step with a complete line of metrics, 0 without one."""
    lines = text_of(runs, "metrics.jsonl").split("\n")[:-1]
    return int(json.loads(lines[-1])["step"]) if lines else 0


def is_writing(runs: Path) -> bool:
    return any(any((path / "checkpoints").glob(".writing-*")) for path in directories(runs))


def directories(runs: Path) -> list[Path]:
    return [path.parent for path in runs.glob("*/*/*/*/config.yaml")]


def only(runs: Path) -> Path:
    (directory,) = directories(runs)
    return directory


def text_of(runs: Path, name: str) -> str:
    found = [path / name for path in directories(runs)]
    return found[0].read_text(errors="replace") if found and found[0].exists() else ""


def epoch_steps(reference: Path) -> int:
    result = json.loads((reference / "result.json").read_text())["train"]
    return int(result["steps"] / result["epochs"])


def difference(one: Path, other: Path) -> str:
    """Return the first thing that must be equal and is not, empty where everything is equal."""
    for name in ("adapter/adapter_model.safetensors", "predictions.jsonl", "ranks.json"):
        if file_sha256(one / name) != file_sha256(other / name):
            return name
    if (one / METRICS).exists() and without_times(one) != without_times(other):
        return METRICS
    for name in ("profile.json", "result.json"):
        if (one / name).exists() and untimed(one / name) != untimed(other / name):
            return name
    return ""


def untimed(path: Path) -> Any:
    """Return a JSON file without seconds, the mark of a reused profile, and the sha256 over these."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {key: strip(item) for key, item in value.items() if "seconds" not in key}
            return {key: item for key, item in kept.items() if key not in ("profile_reused", "sha256")}
        return [strip(item) for item in value] if isinstance(value, list) else value

    return strip(json.loads(path.read_text()))


def make_place(work: Path, *, checkpoints: bool) -> Place:
    """Make a tiny model, sentences and questions, once."""
    from tests.helpers.rows import squad_rows, write_squad, write_task
    from tests.helpers.tiny import make_tiny

    place = Place(work, work / "model", work / "glue", work / "squad", checkpoints)
    if not (work / "made").exists():
        make_tiny("bert", place.model)
        write_task(place.glue, "cola")
        for split, count, seed in (("train", 60, 1), ("validation", 23, 2)):
            write_squad(place.squad, "squad_v2", split, squad_rows(count, seed, unanswerable=True))
        make_tiny("llama", place.decoder)
        (work / "made").write_text("")
    return place


def main() -> int:
    """Try the faults that have no row yet; 1 where one of them has failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/faults"))
    parser.add_argument("--checkpoints", choices=("on", "off"), default="on")
    parser.add_argument("--only", default="", help="those with this text in their names")
    arguments = parser.parse_args()
    work = arguments.work.absolute() / arguments.checkpoints
    work.mkdir(parents=True, exist_ok=True)
    place = make_place(work, checkpoints=arguments.checkpoints == "on")
    table = work / "faults.csv"
    rows = [read_row(row) for row in csv.DictReader(table.open())] if table.exists() else []
    known = {Fault(row.task, row.method, row.processes, row.phase, row.number, row.precision) for row in rows}
    asked = [fault for fault in all_faults() if arguments.only in fault.name]
    for fault in asked:
        if fault in known:
            continue
        rows.append(try_fault(place, fault))
        write_rows(rows, table)
        print("  ".join(str(value) for value in asdict(rows[-1]).values()), flush=True)
    return summary(rows, min(len(asked), ENOUGH))


def summary(rows: list[Row], enough: int) -> int:
    """Say what came of it; 1 where a fault has failed, or fewer runs were killed than is enough."""
    kills = [row for row in rows if row.killed != MISSED]
    late = [row for row in kills if row.checkpoint]
    failed = [row for row in kills if not row.passed]
    print(f"{len(kills)} kills, {len(late)} after a checkpoint; {len(kills) - len(failed)} as if nothing had happened")
    for row in failed:
        repeated = f"resumed from step {row.resumed}, killed after step {row.logged} (checkpoint {row.checkpoint})"
        print(f"failed: {row.task} {row.method} {row.processes} {row.phase}: {row.differs or repeated}")
    return 1 if failed or len(kills) < enough else 0


def read_row(values: dict[str, str]) -> Row:
    numbers = {key: int(values[key]) for key in ("processes", "number", "logged", "checkpoint", "resumed", "orphans")}
    return Row(**(values | numbers | {"equal": values["equal"] == "True", "seconds": float(values["seconds"])}))  # type: ignore[arg-type]


def write_rows(rows: list[Row], path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
