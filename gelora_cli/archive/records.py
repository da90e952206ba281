"""The lines of an archive: each is a JSON object of one kind, and what holds for several runs has a line of its own.

A record says no more than its line. `docs/reference/archive-1.schema.json` is generated from these classes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, ClassVar

from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.artifacts.study import Study
from gelora_cli.core.codec import decode_values
from gelora_cli.core.messages import quote
from gelora_cli.core.run_files import CONFIG, METRICS

SCHEMA_VERSION = 1
"""A new optional field keeps it, and any other change raises it."""
RUN_PATH_NAMES = 4
"""Task, model, method, and the run's own name: the end of a run directory's path."""
STUDY_PATH_NAMES = 2
"""`tune` and the study's own name: the end of a study directory's path."""
LONGEST_NAME = 255

StoredJson = dict[str, object]
"""The values of a JSON file as the file has them, with its type, schema version and sha256 where it has these."""


@dataclass(frozen=True, kw_only=True)
class PackedBy:
    """What wrote the archive.

    Attributes:
        gelora: Version of gelora.
        commit: Its commit, with `+` if files were changed; null of an installed package.
    """

    gelora: str
    commit: str | None


@dataclass(frozen=True, kw_only=True)
class ArchiveHead:
    """The first line.

    Attributes:
        schema_version: Version of the lines.
        packed_by: What wrote the archive last.
        commits: The commits that its runs were done at, sorted; `unknown` stands for runs that name none.
    """

    KIND: ClassVar[str] = "archive"

    schema_version: int
    packed_by: PackedBy
    commits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RowsRecord:
    """The rows of a split that several runs have predicted.

    Attributes:
        sha256: What runs name the rows by: the sha256 of their other fields.
        split: Name of the split.
        ids: Each row's id, in the order of `predictions.jsonl`.
        labels: Each row's right answer, as `predictions.jsonl` has it.
        groups: What each row belongs to, such as an article; null where no row has a group.
    """

    KIND: ClassVar[str] = "rows"

    sha256: str
    split: str
    ids: tuple[object, ...]
    labels: tuple[object, ...]
    groups: tuple[object, ...] | None = None

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.labels) == len(self.ids if self.groups is None else self.groups):
            raise ValueError(f"{len(self.ids)} ids and {len(self.labels)} labels, or another number of groups")
        if self.sha256 != rows_sha256(self.split, self.ids, self.labels, self.groups):
            raise ValueError("the rows have another sha256 than the line says")


@dataclass(frozen=True, kw_only=True)
class SignalRecord:
    """A measurement that runs share.

    Attributes:
        sha256: The sha256 of the file, which runs name it by.
        file: Name of the file, such as profile.json.
        value: What the file holds.
    """

    KIND: ClassVar[str] = "signal"

    sha256: str
    file: str
    value: StoredJson

    def __post_init__(self) -> None:
        check_path(self.file, 1)
        if self.sha256 != text_sha256(self.text()):
            raise ValueError(f"{self.file} has another sha256 than the line says")

    def text(self) -> str:
        """Return the text of the file."""
        return stored_text(self.value)


@dataclass(frozen=True, kw_only=True)
class PackedPredictions:
    """A run's predictions of a split.

    Attributes:
        split: Name of the split.
        rows: The sha256 of its rows.
        values: A prediction per row, in the form that the task kind packs (`TaskKind.packed`).
    """

    split: str
    rows: str
    values: tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A finished run.

    Attributes:
        path: Task, model, method and name of the run, as its directory has them, separated by `/`.
        config: The text of `config.yaml`.
        manifest: What `run.json` holds.
        plan: What `ranks.json` holds.
        result: What `result.json` holds.
        metrics: The lines of `metrics.jsonl`.
        predictions: The predictions of each split.
        signals: The sha256 of each `signal` that lies in the run's directory, by the name of its file.
        done: The sha256 of the run's files when it ended, by name, also of files that are not packed. Those that may
            change afterwards (pictures, the model card) are left out.
    """

    KIND: ClassVar[str] = "run"

    path: str
    config: str
    manifest: Annotated[StoredJson, RunManifest]
    plan: Annotated[StoredJson, RankPlan]
    result: Annotated[StoredJson, RunResult]
    metrics: tuple[StoredJson, ...]
    predictions: tuple[PackedPredictions, ...]
    signals: dict[str, str]
    done: dict[str, str]

    def __post_init__(self) -> None:
        check_path(self.path, RUN_PATH_NAMES)
        for name in self.signals:
            check_path(name, 1)

    def texts(self) -> dict[str, str]:
        """Return the text of each file that the run itself holds, by name, exactly as it was in its directory."""
        return {
            CONFIG: self.config,
            RunManifest.FILE: stored_text(self.manifest),
            RankPlan.FILE: stored_text(self.plan),
            RunResult.FILE: stored_text(self.result),
            METRICS: "".join(json.dumps(line) + "\n" for line in self.metrics),  # as `append_line` writes them
        }


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """A study of `gelora tune`. A later line of an equal path replaces it, since a study grows.

    Attributes:
        path: `tune` and the study's name, as its directory has them, separated by `/`.
        value: What `study.json` holds. The last four names of a trial's directory are the `path` of its run.
    """

    KIND: ClassVar[str] = "study"

    path: str
    value: Annotated[StoredJson, Study]

    def __post_init__(self) -> None:
        check_path(self.path, STUDY_PATH_NAMES)


