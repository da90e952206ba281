"""The matched comparison of rank allocators: `make evidence SCALE=cpu|paper [RUNS= ARCHIVE= PARALLEL= MINUTES=]`.

Says what of `plan.yaml` is done, in run directories or in the archive, and what the rest costs. Then it runs the rest
with the code of the plan's commit, and packs what is finished every half hour and at its end. Given again, it resumes.

    python -m scripts.evidence cpu [--runs DIR] [--archive FILE] [--glue DIR] [--parallel N] [--minutes N] [--dry]
"""

from __future__ import annotations

import argparse
import functools
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import yaml

from gelora_cli.archive.reading import open_runs
from gelora_cli.config.tuned import FOLDER, read_tuned
from gelora_cli.core.done import is_done
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.locks import lock_directory
from gelora_cli.core.run_files import CONFIG
from gelora_cli.core.run_reader import RunDirectory
from scripts.evidence.plan import ROOT, Presets, Scale, Stage, Values, load_scale, scale_names, sweeps
from scripts.evidence.presets import committed_presets, preset_key, take_presets
from scripts.evidence.progress import Progress, progress
from scripts.evidence.running import Runner, check_places, link, open_tree
from scripts.evidence.whole_rounds import read_evidence
from scripts.reproduce.sweeps import override
from scripts.script_main import exit_code, handed_to

Number = TypeVar("Number", int, float)
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml takes a seventh of the time


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for, beside the plan.

    Attributes:
        scale: the scale of the plan.
        place: holds the worktree (`tree`), the run directories (`runs`) and links to data and settings.
        archive: the file that finished runs are packed into.
        glue: GLUE in the hub's layout; None for the hub.
        parallel: runs side by side; None for the launcher's own number.
        launch: the launcher, as `launch=`.
        minutes: how long it may take; None for as long as it takes.
    """

    scale: Scale
    place: Path
    archive: Path
    glue: Path | None = None
    parallel: int | None = None
    launch: str | None = None
    minutes: float | None = None

    @property
    def runs(self) -> Path:
        """Return the directory of all runs."""
        return self.place / "runs"

    @property
    def glue_link(self) -> Path:
        """Return the link to the data, which commands name: what is packed names no other directory of this machine."""
        return self.place / "glue"

    @property
    def presets_link(self) -> Path:
        """Return the link to the committed settings, which commands name for the same reason."""
        return self.place / "presets"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is left of the plan; 0 where nothing failed, 2 where the plan or an argument is wrong."""
    return exit_code("evidence", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.evidence", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scale", choices=scale_names())
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--archive", type=Path, help="in place of the plan's")
    parser.add_argument("--glue", type=Path, help="GLUE in the hub's layout; else $GELORA_DATA/glue, else the hub")
    parser.add_argument("--parallel", type=_positive(int), help="runs side by side")
    parser.add_argument("--launch", choices=("local", "slurm", "in_place"), help="in place of the plan's")
    parser.add_argument("--minutes", type=_positive(float), help="stop after these")
    parser.add_argument("--stages", help="these alone, separated by commas")
    parser.add_argument("--dry", action="store_true", help="say what is done, left and to be run, and run nothing")
    options = parser.parse_args(arguments)
    scale = load_scale(options.scale)
    request = Request(
        scale=scale,
        place=options.runs.absolute(),
        archive=(options.archive or scale.archive).absolute(),
        glue=options.glue or _glue_of_environment(),
        parallel=options.parallel or scale.values["parallel"],
        launch=options.launch,
        minutes=options.minutes,
    )
    stages = [stage.id for stage in scale.stages]
    wanted = options.stages.split(",") if options.stages else stages
    if unknown := [name for name in wanted if name not in stages]:
        parser.error(f"--stages {', '.join(unknown)}: accepted are {', '.join(stages)}")
    return evidence(request, wanted, dry=options.dry)


