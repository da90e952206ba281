"""The lines of an archive and the file that holds them: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest

from gelora_cli.archive.frames import LONGEST_LINE, compress, read_lines, read_records
from gelora_cli.archive.records import (
    ArchiveHead,
    PackedBy,
    PackedPredictions,
    Record,
    RowsRecord,
    RunRecord,
    SignalRecord,
    StudyRecord,
    from_line,
    rows_sha256,
    text_sha256,
    to_line,
)
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import MOST_BYTES

HEAD = ArchiveHead(schema_version=1, packed_by=PackedBy(gelora="0.1.0", commit="abc"), commits=("abc",))
RUN = RunRecord(
    path="sst2/minilm/lora/b0.15M-s0-01234567",
    config="task: {}\n",
    manifest={"schema": "RunManifest", "seconds": {"train": 0.1}},
    plan={},
    result={"value": 0.30000000000000004},
    metrics=({"step": 1, "loss": 0.5},),
    predictions=(PackedPredictions(split="validation", rows="f00", values=(0, 1, "\ud800", None)),),
    signals={"profile.json": "0ff"},
    done={"config.yaml": "123"},
)
ROWS = RowsRecord(
    sha256=rows_sha256("validation", (1, "b"), ("yes", ["a", "b"]), None),
    split="validation",
    ids=(1, "b"),
    labels=("yes", ["a", "b"]),
)
SIGNAL = SignalRecord(sha256=text_sha256('{\n  "a": 1.5\n}\n'), file="profile.json", value={"a": 1.5})
RECORDS: tuple[Record, ...] = (
    HEAD,
    ROWS,
    SIGNAL,
    RUN,
    StudyRecord(path="tune/sst2-minilm-b0.15M-f95ffa1d", value={"schema": "Study"}),
)


def test_records_survive_a_file_of_several_frames(tmp_path: Path) -> None:
    lines = [to_line(record) for record in RECORDS]
    (tmp_path / "a.zst").write_bytes(compress(lines[:1]) + compress(lines[1:3]) + compress(lines[3:]))
    assert list(read_records(tmp_path / "a.zst")) == [*enumerate(RECORDS, start=1)]
    assert lines[0].startswith('{"kind":"archive","schema_version":1,')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "image"}, "kind 'image' given, accepted: archive, rows, signal, run, study"),
        ({"kind": None}, "kind None given"),
        ({"color": 1}, "RunRecord has no field color"),
        ({"config": 1}, "config: 1 given, a text expected"),
        ({"metrics": {}}, "metrics: {} given, a list expected"),
        ({"path": "../../minilm/lora/s0"}, "4 names separated by / without . and .. expected"),
        ({"path": "/etc/a/passwd"}, "4 names"),
        ({"path": "a/b/c"}, "4 names"),
        ({"path": "a/b/c/d/e"}, "4 names"),
        ({"path": "a/b/c\\d/e"}, "4 names"),
        ({"path": "a/b/c/d\x1b[31m"}, "4 names"),
        ({"path": f"a/b/c/{'d' * 256}"}, "4 names"),
        ({"signals": {"../run.json": "0ff"}}, "a name without . and .. expected"),
    ],
)
def test_a_line_that_no_archive_has_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        from_line(json.dumps({**json.loads(to_line(RUN)), **change}))
    assert message in str(error.value)


@pytest.mark.parametrize("change", [{"labels": ["yes", ["a", "c"]]}, {"split": "test"}, {"ids": [1]}])
def test_rows_that_were_changed_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"another sha256|1 ids and 2 labels"):
        from_line(json.dumps({**json.loads(to_line(ROWS)), **change}))


def test_a_signal_that_was_changed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"profile\.json has another sha256"):
        from_line(json.dumps({**json.loads(to_line(SIGNAL)), "value": {"a": 1.25}}))


@pytest.mark.parametrize(
    "line", ["", "[]", "{}", '{"kind":"run"}', "1" * 5000, "[" * 100_000, '{"kind":"run","a":NaN}']
)
def test_what_is_no_record_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        from_line(line)


def test_a_line_of_a_later_version_says_so() -> None:
    later = json.dumps({"kind": "archive", "schema_version": 2, "other": 1})
    with pytest.raises(ValueError, match="schema_version 2 given, this gelora reads 1"):
        from_line(later)


def files() -> dict[str, tuple[bytes, str]]:
    """Return the bytes of files that are no archive, each with what is said of it."""
    head, run = to_line(HEAD), to_line(RUN)
    whole = compress([head, run])
    unfinished = pyarrow.Codec("zstd").compress(f"{head}\n{run}".encode(), asbytes=True)
    long_line = pyarrow.Codec("zstd").compress(b"x" * (LONGEST_LINE + 1) + b"\n", asbytes=True)
    latin = pyarrow.Codec("zstd").compress(f"{head}\n".encode() + b"\xff\n", asbytes=True)
    return {
        "empty": (b"", "cut off behind line 0"),
        "text": (b"{}\n", "is no archive, or damaged"),
        "pickle": (b"\x80\x04]\x94.", "is no archive, or damaged"),
        "cut off in a frame": (whole[:-9], "damaged"),
        "cut off in a line": (unfinished, "it is cut off behind line 1"),
        "a flipped bit": (bytes([*whole[:60], whole[60] ^ 64, *whole[61:]]), "Restore it"),
        "no head": (compress([run]), "line 1: kind run given; the first line, and no other, is of the kind archive"),
        "two heads": (compress([head, head]), "line 2: kind archive given"),
        "unknown kind": (compress([head, '{"kind":"x"}']), "line 2: kind 'x' given"),
        "not UTF-8": (latin, "line 2: 'utf-8' codec"),
        "a long line": (long_line, f"line 1 has more than {LONGEST_LINE:,} bytes"),
    }


FILES = files()


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_archive_is_refused(name: str, tmp_path: Path) -> None:
    data, message = FILES[name]
    (tmp_path / "a.zst").write_bytes(data)
    with pytest.raises(GeloraError) as error:
        list(read_records(tmp_path / "a.zst"))
    assert message in str(error.value)
    assert str(tmp_path / "a.zst") in str(error.value)


def test_a_small_file_of_very_many_bytes_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    bomb = pyarrow.Codec("zstd").compress((b"x" * (2**20 - 1) + b"\n") * 16, asbytes=True) * (MOST_BYTES // 2**24 + 1)
    assert len(bomb) < 2**20
    with pytest.raises(GeloraError, match=f"holds more than {MOST_BYTES:,} bytes"):
        for _ in read_lines(tmp_path / "a.zst", bomb):
            pass


def test_an_archive_is_a_regular_file_that_is_there(tmp_path: Path) -> None:
    for path, message in ((tmp_path, "not a regular file"), (tmp_path / "no.zst", "No such file")):
        with pytest.raises(GeloraError, match=message):
            list(read_records(path))
