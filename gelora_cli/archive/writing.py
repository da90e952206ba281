"""`gelora pack`: finished runs and studies, also those of other archives, into one that keeps the lines that it has."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gelora_cli import __version__
from gelora_cli.archive.frames import check_length, compress, read_bytes, read_lines, read_record
from gelora_cli.archive.reading import PackedRun, open_runs, read_archive
from gelora_cli.archive.records import (
    SCHEMA_VERSION,
    STUDY_PATH_NAMES,
    ArchiveHead,
    PackedBy,
    RunRecord,
    StudyRecord,
    stored_text,
    to_line,
)
from gelora_cli.archive.run_records import UNKNOWN, Origin, RunRecords, archive_path, done_checksums, origin, read_run
from gelora_cli.core.artifacts.study import Study
from gelora_cli.core.codec import from_json
from gelora_cli.core.directories import remove_partial_writes
from gelora_cli.core.environment import git_commit
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.files import read_text, write_atomic
from gelora_cli.core.locks import wait_for_file
from gelora_cli.core.messages import join_texts
from gelora_cli.core.run_reader import RunFiles
from gelora_cli.core.status import run_status

SETTING = "output=FILE"
"""What names the archive."""
RUNS_OF_A_FRAME = 64
"""New runs come in frames of their own, so that a file that grows by a commit an hour costs git what is new."""
MOST_NAMED = 3
"""Runs that a message names."""


@dataclass(frozen=True, kw_only=True)
class PackedSummary:
    """What `pack` did.

    Attributes:
        path: the archive.
        new_runs: runs that were added.
        new_studies: studies that were added or have grown.
        runs: runs in the archive.
        studies: studies in the archive.
        size: bytes of the archive.
        commits: at which its runs were done.
        unfinished: how many runs are not done yet.
        refused: why each run or study that is damaged was left out.
    """

    path: Path
    new_runs: int
    new_studies: int
    runs: int
    studies: int
    size: int
    commits: tuple[str, ...]
    unfinished: int
    refused: tuple[str, ...]


@dataclass
class _Contents:
    """What an archive has; nothing where it is not there yet.

    Attributes:
        data: its bytes.
        lines: its lines, the head first.
        done: of each run the sha256 of its files, by path.
        origins: where each run comes from, by path.
        studies: the last line of each study, by path.
        trials: how many trials of each study are done, by path.
        shared: the sha256 of its rows and signals.
    """

    data: bytes = b""
    lines: list[str] = field(default_factory=list)
    done: dict[str, dict[str, str]] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    studies: dict[str, str] = field(default_factory=dict)
    trials: dict[str, int] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)


@dataclass
class _Found:
    """What lies below the directories, or in other archives, and not in the archive.

    Attributes:
        runs: the records of each run, by path.
        origins: where each run comes from, by path.
        studies: the line of each study, by path.
        unfinished: how many runs are not done.
        refused: why each run or study that is damaged is left out.
    """

    runs: dict[str, RunRecords] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    studies: dict[str, str] = field(default_factory=dict)
    unfinished: int = 0
    refused: list[str] = field(default_factory=list)


def pack(places: Sequence[Path], output: Path, *, mix_commits: bool = False, force: bool = False) -> PackedSummary:
    """Add the finished runs and the studies of directories and archives to an archive, or begin one.

    The file is replaced as a whole, so that a kill leaves the old one. Equal input gives equal bytes. Of several
    commands with one `output`, each waits for the one before it and adds to what that has written.

    Args:
        places: run directories, those above them, archives, and paths within archives, in any order.
        output: the archive.
        mix_commits: accept runs of several commits, of changed files, and of a commit that is not known.
        force: begin from scratch, whatever is at `output`.

    Raises:
        GeloraError: `output` is no archive, a run that it has was done again, runs that would be compared are of
            several commits or numerics, or there is nothing to pack.
    """
    with wait_for_file(output, "the archive", SETTING):  # from reading what it has until it is replaced
        remove_partial_writes(output)
        return _pack(places, output, mix_commits=mix_commits, force=force)


def _pack(places: Sequence[Path], output: Path, *, mix_commits: bool, force: bool) -> PackedSummary:
    """Pack as `pack` says, while no other command does."""
    contents = _Contents() if force or not output.exists() else _read_contents(output)
    found = _Found()
    _find_runs(found, places, contents)
    _find_studies(found, places, contents)
    origins = contents.origins | found.origins
    studies = contents.studies | found.studies
    if not origins and not studies:
        raise GeloraError(_nothing_found(places, found))
    _check_origins(origins, mix_commits=mix_commits)
    head = ArchiveHead(
        schema_version=SCHEMA_VERSION,
        packed_by=PackedBy(gelora=__version__, commit=git_commit()),
        commits=tuple(sorted({entry.commit for entry in origins.values()})),
    )
    data = contents.data
    if found.runs or found.studies:  # else the file stays as it is, also what packed it
        data = b"".join((*_kept_frames(contents, to_line(head)), *_new_frames(found, contents.shared)))
        # By another program, such as git: other commands of gelora wait for the lock.
        if not force and (read_bytes(output) if output.exists() else b"") != contents.data:
            raise GeloraError(f"{output} was changed while this command packed; give the same command again.")
        write_atomic(output, data, setting=SETTING)
    return PackedSummary(
        path=output,
        new_runs=len(found.runs),
        new_studies=len(found.studies),
        runs=len(origins),
        studies=len(studies),
        size=len(data),
        commits=head.commits,
        unfinished=found.unfinished,
        refused=tuple(found.refused),
    )


def _read_contents(path: Path) -> _Contents:
    """Return what the archive at a path has.

    Raises:
        GeloraError: it is no archive, or damaged.
    """
    contents = _Contents(data=read_bytes(path))
    try:
        contents.lines += read_lines(path, contents.data)
        records = [read_record(path, number, line) for number, line in enumerate(contents.lines, start=1)]
    except GeloraError as error:
        raise GeloraError(f"{error} Or name another file. force=true begins the archive from scratch.") from error
    for line, record in zip(contents.lines, records, strict=True):
        if isinstance(record, RunRecord):
            contents.done[record.path] = record.done
            contents.origins[record.path] = origin(record)
        elif isinstance(record, StudyRecord):
            contents.studies[record.path] = line
            with contextlib.suppress(GeloraError):  # a damaged one is replaced by any other
                contents.trials[record.path] = _done_trials(from_json(Study, stored_text(record.value), record.path))
        elif not isinstance(record, ArchiveHead):
            contents.shared.add(record.sha256)
    return contents


def _find_runs(found: _Found, places: Iterable[Path], contents: _Contents) -> None:
    """Read the finished runs that the archive lacks.

    Raises:
        GeloraError: there are two runs of one path, or a file is no archive.
    """
    clashes = []
    for run in open_runs(places):
        try:
            if not isinstance(run, PackedRun) and run_status(run.place) != "done":
                found.unfinished += 1
                continue
            path, done = _path_and_checksums(run)
            if path in contents.done or path in found.runs:
                known = contents.done[path] if path in contents.done else found.runs[path].run.done
                if known != done:
                    clashes.append(str(run.place))
                continue
            records = run.records() if isinstance(run, PackedRun) else read_run(run.place)
            found.origins[path] = origin(records.run)  # a run of another version is refused here, and the others stay
            found.runs[path] = records
        except StoppedError:
            raise
        except GeloraError as error:  # whatever is wrong with one run, the others are packed
            found.refused.append(str(error))
    if clashes:
        raise GeloraError(
            f"{join_texts(clashes, most=MOST_NAMED)}: a run of this path with other files is in the archive already, "
            "or in another of the places given. Name another output=FILE, or leave that place out. force=true begins "
            "the archive from scratch."
        )


def _path_and_checksums(run: RunFiles) -> tuple[str, dict[str, str]]:
    """Return the path that a finished run has in archives, and the sha256 of its files when it ended.

    Raises:
        GeloraError: its DONE is damaged.
    """
    if isinstance(run, PackedRun):
        return run.record.path, run.record.done
    return archive_path(run.place), done_checksums(run.place)


def _find_studies(found: _Found, places: Iterable[Path], contents: _Contents) -> None:
    """Read the studies that the archive lacks, or has with fewer trials; of several of one path that with the most."""
    most = dict(contents.trials)
    for file, text in _study_texts(found, places):
        try:
            trials = _done_trials(from_json(Study, text, str(file)))
            record = StudyRecord(path=archive_path(file.parent, STUDY_PATH_NAMES), value=json.loads(text))
            if trials <= most.get(record.path, 0):
                continue
            line = to_line(record)
            check_length(line, str(file))
        except StoppedError:
            raise
        except (GeloraError, ValueError) as error:
            found.refused.append(str(error))
            continue
        found.studies[record.path] = line
        most[record.path] = trials


def _study_texts(found: _Found, places: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each study's file and its text. A path within an archive is one of runs, and has none.

    Raises:
        GeloraError: a file is no archive.
    """
    files: list[Path] = []
    for place in places:
        if place.is_file():
            for path, record in read_archive(place).studies.items():
                yield place / path / Study.FILE, stored_text(record.value)
        else:
            files += place.rglob(Study.FILE)
    for file in _each_once(files):
        try:
            yield file, read_text(file, "a study")
        except StoppedError:
            raise
        except GeloraError as error:
            found.refused.append(str(error))


