"""Reading archives: their runs as files by name (`PackedRun`), and runs of archives and directories together. No torch.

Nothing is ever extracted. An archive comes from anybody: what is read is bounded (`frames.py`), decoded strictly
(`records.py`), and each run is compared with the sha256 that it had when it ended.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gelora_cli.archive.frames import read_records
from gelora_cli.archive.predictions import unpack_predictions
from gelora_cli.archive.records import (
    RUN_PATH_NAMES,
    ArchiveHead,
    RowsRecord,
    RunRecord,
    SignalRecord,
    StudyRecord,
    stored_text,
    text_sha256,
)
from gelora_cli.archive.run_records import RunRecords
from gelora_cli.config.files import config_of
from gelora_cli.config.identity import identity_hash
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.study import Study
from gelora_cli.core.codec import from_json
from gelora_cli.core.done import is_done
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.run_files import ADAPTER, PREDICTIONS, REQUIRED_FILES
from gelora_cli.core.run_reader import PredictionRow, RunDirectory, RunFiles, artifact_of
from gelora_cli.core.status import find_runs

RESTORE = "Restore the archive, or leave it out."


@dataclass(frozen=True, kw_only=True, eq=False)
class Archive:
    """What an archive holds.

    Attributes:
        path: the file.
        head: its first line.
        rows: the rows that runs have predicted, by their sha256.
        signals: the measurements of runs, by their sha256.
        records: the runs' lines, by task, model, method and name, joined by `/`.
        studies: the studies of `gelora tune`, by `tune` and their name, joined by `/`.
    """

    path: Path
    head: ArchiveHead
    rows: Mapping[str, RowsRecord]
    signals: Mapping[str, SignalRecord]
    records: Mapping[str, RunRecord]
    studies: Mapping[str, StudyRecord]

    @functools.cached_property
    def runs(self) -> Mapping[str, PackedRun]:
        """Return the runs by the path of each in the archive, such as `sst2/minilm/lora/b0.15M-s0-ef7e948a`."""
        return {path: PackedRun(self, record) for path, record in self.records.items()}

    def study(self, path: str) -> Study:
        """Return a study by its path in the archive.

        Raises:
            GeloraError: its line is damaged, or of another schema version.
        """
        return from_json(Study, stored_text(self.studies[path].value), str(self.path / path / Study.FILE))


class PackedRun(RunFiles):
    """A run in an archive. It has the files that reports read; no adapter, log, card or pictures."""

    def __init__(self, archive: Archive, record: RunRecord) -> None:
        self.place = archive.path / record.path
        self.record = record
        self._archive = archive

    @functools.cached_property
    def _texts(self) -> dict[str, str]:
        """Return the text of each file, but for the predictions, as it was in the run's directory.

        Raises:
            GeloraError: a value that no JSON file has, or a measurement that the archive lacks.
        """
        signals = self._archive.signals
        try:
            texts = self.record.texts()
            return texts | {name: signals[sha256].text() for name, sha256 in self.record.signals.items()}
        except (KeyError, ValueError, RecursionError) as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, reason: str) -> GeloraError:
        return GeloraError(f"{self.place} is damaged: {reason[:200]}. {RESTORE}")

    def has(self, name: str) -> bool:
        """Return whether the archive has a file of this name of the run."""
        return name == PREDICTIONS or name in self._texts

    def text(self, name: str, what: str) -> str:
        """Return the text of a file; `what` it is in messages.

        Raises:
            GeloraError: the archive has no such file of the run, or its line is damaged.
        """
        if name not in self._texts:
            raise GeloraError(f"{self.place / name} can't be read as {what}: archives don't hold this file.")
        return self._texts[name]

    def prediction_rows(self, split: str) -> list[PredictionRow]:
        """Return the rows of `predictions.jsonl` that belong to a split, in their order, without scores.

        Raises:
            ValueError, KeyError, TypeError: there are none, or they are damaged.
        """
        task = config_of(self).task
        lines: list[PredictionRow] = []
        for packed in self.record.predictions:
            if packed.split == split:
                lines += unpack_predictions(task, self._archive.rows[packed.rows], packed)
        return lines

    def verify(self) -> None:
        """Compare the files with the sha256 that they had when the run ended.

        The sha256 of the predictions is that of a file with scores. Readers compare the predictions with the value of
        `result.json` instead.

        Raises:
            GeloraError: one was changed, or what the run shares with others is not in the archive.
        """
        done = self.record.done
        if not {*REQUIRED_FILES} <= done.keys() or not any(name.startswith(f"{ADAPTER}/") for name in done):
            raise self._damaged("it does not list every file of a finished run")
        for name, text in self._texts.items():
            if text_sha256(text) != done.get(name):
                raise self._damaged(f"{name} was changed since the run ended")
        for packed in self.record.predictions:
            if packed.rows not in self._archive.rows:
                raise self._damaged(f"the rows of its split {packed.split} are missing")

    def records(self) -> RunRecords:
        """Return the run's line and those that it refers to, for another archive.

        Raises:
            GeloraError: as `verify` says.
        """
        self.verify()
        rows = [self._archive.rows[packed.rows] for packed in self.record.predictions]
        signals = [self._archive.signals[sha256] for sha256 in self.record.signals.values()]
        return RunRecords(run=self.record, shared=(*rows, *signals))

    def status(self, manifest: RunManifest) -> str:
        """Return `done`, since only finished runs are packed.

        Raises:
            GeloraError: `run.json` says something else.
        """
        if manifest.status != "done":
            raise self._damaged(f"{RunManifest.FILE} says status={manifest.status}, and only finished runs are packed")
        return manifest.status

    def start(self, init_from: str) -> RunFiles:
        """Return the run that this one started from, from the archive where it is packed, too."""
        packed = self._archive.runs.get(_path_in_archive(Path(init_from)))
        return RunDirectory(Path(init_from)) if packed is None else packed


def read_archive(path: Path) -> Archive:
    """Read an archive, once for each time that it was written.

    Raises:
        GeloraError: it can't be read, is damaged or too large, or holds a line that no archive has.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise GeloraError(
            f"{path}: {error.strerror}; give a file that gelora pack wrote, or a directory of runs"
        ) from error
    return _read_archive(path, status.st_mtime_ns, status.st_size, status.st_ino)


