"""A finished run's directory as the records of an archive, with every file that is packed compared with DONE."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from gelora_cli.archive.frames import check_length
from gelora_cli.archive.predictions import pack_predictions
from gelora_cli.archive.records import (
    RUN_PATH_NAMES,
    RowsRecord,
    RunRecord,
    SignalRecord,
    StoredJson,
    stored_text,
    text_sha256,
    to_line,
)
from gelora_cli.config.files import parse_config
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import from_json
from gelora_cli.core.done import may_change, read_checksums, verify_files
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import read_text
from gelora_cli.core.run_files import CONFIG, METRICS, PREDICTIONS, REQUIRED_FILES, SIGNAL_FILES
from gelora_cli.tasks.base import WRONG_ROWS

UNKNOWN = "unknown"
"""Stands for the commit of a run that names none, as one of an installed package."""


@dataclass(frozen=True, kw_only=True)
class RunRecords:
    """A run and what it shares with others.

    Attributes:
        run: the run.
        shared: the rows of each split, and the measurements in its directory.
    """

    run: RunRecord
    shared: tuple[RowsRecord | SignalRecord, ...]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What decides with which runs a run may be compared.

    Attributes:
        commit: of gelora, with `+` if files were changed; `UNKNOWN` where the run names none.
        numerics: version of the arithmetic.
        is_trial: whether it was scored on held-out training rows, and so is no run that others are compared with.
    """

    commit: str
    numerics: int
    is_trial: bool


def archive_path(directory: Path, names: int = RUN_PATH_NAMES) -> str:
    """Return the last names of a directory's path, by which an archive knows it."""
    return "/".join(directory.resolve().parts[-names:])


def done_checksums(directory: Path) -> dict[str, str]:
    """Return the sha256 that DONE names of each file that does not change after it, also of those not packed.

    Raises:
        GeloraError: DONE is missing or damaged.
    """
    return {name: checksum for name, checksum in read_checksums(directory).items() if not may_change(name)}


def read_run(directory: Path) -> RunRecords:
    """Return the records of a finished run. Its adapter, log and pictures need not be there.

    Raises:
        GeloraError: a file that is packed is missing, was changed since the run ended, or is of another version.
    """
    checksums = done_checksums(directory)
    signal_files = sorted(name for name in checksums if name == IdProfile.FILE or fnmatch(name, f"{SIGNAL_FILES}.json"))
    packed_files = (*REQUIRED_FILES, *signal_files)
    verify_files(directory, checksums, packed_files)
    texts = {name: read_text(directory / name, "a file of a run") for name in packed_files}
    task = parse_config(texts[CONFIG], str(directory / CONFIG)).task
    for kind in (RunManifest, RankPlan):
        from_json(kind, texts[kind.FILE], str(directory / kind.FILE))
    result = from_json(RunResult, texts[RunResult.FILE], str(directory / RunResult.FILE))
    try:
        predictions = pack_predictions(task, result.reported, _json_lines(texts[PREDICTIONS]))
        signals = [_signal(name, texts[name]) for name in signal_files]
        run = RunRecord(
            path=archive_path(directory),
            config=texts[CONFIG],
            manifest=json.loads(texts[RunManifest.FILE]),
            plan=json.loads(texts[RankPlan.FILE]),
            result=json.loads(texts[RunResult.FILE]),
            metrics=tuple(_json_lines(texts[METRICS])),
            predictions=tuple(packed for _, packed in predictions),
            signals={signal.file: signal.sha256 for signal in signals},
            done=checksums,
        )
    except WRONG_ROWS as error:
        reason = str(error) if isinstance(error, ValueError) else repr(error)
        raise GeloraError(f"{directory} can't be packed: {reason}") from error
    records = RunRecords(run=run, shared=(*(rows for rows, _ in predictions), *signals))
    _check_records(directory, records)
    return records


def origin(run: RunRecord) -> Origin:
    """Return where a packed run comes from.

    Raises:
        GeloraError: one of its artifacts is damaged or of another version.
    """
    manifest = from_json(RunManifest, stored_text(run.manifest), f"{run.path}/{RunManifest.FILE}")
    result = from_json(RunResult, stored_text(run.result), f"{run.path}/{RunResult.FILE}")
    return Origin(commit=manifest.git_commit or UNKNOWN, numerics=manifest.numerics, is_trial=result.on_holdout)


def _json_lines(text: str) -> list[StoredJson]:
    # Not by `splitlines`, which also splits at characters within a text.
    return [json.loads(line) for line in text.split("\n") if line]


def _signal(file: str, text: str) -> SignalRecord:
    return SignalRecord(sha256=text_sha256(text), file=file, value=json.loads(text))


def _check_records(directory: Path, records: RunRecords) -> None:
    """Refuse a run whose files could not be written again byte for byte, or whose lines no archive may have."""
    for name, text in records.run.texts().items():
        if text_sha256(text) != records.run.done[name]:
            raise GeloraError(f"{directory / name} can't be packed without loss: gelora writes its values otherwise")
    for record in (records.run, *records.shared):
        check_length(to_line(record), str(directory))