def _done_trials(study: Study) -> int:
    """Return how many trials of a study are done."""
    return sum(trial.status == "done" for method in study.methods for trial in method.trials)


def _each_once(paths: Iterable[Path]) -> list[Path]:
    """Return paths sorted, each once also where it lies below two of the directories or behind a link."""
    by_place = {path.resolve(): path for path in paths}
    return [by_place[place] for place in sorted(by_place)]


def _check_origins(origins: Mapping[str, Origin], *, mix_commits: bool) -> None:
    """Refuse runs that could not be compared. Trials may come from anywhere, since they only choose settings.

    Raises:
        GeloraError: runs of several numerics; without `mix_commits` also of several commits, of changed files, or of
            a commit that is not known.
    """
    by_numerics: dict[int, str] = {}
    by_commit: dict[str, str] = {}
    for path, entry in sorted(origins.items()):
        if not entry.is_trial:
            by_numerics.setdefault(entry.numerics, path)
            by_commit.setdefault(entry.commit, path)
    if len(by_numerics) > 1:
        examples = ", ".join(f"{numerics} ({path})" for numerics, path in sorted(by_numerics.items()))
        raise GeloraError(
            f"runs of several versions of the arithmetic can't be compared: numerics {examples}. Pack each into a file "
            "of its own."
        )
    is_plain = len(by_commit) < 2 and not any(commit == UNKNOWN or commit.endswith("+") for commit in by_commit)
    if not is_plain and not mix_commits:
        examples = ", ".join(f"{commit} ({path})" for commit, path in by_commit.items())
        raise GeloraError(
            f"the runs are not of one commit: {examples}. Behind `+` files were changed, and a run of an installed "
            "package names no commit. mix_commits=true accepts them, and the archive names all."
        )


