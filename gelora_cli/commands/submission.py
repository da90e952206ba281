"""`gelora submit`: finished runs to the files that the GLUE benchmark takes.

Everything is checked before the first prediction; a run's labels are matched to the benchmark's by name.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import ClassVar

from gelora_cli.commands.submission_candidates import Candidate, choose_runs, find_candidates
from gelora_cli.commands.submission_files import HEADER, PARTS, Answers, Part, answer_lines
from gelora_cli.config.checks import list_problems
from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.codec import to_json
from gelora_cli.core.directories import new_directory
from gelora_cli.core.environment import utc_now
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import write_atomic
from gelora_cli.core.logs import LOGGER
from gelora_cli.data.sources import load_unlabelled_split, source_directory
from gelora_cli.data.tables import count_rows
from gelora_cli.pipeline.finished import reopen_run
from gelora_cli.pipeline.inputs import ResolvedInputs, collect_problems
from gelora_cli.pipeline.predict import predict_splits
from gelora_cli.report.text_table import format_table

ZIP = "submission.zip"
SETTING = "output=DIR"
"""What the advice names where a file can't be written."""


@dataclass(frozen=True)
class SubmittedFile:
    """A file, and where it comes from: the best of `candidates` runs, or a constant (then there is no run).

    `clipped` predictions lay outside 0 to 5.
    """

    file: str
    rows: int
    official_rows: int
    run: str | None
    metric: str | None
    value: float | None
    candidates: int
    constant: str | None
    clipped: int
    sha256: str


@dataclass(frozen=True)
class Submission:
    """`submission.json`: where every file comes from, and the files that are missing.

    `choose` is the rule that took one of several runs; `left_out` are the runs that answer nothing, with the reason.
    """

    created: str
    choose: str | None
    files: tuple[SubmittedFile, ...]
    missing: tuple[str, ...]
    left_out: tuple[str, ...]

    FILE: ClassVar[str] = "submission.json"

    @property
    def official(self) -> bool:
        """Return whether the benchmark takes it: all files, each with its official number of rows."""
        return not self.missing and all(file.rows == file.official_rows for file in self.files)


def submit(
    directories: Sequence[Path],
    target: Path,
    *,
    glue: str | None = None,
    choose: str | None = None,
    check_rows: bool = True,
    fill_missing: bool = False,
) -> Submission:
    """Answer the benchmark's test rows with the runs at or below `directories`, and write files and zip to `target`.

    `glue` is where the test rows are, by default where each run's data was. Files of tasks without a run are left out,
    and no zip is written then, or `fill_missing` puts a constant in every line. `check_rows=False` accepts another
    number of rows than the official one.

    Raises:
        GeloraError: no such run, several for a task and no rule, labels or rows that are not the benchmark's, or a
            target that is not empty; all that is wrong together, before any prediction.
    """
    with new_directory(target) as directory:
        candidates, left_out = find_candidates(directories)
        chosen = choose_runs(candidates, choose)
        counts, reopened = _check_and_count(chosen, glue, check_rows, fill_missing)
        # Constants first, which the answers of the chosen runs then replace.
        answers = {part.file: Answers([part.constant] * counts[part.file]) for part in PARTS if part.file in counts}
        for task, run in chosen.items():
            LOGGER.info("%s: %s", task, run)
            answers |= _answers(run, reopened[task], glue)
        runs_of_task = Counter(run.config.task.name for run in candidates)
        files = []
        missing = []
        for part in PARTS:
            if part.file in answers:
                run_of_part = chosen.get(part.task)
                files.append(_write(directory, part, answers[part.file], run_of_part, runs_of_task[part.task]))
            else:
                missing.append(part.file)
        submission = Submission(utc_now(), choose, tuple(files), tuple(missing), tuple(left_out))
        write_atomic(directory / Submission.FILE, to_json(submission), SETTING)
        if not missing:  # the benchmark takes no fewer files
            write_atomic(directory / ZIP, zip_files([directory / part.file for part in PARTS]), SETTING)
        return submission


def _check_and_count(
    chosen: Mapping[str, Candidate], glue: str | None, check_rows: bool, fill: bool
) -> tuple[dict[str, int], dict[str, ResolvedInputs]]:
    """Check runs and test rows; return the number of rows of each file to write, and the reopened run of each task.

    Raises:
        GeloraError: all at once: runs that are damaged or whose model is gone, and labels, splits and numbers of rows
            that are not the benchmark's.
    """
    counts: dict[str, int] = {}
    reopened: dict[str, ResolvedInputs] = {}
    problems: list[str] = []
    for task, chosen_run in chosen.items():
        with collect_problems(problems):
            reopened[task] = reopen_run(chosen_run.directory)
    for part in PARTS:
        run = chosen.get(part.task)
        # A file without a run is filled as long as the others' data says, where that has its rows.
        source = glue or (run or next(iter(chosen.values()))).config.data.glue
        with collect_problems(problems):
            if run:
                counts[part.file] = _checked_rows(part, run, source, check_rows)
            elif fill:
                counts[part.file] = part.rows if check_rows else _rows_to_fill(part, source)
    if problems:
        raise GeloraError(list_problems(problems))
    return counts, reopened


