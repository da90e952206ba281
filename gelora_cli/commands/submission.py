"""`gelora submit`: finished runs to the files that the GLUE benchmark takes (https://gluebenchmark.com/submit).

A submission is a zip of eleven tab-separated files with the header `index`, `prediction` and a line per test row.
File names, label words and row counts are the benchmark's; a run's labels are matched to them by name.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

from gelora_cli.config.checks import list_problems
from gelora_cli.config.files import read_config
from gelora_cli.config.schema import DataConfig, RunConfig, TaskConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.result import SMOKE_REMARK, RunResult
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.directories import new_directory
from gelora_cli.core.done import is_done
from gelora_cli.core.environment import utc_now
from gelora_cli.core.errors import GeloraError, RunError
from gelora_cli.core.files import write_atomic
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.status import find_runs
from gelora_cli.data.sources import load_unlabelled_split, source_directory
from gelora_cli.data.tables import count_rows
from gelora_cli.pipeline.finished import reopen_run
from gelora_cli.pipeline.inputs import collect_problems
from gelora_cli.pipeline.predict import predict_splits
from gelora_cli.report.text_table import format_table

HEADER = "index\tprediction\n"
ZIP = "submission.zip"
LOWEST, HIGHEST = 0.0, 5.0
"""Of a similarity in STS-B."""

ENTAILMENT = {name: name for name in ("entailment", "not_entailment")}
INFERENCE = {name: name for name in ("entailment", "neutral", "contradiction")}


@dataclass(frozen=True)
class Part:
    """One file of a submission: the task that answers it, the split it answers, and its official number of rows.

    `words` are label name (the hub's) to what the file says for it; none for a score. `folder` holds the rows where
    that is not the task's own.
    """

    file: str
    task: str
    rows: int
    words: Mapping[str, str]
    split: str = "test"
    folder: str | None = None

    @property
    def constant(self) -> str:
        """What stands in every line where there is no run: the word of the first label, or the lowest score."""
        return next(iter(self.words.values()), f"{LOWEST:.3f}")


PARTS = (
    Part("CoLA.tsv", "cola", 1_063, {"unacceptable": "0", "acceptable": "1"}),
    Part("SST-2.tsv", "sst2", 1_821, {"negative": "0", "positive": "1"}),
    Part("MRPC.tsv", "mrpc", 1_725, {"not_equivalent": "0", "equivalent": "1"}),
    Part("STS-B.tsv", "stsb", 1_379, {}),
    Part("QQP.tsv", "qqp", 390_965, {"not_duplicate": "0", "duplicate": "1"}),
    Part("MNLI-m.tsv", "mnli", 9_796, INFERENCE, "test_matched"),
    Part("MNLI-mm.tsv", "mnli", 9_847, INFERENCE, "test_mismatched"),
    Part("QNLI.tsv", "qnli", 5_463, ENTAILMENT),
    Part("RTE.tsv", "rte", 3_000, ENTAILMENT),
    Part("WNLI.tsv", "wnli", 146, {"not_entailment": "0", "entailment": "1"}),
    Part("AX.tsv", "mnli", 1_104, INFERENCE, folder="ax"),
)
TASKS = tuple(dict.fromkeys(part.task for part in PARTS))


@dataclass(frozen=True)
class Candidate:
    """A finished run that could answer its task's files; `value` is the reported one, on the dev set."""

    directory: Path
    config: RunConfig
    metric: str
    value: float

    @property
    def scale(self) -> str:
        """What its value is of; those of another metric or protocol can't be compared with it."""
        rows = self.config.data.max_eval_examples
        drawn = f", data.max_eval_examples={rows}" if rows else ""
        return f"{self.metric}, protocol={self.config.protocol}{drawn}"

    def __str__(self) -> str:
        return f"{self.directory} ({self.scale}: {self.value:.4f})"


@dataclass(frozen=True)
class Answers:
    """The words of a file's lines, and how many of them are scores that lay outside 0 to 5."""

    words: list[str]
    clipped: int = 0


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
        """Whether the benchmark would take it: all files, each with its official number of rows."""
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
    with new_directory(target) as place:
        found, left_out = find_candidates(directories)
        chosen = choose_runs(found, choose)
        counts = _counts(chosen, glue, check_rows, fill_missing)
        answers = {part.file: Answers([part.constant] * counts[part.file]) for part in PARTS if part.file in counts}
        for task, run in chosen.items():
            LOGGER.info("%s: %s", task, run)
            answers |= _answers(run, glue)
        many = Counter(run.config.task.name for run in found)
        files = tuple(
            _write(place, part, answers[part.file], chosen.get(part.task), many[part.task])
            for part in PARTS
            if part.file in answers
        )
        return _finished(place, files, choose, left_out)


def _finished(place: Path, files: tuple[SubmittedFile, ...], choose: str | None, left_out: list[str]) -> Submission:
    """Write `submission.json`, and the zip if it is whole."""
    missing = tuple(part.file for part in PARTS if part.file not in {file.file for file in files})
    submission = Submission(utc_now(), choose, files, missing, tuple(left_out))
    write_artifact(submission, place)
    if not missing:
        write_atomic(place / ZIP, _zipped([place / part.file for part in PARTS]))
    return submission


def find_candidates(directories: Sequence[Path]) -> tuple[list[Candidate], list[str]]:
    """The finished runs on GLUE's tasks at or below the directories, each once, and what was left out and why.

    Raises:
        GeloraError: a directory without runs, or a run given by itself that is not finished; none on GLUE.
    """
    problems: list[str] = []
    paths: dict[Path, None] = {}
    for directory in directories:
        below = find_runs(directory.resolve())
        if not below:
            problems.append(f"{directory}: no run directory there or below; gelora ls DIR shows the runs there are")
        elif below == [directory.resolve()] and not is_done(directory):
            problems.append(f"{directory} is not finished; end it with the command that began it, or leave it out")
        paths |= dict.fromkeys(below)
    found, left_out = _sorted_out(list(paths))
    if not found and not problems:
        reasons = "".join(f"\n  {text}" for text in left_out)
        problems.append(f"no finished run on a task of GLUE ({', '.join(TASKS)}) is given:{reasons}")
    if problems:
        raise GeloraError(list_problems(problems))
    return found, left_out


def _sorted_out(paths: Sequence[Path]) -> tuple[list[Candidate], list[str]]:
    found, left_out = [], []
    for path in paths:
        if not is_done(path):
            left_out.append(f"{path}: not finished")
            continue
        config, result = read_config(path / run_files.CONFIG), read_artifact(RunResult, path / RunResult.FILE)
        if config.smoke:
            left_out.append(f"{path}: {SMOKE_REMARK}")
        elif config.task.name in TASKS and config.task.source == "glue":
            found.append(Candidate(path, config, result.reported, result.value))
        else:
            left_out.append(f"{path}: task={config.task.name} is not one of GLUE's")
    return found, left_out


def choose_runs(found: Sequence[Candidate], choose: str | None) -> dict[str, Candidate]:
    """Task to the run that answers it: the only one, or with `choose="best"` that of the largest reported value.

    Of equal ones the first in the order of their paths is taken.

    Raises:
        GeloraError: several runs for a task, and no rule that decides: none is given, or their values are those of
            different metrics or protocols.
    """
    by_task = {task: [run for run in found if run.config.task.name == task] for task in TASKS}
    several = {task: runs for task, runs in by_task.items() if len(runs) > 1}
    if choose is None and several:
        raise GeloraError(
            "several runs for one task, and a submission takes one: give that one alone, or choose=best for the "
            f"largest value on the dev set{_listed(several)}"
        )
    if mixed := {task: runs for task, runs in several.items() if len({run.scale for run in runs}) > 1}:
        raise GeloraError(
            "choose=best compares values of one metric on the same rows under one protocol; give runs of one, or a "
            "single run"
            f"{_listed(mixed)}"
        )
    ordered = {task: sorted(runs, key=lambda run: (-run.value, run.directory)) for task, runs in by_task.items()}
    return {task: runs[0] for task, runs in ordered.items() if runs}


def _listed(by_task: Mapping[str, Sequence[Candidate]]) -> str:
    return "".join(f"\n  task={task}:" + "".join(f"\n    {run}" for run in runs) for task, runs in by_task.items())


def _counts(chosen: Mapping[str, Candidate], glue: str | None, check_rows: bool, fill: bool) -> dict[str, int]:
    """File to its number of rows, of the files that will be written.

    Raises:
        GeloraError: all at once: runs that are damaged or whose model is gone, and labels, splits and numbers of rows
            that are not the benchmark's.
    """
    counts: dict[str, int] = {}
    problems: list[str] = []
    for run in chosen.values():
        with collect_problems(problems):
            reopen_run(run.directory)
    for part in PARTS:
        answering = chosen.get(part.task)
        source = glue or (answering or next(iter(chosen.values()))).config.data.glue
        with collect_problems(problems):
            if answering:
                counts[part.file] = _checked_rows(part, answering, source, check_rows)
            elif fill:
                counts[part.file] = part.rows if check_rows else _rows_to_fill(part, source)
    if problems:
        raise GeloraError(list_problems(problems))
    return counts


def _checked_rows(part: Part, run: Candidate, source: str, check_rows: bool) -> int:
    """The rows that a run is to answer in one file."""
    task = run.config.task
    if set(task.labels) != set(part.words):
        names = [", ".join(labels) or "a score" for labels in (task.labels, part.words)]
        raise GeloraError(
            f"{run.directory}: its labels are {names[0]}, those of {part.file} are {names[1]}; give a run with the "
            "benchmark's labels"
        )
    rows = _rows_there(part, task, source)
    if check_rows and rows != part.rows:
        raise GeloraError(
            f"{part.file}: {rows:,} rows in split {part.split} of {source}, the benchmark has {part.rows:,}. Give the "
            "whole test set by data.glue=DIR; or accept it, for a trial that can't be handed in, by check_rows=false"
        )
    return rows


def _rows_to_fill(part: Part, source: str) -> int:
    """The data's number of rows where it has them, else the official one."""
    try:
        return _rows_there(part, TaskConfig(name=part.task), source)
    except GeloraError:
        return part.rows


def _rows_there(part: Part, task: TaskConfig, source: str) -> int:
    placed = _placed(part, task)
    return count_rows(source_directory(placed, DataConfig(glue=source)), placed, part.split)


def _placed(part: Part, task: TaskConfig) -> TaskConfig:
    """The task as it reads this part's rows."""
    return replace(task, folder=part.folder or task.folder)


def _answers(run: Candidate, glue: str | None) -> dict[str, Answers]:
    """What a run says in each of its files; its model is loaded once."""
    task, source = run.config.task, glue or run.config.data.glue
    parts = [part for part in PARTS if part.task == task.name]
    splits = [load_unlabelled_split(_placed(part, task), DataConfig(glue=source), part.split) for part in parts]
    answered = predict_splits(run.directory, splits)
    return {part.file: lines(part, rows) for part, rows in zip(parts, answered, strict=True)}


def lines(part: Part, rows: Sequence[Mapping[str, Any]]) -> Answers:
    """The words of a file's lines of `rows` (each with `id` and `prediction`), in the order of the ids.

    A score is brought into 0 to 5 and rounded to three digits.

    Raises:
        RunError: a score that is not finite.
    """
    found = [row["prediction"] for row in sorted(rows, key=lambda row: int(row["id"]))]
    if part.words:
        return Answers([part.words[name] for name in found])
    if odd := [value for value in found if not math.isfinite(value)]:
        raise RunError(f"{part.file}: {len(odd)} predictions are no numbers, the first {odd[0]}; take another run")
    clipped = sum(not LOWEST <= value <= HIGHEST for value in found)
    return Answers([f"{min(max(value, LOWEST), HIGHEST):.3f}" for value in found], clipped)


def _write(directory: Path, part: Part, answers: Answers, run: Candidate | None, candidates: int) -> SubmittedFile:
    text = HEADER + "".join(f"{index}\t{word}\n" for index, word in enumerate(answers.words))
    write_atomic(directory / part.file, text)
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


def _zipped(paths: Sequence[Path]) -> bytes:
    """The files at the top of a zip, without their times: equal files give equal bytes."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def summary(submission: Submission, target: Path) -> str:
    """What was written and from which run, a line per file, and what keeps the benchmark from taking it."""
    written = {file.file: file for file in submission.files}
    rows = [_row(part, written.get(part.file)) for part in PARTS]
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
    if file is None:
        return part.file, "-", f"no run of task={part.task}"
    rows = f"{file.rows:,}" + (f" of {file.official_rows:,}" if file.rows != file.official_rows else "")
    if file.run is None:
        return part.file, rows, f"no run of task={part.task}: {file.constant} in every line"
    several = f", best of {file.candidates}" if file.candidates > 1 else ""
    clipped = f", {file.clipped} brought into 0 to 5" if file.clipped else ""
    return part.file, rows, f"{file.run} ({file.metric} {file.value:.4f}{several}{clipped})"