def _kept_frames(contents: _Contents, head: str) -> Iterator[bytes]:
    """Yield the frame of a new head, and the archive's frames below its own head as they are."""
    yield compress([head])
    if contents.lines:
        old_head = compress(contents.lines[:1])
        if contents.data.startswith(old_head):
            yield contents.data[len(old_head) :]
        else:  # another version of zstd wrote it
            yield compress(contents.lines[1:])


def _new_frames(found: _Found, shared: set[str]) -> Iterator[bytes]:
    """Yield frames of new runs, each behind what it shares with others and the archive has not had yet."""
    have = set(shared)
    runs = [found.runs[path] for path in sorted(found.runs)]
    for start in range(0, len(runs), RUNS_OF_A_FRAME):
        lines = []
        for records in runs[start : start + RUNS_OF_A_FRAME]:
            for record in records.shared:
                if record.sha256 not in have:
                    have.add(record.sha256)
                    lines.append(to_line(record))
            lines.append(to_line(records.run))
        yield compress(lines)
    if found.studies:
        yield compress(found.studies[path] for path in sorted(found.studies))


def _nothing_found(places: Sequence[Path], found: _Found) -> str:
    reasons = [f"{found.unfinished} runs are not done"] if found.unfinished else []
    reasons += found.refused[:MOST_NAMED]
    where = ", ".join(map(str, places))
    found_text = f"nothing to pack at or below {where}{': ' if reasons else ''}{'; '.join(reasons)}"
    return f"{found_text}. Give finished runs, the directory above them (runs_dir), or a study."