def _checked_rows(part: Part, run: Candidate, source: str, check_rows: bool) -> int:
    """Return the number of rows that a run will answer in one file."""
    task = run.config.task
    if set(task.labels) != set(part.words):
        names = [", ".join(labels) or "a score" for labels in (task.labels, part.words)]
        raise GeloraError(
            f"{run.directory}: its labels are {names[0]}, those of {part.file} are {names[1]}; give a run with the "
            "benchmark's labels"
        )
    rows = _count_rows(part, task, source)
    if check_rows and rows != part.rows:
        raise GeloraError(
            f"{part.file}: {rows:,} rows in split {part.split} of {source}, the benchmark has {part.rows:,}. Give the "
            "whole test set by data.glue=DIR; or accept it, for a trial that can't be handed in, by check_rows=false"
        )
    return rows


def _rows_to_fill(part: Part, source: str) -> int:
    """Return the number of rows in the data, or the official one where the data lacks the split."""
    try:
        return _count_rows(part, TaskConfig(name=part.task), source)
    except GeloraError:
        return part.rows


def _count_rows(part: Part, task: TaskConfig, source: str) -> int:
    task_of_part = _with_folder(part, task)
    return count_rows(source_directory(task_of_part, DataConfig(glue=source)), task_of_part, part.split)


def _with_folder(part: Part, task: TaskConfig) -> TaskConfig:
    """Return the task with the folder of this file's rows."""
    return replace(task, folder=part.folder or task.folder)


def _answers(run: Candidate, inputs: ResolvedInputs, glue: str | None) -> dict[str, Answers]:
    """Return what a run answers in each of its files; its model is loaded once."""
    task, source = run.config.task, glue or run.config.data.glue
    parts = [part for part in PARTS if part.task == task.name]
    splits = [load_unlabelled_split(_with_folder(part, task), DataConfig(glue=source), part.split) for part in parts]
    predictions = predict_splits(run.directory, inputs, splits)
    return {part.file: answer_lines(part, rows) for part, rows in zip(parts, predictions, strict=True)}


def _write(directory: Path, part: Part, answers: Answers, run: Candidate | None, candidates: int) -> SubmittedFile:
    """Write one file, and return where it comes from."""
    text = HEADER + "".join(f"{index}\t{word}\n" for index, word in enumerate(answers.words))
    write_atomic(directory / part.file, text, SETTING)
    return SubmittedFile(
        file=part.file,
        rows=len(answers.words),
        official_rows=part.rows,
        run=str(run.directory) if run else None,
        metric=run.metric if run else None,
        value=run.value if run else None,
        candidates=candidates,
        constant=None if run else part.constant,
        clipped=answers.clipped,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def zip_files(paths: Sequence[Path]) -> bytes:
    """Return a zip of the files without their times, so that equal files give equal bytes."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def summary(submission: Submission, target: Path) -> str:
    """Return what was written and from which run, a line per file, and why the benchmark would not take it."""
    by_name = {file.file: file for file in submission.files}
    rows = [_row(part, by_name.get(part.file)) for part in PARTS]
    text = [format_table(("file", "rows", "from"), rows)]
    if submission.choose:
        text.append("choose=best: of several runs the one with the largest value on the dev set, which is optimistic")
    text += [f"left out: {reason}" for reason in submission.left_out]
    if submission.missing:
        text.append(
            f"{len(submission.missing)} of {len(PARTS)} files are missing ({', '.join(submission.missing)}), and the "
            f"benchmark takes no fewer: no {ZIP} was written. Give runs of their tasks, or fill_missing=true"
        )
    elif not submission.official:
        text.append("not for handing in: some files have other numbers of rows than the benchmark's")
    text.append(f"submission: {target if submission.missing else target / ZIP}")
    return "\n".join(text)


def _row(part: Part, file: SubmittedFile | None) -> tuple[str, str, str]:
    """Return the cells of a file in the summary: its name, its rows, and the run that it comes from."""
    if file is None:
        return part.file, "-", f"no run of task={part.task}"
    rows = f"{file.rows:,}" + (f" of {file.official_rows:,}" if file.rows != file.official_rows else "")
    if file.run is None:
        return part.file, rows, f"no run of task={part.task}: {file.constant} in every line"
    several = f", best of {file.candidates}" if file.candidates > 1 else ""
    clipped = f", {file.clipped} brought into 0 to 5" if file.clipped else ""
    return part.file, rows, f"{file.run} ({file.metric} {file.value:.4f}{several}{clipped})"
