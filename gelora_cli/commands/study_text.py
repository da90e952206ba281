"""What `gelora tune` prints: how it begins, a line for each trial, the table at its end, and what a dry run finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gelora_cli.commands.base import relative
from gelora_cli.commands.terminal import labelled, next_commands, wrapped
from gelora_cli.core.artifacts.manifest import Estimate
from gelora_cli.core.artifacts.study import MethodStudy, SearchedKey, SettingValue, Study, Trial, Widening
from gelora_cli.core.messages import escape_controls
from gelora_cli.launchers.job import Outcome
from gelora_cli.report.text_table import format_table, terminal_width
from gelora_cli.tuning.baseline import Baseline, describe_unbeaten
from gelora_cli.tuning.presets import run_command
from gelora_cli.tuning.summary import PICTURE, PRESETS, SUMMARY

HEADER = ("method", "trials", "collapsed", "best", "at", "spread", "edge", "hours")
LEFT_OUT_FIRST = ("hours", "spread", "edge")


def announce_study(study: Study, directory: Path) -> str:
    """Return what is printed before the first trial: the study, and what is searched for each method."""
    total = study.trials_per_method
    done = sum(trial.status == "done" for method in study.methods for trial in method.trials)
    share = f"{study.holdout:.3g} of the training rows held out"
    methods = f"{len(study.methods)} method{'s' * (len(study.methods) > 1)}"
    trials = f"{total} trial{'s' * (total > 1)} each by {study.sampler}"
    text = f"{methods}, {trials}, {share}, {done} done before"
    lines = [labelled("study", text), labelled("folder", str(relative(directory)))]
    for method in study.methods:
        lines.append(labelled("space", f"{method.label}: {', '.join(map(_range_text, method.space))}"))
    return "\n".join(lines)


def trial_line(study: Study, label: str, trial: Trial) -> str:
    """Return what came of a trial, on one line."""
    values = " ".join(f"{key}={value}" for key, value in trial.values.items())
    if trial.value is None:
        came = escape_controls(f"failed: {trial.message}", one_line=True)
    else:
        came = f"{study.reported} {trial.value:.4f}{' (collapsed)' if trial.collapsed else ''}"
    return f"gelora: {label}, trial {trial.number} of {study.trials_per_method}: {values}: {came}"


def study_table(study: Study, *, interrupted: bool, baseline: Baseline | None = None) -> str:
    """Return the table of methods, what they have to beat, and what was made wider."""
    rows = [_row(study, method) for method in study.methods]
    lines = ["", format_table(HEADER, rows, width=terminal_width(), optional=LEFT_OUT_FIRST, wrapped="at"), ""]
    held_out = "held-out training rows" if study.examples is None else f"{study.examples:,} held-out training rows"
    text = f"best: the highest {study.reported} of all trials, on {held_out}, so it is too high for new rows"
    lines.append(wrapped(text))
    if baseline is not None:
        lines.append(f"to beat: {study.reported} {baseline.value:.4f} with {baseline.prediction} for every row")
    if unbeaten := describe_unbeaten(study, baseline):
        lines.append(wrapped(unbeaten))
    lines += [wrapped(_widening_text(widening)) for widening in study.widenings]
    failed = sum(trial.status == "failed" for method in study.methods for trial in method.trials)
    if failed:
        lines.append(f"{failed} trial{'s' * (failed > 1)} failed: give the same command again to try once more")
    if interrupted:
        lines.append("interrupted: give the same command again to resume")
    return "\n".join(lines)


def study_files(study: Study, directory: Path) -> str:
    """Return where a study is, and the command that trains each method with its best settings on all rows."""
    lines = [
        labelled("study", str(relative(directory / Study.FILE))),
        labelled("files", f"{SUMMARY} (the table), {PICTURE}, {PRESETS}/ in the same directory"),
    ]
    if any(method.best is not None for method in study.methods):
        lines.append(next_commands(run_command(study, str(relative(directory / PRESETS)))))
    return "\n".join(lines)


def dry_run_text(labels: Sequence[str], outcomes: Sequence[Outcome], trials: int) -> str:
    """Return how many trials there would be, and about how many hours."""
    header = ("method", "trials", "minutes a trial", "hours")
    table, hours, measuring = estimated_hours(header, labels, outcomes, trials)
    total = (
        f"{len(labels) * trials} trials, about {hours:.2f} hours one after the other, of which "
        f"{measuring:.2f} for profiles and signals; a wider range adds to them"
    )
    return "\n".join(["", table, "", wrapped(total)])


def estimated_hours(
    header: Sequence[str], labels: Sequence[str], outcomes: Sequence[Outcome], runs: int
) -> tuple[str, float, float]:
    """Return a table of what runs would take, the hours of all, and those of profiles and signals among them.

    Args:
        header: the titles: what a line is of, runs, minutes of one, hours.
        labels: what each line is of.
        outcomes: the dry run of each; fewer where a signal came.
        runs: how many there are of each line.
    """
    rows, signals, hours = [], dict[str, float](), 0.0
    for label, outcome in zip(labels, outcomes, strict=False):
        if outcome.cost is None:
            rows.append([label, str(runs), "-", outcome.message or "-"])
            continue
        cost = Estimate(**outcome.cost)
        seconds = cost.train_seconds + cost.evaluation_seconds + cost.attach_seconds
        signals |= cost.signals  # once for all runs that share one
        hours += runs * seconds / 3600
        rows.append([label, str(runs), f"{seconds / 60:.1f}", f"{runs * seconds / 3600:.2f}"])
    measuring = sum(signals.values()) / 3600
    return format_table(header, rows, width=terminal_width()), hours + measuring, measuring


def _row(study: Study, method: MethodStudy) -> list[str]:
    """Return the cells of a method."""
    done = [trial for trial in method.trials if trial.value is not None]
    counted = f"{len(done)}" if len(done) == study.trials_per_method else f"{len(done)} of {study.trials_per_method}"
    best = method.best_trial
    return [
        method.label,
        counted,
        str(sum(trial.collapsed for trial in done)),
        "-" if best is None or best.value is None else f"{best.value:.4f}",
        "-" if best is None else _values_text(best.values),
        "-" if method.spread is None else f"{method.spread:.4f}",
        ", ".join(key.rpartition(".")[2] for key in method.at_edge) or "-",
        f"{sum(trial.seconds or 0.0 for trial in method.trials) / 3600:.2f}",
    ]


def _values_text(values: Mapping[str, SettingValue]) -> str:
    return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in values.items())


def _range_text(searched: SearchedKey) -> str:
    """Return a searched key with where it is searched."""
    if searched.choices:
        return f"{searched.key} {' or '.join(searched.choices)}"
    return f"{searched.key} {searched.low:g} to {searched.high:g}{' (log)' if searched.log else ''}"


def _widening_text(widening: Widening) -> str:
    """Return what was made wider and why."""
    ends = {"low": "below", "high": "above", "both": "on both sides"}
    keys = ", ".join(f"{key} {ends[side]}" for key, side in widening.sides.items())
    return (
        f"made wider for all methods: {keys}, since the best trial of {', '.join(widening.methods)} lay on the edge; "
        f"{widening.trials} trials more for each method"
    )