def evidence(request: Request, wanted: Sequence[str], *, dry: bool) -> int:
    """Say what is done and left, and run the stages that are wanted; say at the end what to commit."""
    if not dry:
        _take_finished_studies(request)
    states = read_progress(request)
    print(progress_text(request, states), flush=True)
    if dry:
        for state in states:
            if state.stage.id in wanted:
                print(commands_text(request, state))
        print("without DRY=1 (--dry) this is run, packed and, given again, resumed")
        return 0
    check_places(request.place, request.archive, request.glue)
    with lock_directory(request.place, "the directory of the comparison"):
        return _run_wanted(request, wanted)


def _run_wanted(request: Request, wanted: Sequence[str]) -> int:
    """Run what is left of the stages that are wanted, and pack it."""
    link(request.presets_link, request.scale.presets)
    if request.glue is not None:
        link(request.glue_link, request.glue)
    tree = open_tree(request.place / "tree", request.scale.commit)
    deadline = None if request.minutes is None else time.monotonic() + 60 * request.minutes
    find_problem = functools.partial(_problem_of_rounds, request)
    runner = Runner(tree, request.place, request.runs, request.archive, find_problem, deadline)
    with handed_to(runner.stop):
        try:
            for stage in request.scale.stages:
                if stage.id in wanted and not runner.is_over:
                    run_stage(request, stage, runner)
        finally:  # a stage that is refused leaves what stages before it have finished
            runner.pack()
    print(progress_text(request, read_progress(request)))
    if request.archive.exists():
        print(_last_lines(request))
    else:
        print("nothing is finished yet, so nothing is packed; the same command resumes")
    return StoppedError.exit_code if runner.stopped else runner.code


def _problem_of_rounds(request: Request) -> str:
    """Return why finished runs are no rounds of one comparison, which can't be undone once they are packed."""
    try:
        read_evidence(request.scale, [request.archive, request.runs])
    except GeloraError as error:
        return str(error)
    return ""


def _last_lines(request: Request) -> str:
    """Return the commands that keep what is packed, and that show it beside published values."""
    archive = _shown(request.archive)
    lines = ["to keep it:", f"  git add {archive} {_shown(request.scale.presets)}"]
    lines.append("  git commit -m 'Runs of the comparison'")
    if "published" in request.scale.values:
        published = request.scale.values["published"]
        lines += ["beside published values:", f"  gelora report {archive} published={published} output=report"]
    return "\n".join(lines)


def run_stage(request: Request, stage: Stage, runner: Runner) -> None:
    """Run what is left of a stage.

    Raises:
        GeloraError: a method of its rounds has no tuned settings, so that the comparison would not be one of equals.
    """
    state = next(state for state in read_progress(request) if state.stage.id == stage.id)
    _check_tuned(request.scale, state)
    for words in commands(request, state):
        if runner.is_over:
            return
        runner.run(words)
    _take_finished_studies(request)


def commands(request: Request, state: Progress) -> Iterator[list[str]]:
    """Return the words after `gelora` of each command that is left of a stage."""
    scale = request.scale
    places: Values = {"runs_dir": str(request.runs)}
    if request.glue is not None:
        places["data.glue"] = str(request.glue_link)
    places |= scale.values["launch"] if request.launch is None else {"launch": request.launch}
    if request.parallel is not None:
        places["launch.parallel"] = request.parallel
    if state.stage.is_tuning:
        for task in state.open_studies:
            yield ["tune", *_overrides(scale.study_values(state.stage, task) | places)]
        return
    for values in sweeps(state.left):
        yield ["run", "-m", *_overrides(values | places), "--config-dir", str(request.presets_link)]


def commands_text(request: Request, state: Progress) -> str:
    """Return the next command of a stage, and how many follow."""
    words = list(commands(request, state))
    if not words:
        return f"{state.stage.id}: done"
    follow = f" (and {len(words) - 1} more)" if len(words) > 1 else ""
    return f"{state.stage.id}{follow}:\n  gelora {shlex.join(words[0])}"


def _overrides(values: Values) -> list[str]:
    return [override(key, value) for key, value in values.items()]