Record = ArchiveHead | RowsRecord | SignalRecord | RunRecord | StudyRecord
RECORDS: tuple[type[Record], ...] = (ArchiveHead, RowsRecord, SignalRecord, RunRecord, StudyRecord)
"""Every kind of line, in the order of the documentation."""
_KINDS = {kind.KIND: kind for kind in RECORDS}


def to_line(record: Record) -> str:
    """Return the line of a record, without its line break: `kind` first, then the fields in their order."""
    values = {"kind": record.KIND, **vars(record)}
    # `vars` turns the dataclasses within a record into objects; in ASCII, as lone surrogates have no other form.
    return json.dumps(values, default=vars, separators=(",", ":"), allow_nan=False)


def from_line(line: str) -> Record:
    """Return the record of a line.

    Raises:
        ValueError: it is no JSON object, of an unknown kind or version, has a missing or unknown field, a value of
            another type, or a path that no directory of runs has.
    """
    try:
        values = json.loads(line, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(values, dict):
        raise ValueError(f"{quote(values)} given, an object expected")
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"kind {quote(kind)} given, accepted: {', '.join(_KINDS)}")
    version = values.get("schema_version", SCHEMA_VERSION)
    if kind == ArchiveHead.KIND and version != SCHEMA_VERSION:  # before its fields, which may be others
        raise ValueError(f"schema_version {quote(version)} given, this gelora reads {SCHEMA_VERSION}; use a newer one")
    return decode_values(_KINDS[kind], values)


def stored_text(values: StoredJson) -> str:
    """Return the text of a JSON artifact, as `core.codec.to_json` writes it."""
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def rows_sha256(
    split: str, ids: tuple[object, ...], labels: tuple[object, ...], groups: tuple[object, ...] | None
) -> str:
    """Return what names the rows of a split."""
    return text_sha256(json.dumps([split, ids, labels, groups], separators=(",", ":"), allow_nan=False))


def text_sha256(text: str) -> str:
    """Return the sha256 of a text in UTF-8, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_path(path: str, count: int) -> None:
    """Refuse a path that is not `count` plain names, so that a path from an archive can lead nowhere.

    Raises:
        ValueError: another number of names, an empty one, `.` or `..`, a separator or a character that can't be shown.
    """
    names = path.split("/")
    for name in names:
        is_plain = name.isprintable() and "\\" not in name and len(name) <= LONGEST_NAME
        if not is_plain or name in ("", ".", "..") or len(names) != count:
            what = "a name" if count == 1 else f"{count} names separated by /"
            raise ValueError(f"path {quote(path)} given, {what} without . and .. expected")


def _refuse_constant(name: str) -> object:
    """Refuse NaN and infinity, which Python's reader accepts and JSON does not have."""
    raise ValueError(f"{name} is no JSON")
