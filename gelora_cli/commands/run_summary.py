"""What `gelora run` says at its end: the value, what it has to beat, the seconds, the files, and what to type next."""

from __future__ import annotations

import shlex
from pathlib import Path

from gelora_cli.allocation.stability import summarize_stability
from gelora_cli.commands.base import relative
from gelora_cli.commands.terminal import labelled, next_commands
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.registries import METHODS, TASK_KINDS
from gelora_cli.pipeline.baseline import describe_constant
from gelora_cli.pipeline.run import FinishedRun

STAGES = {
    "model": "loading",
    "data": "data",
    "profile": "profile",
    "attach": "attaching",
    "train": "training and evaluation",
    "reload": "reload check",
}
"""Stages as `run.json` calls them -> as a reader calls them, in their order."""
RESUMED_SECONDS = 1.0
"""Seconds of training by which a run must exceed those of its last attempt to be called resumed."""
PICTURES = ("profile.png", "ranks.png", run_files.CURVE, run_files.TRACK)


def run_summary(run: FinishedRun, *, wants_track: bool, sweeping: bool) -> str:
    """Return the text that ends a run.

    Args:
        run: the finished run.
        wants_track: whether the command asked for `profile.track`.
        sweeping: whether the run is one of several jobs; then it says nothing about the next command.
    """
    result, directory = run.result, relative(run.directory)
    lines = _why_not_trained(run)
    reported = result.results[0]
    text = f"{result.reported} {result.value:.4f} on {reported.examples:,} examples of {reported.split}"
    lines.append(labelled("value", text))
    before = result.train.value_before(reported.split)
    if before is not None:
        text = f"{result.reported} {before:.4f} before the first step"
        if result.value < before:
            text += ", which is better: try a lower train.learning_rate"
        lines.append(labelled("before", text))
    if run.baseline is not None:
        constant = describe_constant(run.config.task, result.reported)
        lines.append(labelled("to beat", f"{result.reported} {run.baseline:.4f} with {constant} for every example"))
    if run.stability is not None:
        lines.append(labelled("plan", summarize_stability(run.stability)))
    if result.train.early_stop:
        lines.append(labelled("epochs", result.train.early_stop))
    lines += [labelled("note", remark) for remark in run.remarks]
    if run.seconds:
        lines.append(labelled("seconds", _seconds_text(run)))
    if run.is_packed:
        lines.append(labelled("results", "in the archive, without the adapter: force=true trains the run again"))
        return "\n".join(lines)
    lines.append(labelled("results", str(directory / RunResult.FILE)))
    pictures = [name for name in PICTURES if (run.directory / name).exists()]
    files = ", ".join([f"{run_files.CARD} (model card)", *pictures, run_files.LOG])
    lines.append(labelled("files", f"{files} in the same directory"))
    # Tracking changes no number, so it is no part of a run's identity: the same run may have been done without.
    is_old = run.already_done or run.same_as is not None
    if is_old and wants_track and not (run.directory / run_files.TRACK).exists():
        text = "this run was not tracked; profile.track=true with force=true runs it again, with the same numbers"
        lines.append(labelled("note", text))
    if not sweeping:
        lines.append(_next_commands(run, directory))
    return "\n".join(lines)


def _why_not_trained(run: FinishedRun) -> list[str]:
    """Return why nothing was trained: the run was done before, or equals another run."""
    lines = []
    if run.already_done:
        lines.append(labelled("", f"done before, nothing to do (force=true runs it again): {relative(run.directory)}"))
    if run.same_as:
        text = (
            f"not trained: it has the ranks of {relative(run.same_as)}, so it is the same run (force=true trains it "
            "all the same)"
        )
        lines.append(labelled("", text))
    return lines


def _seconds_text(run: FinishedRun) -> str:
    """Return the seconds of all stages together and of each; of a linked run, those of the run that was trained."""
    seconds, result, names = run.seconds, run.result, dict(STAGES)
    if not result.profile_seconds:
        del names["profile"]  # the method has none
    elif result.profile_reused and not run.same_as:
        names["profile"] = "reused profile"
    stages = [f"{name} {_rounded(seconds[key])}" for key, name in names.items() if key in seconds]
    total, listed = _rounded(sum(seconds.values())), ", ".join(stages)
    if run.same_as:
        now = "" if run.spent is None else f"{_rounded(run.spent)} now, without training; "
        return f"{now}the run that was trained took {total} in all: {listed}"
    training = result.train.seconds + result.train.evaluation_seconds
    if training > seconds.get("train", training) + RESUMED_SECONDS:
        return f"{total} since it was resumed: {listed}; of all attempts training and evaluation {_rounded(training)}"
    return f"{total} in all: {listed}"


def _rounded(seconds: float) -> str:
    """Return seconds as a reader wants them: whole ones from ten on."""
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}"


def _next_commands(run: FinishedRun, directory: Path) -> str:
    """Return commands that use the run."""
    file = TASK_KINDS.get(run.config.task.kind).example_file
    form = " form=adapter" if METHODS.get(run.config.method.name).unmergeable else ""
    quoted = shlex.quote(str(directory))
    return next_commands(
        f"gelora predict {quoted} file={file}",
        f"gelora export {quoted} output=exported{form}",
        f"gelora ls {shlex.quote(str(relative(Path(run.config.runs_dir))))}",
    )