def _check_tuned(scale: Scale, state: Progress) -> None:
    """Refuse rounds of a method that lacks a preset with all trials."""
    presets = committed_presets(scale)
    lacking = []
    for job in state.left:
        preset = presets.get((job.task, job.method, job.variant))
        if preset is None or preset.trials < scale.trials:
            lacking.append(f"{job.task} {job.method}" + ("" if job.variant == "lora" else f" {job.variant}"))
    if lacking:
        names = ", ".join(dict.fromkeys(lacking))
        raise GeloraError(
            f"{_shown(scale.presets)} lacks settings of {scale.trials} trials for {names}; run the studies before "
            f"stage {state.stage.id}, or take their presets: python -m scripts.evidence.presets STUDY..."
        )


def _take_finished_studies(request: Request) -> None:
    """Take the presets of studies below the run directories that are finished and not yet taken."""
    scale = request.scale
    there = committed_presets(scale)
    for study in sorted(request.runs.glob("tune/*")):
        try:
            files = take_presets(scale, [study]) if _is_new(scale, study, there) else []
        except GeloraError:
            continue  # not finished: its stage is still open
        if files:
            print(f"evidence: {len(files)} presets of {study.name} are now in {_shown(scale.presets)}")


def _is_new(scale: Scale, study: Path, there: Presets) -> bool:
    """Return whether a study has a preset that the plan takes and that is later than the committed one."""
    dates = {preset_key(preset): preset.date for preset in there.values()}
    found = [preset for preset in read_tuned(study / "presets" / FOLDER).values() if preset.task not in scale.carried]
    return any(dates.get(preset_key(preset), "") < preset.date for preset in found)


def read_progress(request: Request) -> list[Progress]:
    """Return what is done of each stage, in run directories or in the archive."""
    return progress(request.scale, _finished(request), committed_presets(request.scale))


def _finished(request: Request) -> Iterator[Values]:
    """Return the configuration of every finished run, in directories and in the archive, as nested values."""
    places = [place for place in (request.runs, request.archive) if place.exists()]
    for run in open_runs(places):
        if not isinstance(run, RunDirectory) or is_done(run.place):
            yield cast(Values, yaml.load(run.text(CONFIG, "a configuration"), Loader=Loader))


def progress_text(request: Request, states: Sequence[Progress]) -> str:
    """Return a table of stages with runs done and left, complete rounds, and the hours of what is left."""
    scale = request.scale
    lines = [f"evidence, SCALE={scale.name}: {scale.values['says']}; commit {scale.commit[:12]}"]
    lines.append(f"{'stage':<14} {'done':>6} {'left':>6} {scale.unit:>11}  rounds  what it is")
    for state in states:
        rounds = "-" if state.stage.is_tuning else f"{len(state.whole_rounds)} of {len(state.stage.seeds)}"
        left = state.total - state.done
        lines.append(
            f"{state.stage.id:<14} {state.done:>6} {left:>6} {state.hours:>11.1f}  {rounds:<7} {state.stage.says}"
        )
    done, total = sum(state.done for state in states), sum(state.total for state in states)
    hours = sum(state.hours for state in states)
    lines.append(f"{'in all':<14} {done:>6} {total - done:>6} {hours:>11.1f}")
    if scale.values.get("assumed"):
        lines.append("these hours follow from assumed rates, never measured; on your machine ask a run: dry_run=true")
    return "\n".join(lines)


def _positive(kind: type[Number]) -> Callable[[str], Number]:
    """Return the reader of a number above 0 of a command line."""

    def number(text: str) -> Number:
        value = kind(text)
        if not value > 0:  # NaN is not, either
            raise argparse.ArgumentTypeError(f"{text} given, a number above 0 expected")
        return value

    return number


def _glue_of_environment() -> Path | None:
    data = os.environ.get("GELORA_DATA")
    return Path(data) / "glue" if data else None


def _shown(path: Path) -> str:
    """Return a path as from the root of the repository where it lies in it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main())
