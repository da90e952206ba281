"""`README.md` of a study: what was searched and found, the picture, and the commands that go on from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gelora_cli.core.artifacts.study import MethodStudy, Study
from gelora_cli.core.files import write_atomic
from gelora_cli.core.messages import escape_markdown
from gelora_cli.report.formats import markdown
from gelora_cli.report.tables import NONE, Table, number
from gelora_cli.tuning.baseline import Baseline, describe_unbeaten
from gelora_cli.tuning.presets import run_command

SUMMARY, PICTURE, PRESETS = "README.md", "study.png", "presets"
"""What lies in the directory of a study beside `study.json`: its page, its picture, and what `--config-dir` takes."""

TITLES = ("method", "trials", "collapsed", "failed", "best", "spread", "settings", "on the edge of the range")
DIGITS = 4


def write_summary(study: Study, directory: Path, baseline: Baseline | None = None) -> Path:
    """Write the page of a study into its directory, whole or not at all, and return its file.

    Args:
        study: the study.
        directory: where it is kept.
        baseline: what its trials have to beat, where that is known.
    """
    path = directory / SUMMARY
    write_atomic(path, summary_text(study, baseline))
    return path


def summary_text(study: Study, baseline: Baseline | None = None) -> str:
    """Return the page as Markdown; its paths are from the directory of the study."""
    rows = "held-out rows" if study.examples is None else f"{study.examples:,} held-out rows"
    caption = (
        f"{study.reported} on {rows} ({study.holdout:g} of the training rows, which no trial was trained on). The best "
        "of several trials is too high for new rows. Spread: standard deviation over the trials."
    )
    table = Table(caption, TITLES, tuple(_line(method) for method in study.methods))
    title = f"gelora tune: {study.task}, {study.model}, budget {study.budget}"
    parts = [
        f"# {escape_markdown(title)}",
        f"Points by {study.sampler}, seed {study.seed}; numerics {study.numerics}; {study.date}.",
        markdown(table).rstrip("\n"),
        *_baseline_lines(study, baseline),
        f"![Value of each trial, a panel for each method]({PICTURE})",
    ]
    if study.command:
        parts += ["The search, which this resumes where it was interrupted:", f"```bash\n{study.command}\n```"]
    if any(method.best is not None for method in study.methods):
        parts.append("Runs with the settings that it found, where STUDY is this directory:")
        parts.append(f"```bash\n{run_command(study, f'STUDY/{PRESETS}')}\n```")
    return "\n\n".join(parts) + "\n"


def _baseline_lines(study: Study, baseline: Baseline | None) -> Iterator[str]:
    """Yield what trials have to beat, and which methods do not."""
    if baseline is not None:
        yield f"To beat: {study.reported} {baseline.value:.4f} with {baseline.prediction} for every row."
    if unbeaten := describe_unbeaten(study, baseline):
        yield f"**{escape_markdown(unbeaten[0].upper() + unbeaten[1:])}.**"


def _line(method: MethodStudy) -> tuple[str, ...]:
    """Return the cells of a method in the order of `TITLES`."""
    best = method.best_trial
    settings = {} if best is None else best.values
    return (
        method.label,
        str(method.ended_trials),
        str(sum(trial.collapsed for trial in method.trials)),
        str(sum(trial.status == "failed" for trial in method.trials)),
        number(None if best is None else best.value, DIGITS) or NONE,
        number(method.spread, DIGITS) or NONE,
        " ".join(f"{key}={value}" for key, value in settings.items()) or NONE,
        ", ".join(method.at_edge) or NONE,
    )