@functools.lru_cache(maxsize=8)
def _read_archive(path: Path, *_written: int) -> Archive:
    """Read an archive; `_written` changes when the file is written again."""
    lines = read_records(path)
    _, head = next(lines)
    assert isinstance(head, ArchiveHead)  # `read_records` refuses any other first line
    rows: dict[str, RowsRecord] = {}
    signals: dict[str, SignalRecord] = {}
    records: dict[str, RunRecord] = {}
    studies: dict[str, StudyRecord] = {}
    for number, record in lines:
        match record:
            case RowsRecord():
                rows[record.sha256] = record
            case SignalRecord():
                signals[record.sha256] = record
            case StudyRecord():
                studies[record.path] = record
            case RunRecord() if record.path in records:
                raise GeloraError(f"{path}, line {number}: {record.path} a second time; a run has one line. {RESTORE}")
            case RunRecord():
                records[record.path] = record
    return Archive(path=path, head=head, rows=rows, signals=signals, records=records, studies=studies)


def open_runs(paths: Iterable[Path]) -> list[RunFiles]:
    """Return every run at or below these paths, each once, sorted by path.

    Args:
        paths: run directories, those above them, archives, and paths within archives, as `PackedRun.place` has them.

    Raises:
        GeloraError: a file is no archive, or an archive holds no run at or below a path within it.
    """
    runs: dict[Path, RunFiles] = {}  # by their real paths: a run below two of the paths, or behind a link, counts once
    for path in paths:
        file = archive_of(path)
        if file is None:
            runs |= {directory.resolve(): RunDirectory(directory) for directory in find_runs(path)}
        else:
            packed = [run for run in read_archive(file).runs.values() if path in _above(run.place)]
            if not packed and path != file:
                raise _not_in_archive(file, path)
            runs |= {file.resolve() / run.place.relative_to(file): run for run in packed}
    return [runs[path] for path in sorted(runs)]


def open_run(place: Path) -> RunFiles:
    """Return a run by its place: its directory, or an archive's path with the run's path in it.

    Raises:
        GeloraError: the archive has no such run.
    """
    file = archive_of(place)
    if file is None:
        return RunDirectory(place)
    run = read_archive(file).runs.get(str(place.relative_to(file)))
    if run is None:
        raise _not_in_archive(file, place)
    return run


def _not_in_archive(file: Path, path: Path) -> GeloraError:
    return GeloraError(f"{file} holds no run {path.relative_to(file)}; gelora ls {file} lists those that it holds")


def archive_of(path: Path) -> Path | None:
    """Return the file that a path is or leads into; None of a directory, and where there is nothing."""
    return next((above for above in _above(path)[: RUN_PATH_NAMES + 1] if above.is_file()), None)


def find_done(directory: Path, archives: Sequence[str]) -> RunFiles | None:
    """Return the finished run of a directory, which lies there or in an archive; None where the run is to be done.

    The end of a directory's path holds the hash of all that can change a number of the run, so that an equal path in
    an archive is the same run, whichever directory of runs it was in.

    Raises:
        GeloraError: an archive can't be read, or holds the run damaged or under another run's name.
    """
    if is_done(directory):
        return RunDirectory(directory)
    path = _path_in_archive(directory)
    for file in archives:
        run = read_archive(Path(file)).runs.get(path)
        if run is not None:
            run.verify()
            _check_name(run)
            return run
    return None


def _check_name(run: PackedRun) -> None:
    """Refuse a packed run whose configuration is another than its name says.

    Raises:
        GeloraError: naming the run and its hash.
    """
    digits = identity_hash(config_of(run), artifact_of(RunManifest, run).fingerprints)
    if not run.place.name.endswith(f"-{digits}"):
        raise GeloraError(f"{run.place} is another run: its configuration has the hash {digits}. {RESTORE}")


def _path_in_archive(directory: Path) -> str:
    """Return the path that a run's directory has in an archive: task, model, method and name."""
    return "/".join(directory.parts[-RUN_PATH_NAMES:])


def _above(path: Path) -> tuple[Path, ...]:
    """Return a path with those above it, the nearest first."""
    return (path, *path.parents)
