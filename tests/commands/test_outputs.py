"""What the user names with `output=` is never lost, and a refused command leaves nothing behind."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gelora_cli.commands import fetching
from gelora_cli.commands.main import command_line
from gelora_cli.commands.outputs import check_output, write_output
from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import file_sha256
from gelora_cli.data.splits import TextSplit
from gelora_cli.pipeline import predict as pipeline


def test_what_gelora_wrote_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    write_output(path, "one", force=False)
    write_output(path, "two", force=False)
    assert path.read_text() == "two"
    path.write_text("two, and a note of mine")
    with pytest.raises(GeloraError, match=r"out\.csv exists.*force=true"):
        write_output(path, "three", force=False)
    assert path.read_text() == "two, and a note of mine"
    write_output(path, "three", force=True)
    write_output(path, "four", force=False)
    assert path.read_text() == "four"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".out.csv.gelora", "out.csv"]


def test_the_record_is_one_that_sha256sum_reads_and_an_odd_one_counts_for_nothing(tmp_path: Path) -> None:
    path, record = tmp_path / "out", tmp_path / ".out.gelora"
    write_output(path, "one", force=False)
    digest = file_sha256(path)
    assert record.read_text() == f"{digest}  out\n"
    for damage in (lambda: record.write_bytes(b"\xff" * 70), record.unlink, record.mkdir):
        damage()
        with pytest.raises(GeloraError, match="did not write it"):
            check_output(path, force=False)


def test_another_file_under_the_name_of_an_earlier_output_is_kept(tmp_path: Path) -> None:
    write_output(tmp_path / "out", "one", force=False)
    (tmp_path / "thesis").write_text("years of work")
    (tmp_path / "thesis").replace(tmp_path / "out")
    with pytest.raises(GeloraError, match="did not write it"):
        write_output(tmp_path / "out", "two", force=False)


def test_an_empty_file_and_no_file_are_written(tmp_path: Path) -> None:
    (tmp_path / "made by mktemp").touch()
    for name in ("made by mktemp", "new"):
        write_output(tmp_path / name, "content", force=False)
        assert (tmp_path / name).read_text() == "content"


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("years of work")
    (tmp_path / "out").symlink_to("thesis")
    with pytest.raises(GeloraError, match="did not write it"):
        write_output(tmp_path / "out", "x", force=False)
    (tmp_path / "new").symlink_to("target")
    write_output(tmp_path / "new", "x", force=False)
    assert (tmp_path / "new").is_symlink()
    assert (tmp_path / "target").read_text() == "x"


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_text()), daemon=True)
    reader.start()
    write_output(tmp_path / "pipe", "lines", force=False)
    reader.join(10)
    assert found == ["lines"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_pipe_without_a_name_is_written_to() -> None:
    # /dev/stdout is one where another command reads it.
    reading, writing = os.pipe()
    write_output(Path(f"/dev/fd/{writing}"), "lines", force=False)
    os.close(writing)
    with os.fdopen(reading) as reader:
        assert reader.read() == "lines"


def test_a_device_is_written_to_and_stays() -> None:
    write_output(Path("/dev/null"), "nothing", force=False)
    assert Path("/dev/null").is_char_device()


def loop(place: Path) -> Path:
    (place / "loop").symlink_to("loop")
    return place / "loop"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (lambda place: place, "is a directory"),
        (lambda place: place / "no" / "out", "does not exist"),
        (lambda place: place / ("x" * 300), "can't be written|leads nowhere"),
        (loop, "leads nowhere|can't be written"),
        (lambda place: place / "a\0b", "leads nowhere"),
    ],
)
def test_what_can_never_be_written_is_one_message(tmp_path: Path, name: Any, said: str) -> None:
    with pytest.raises(GeloraError, match=said):
        write_output(name(tmp_path), "x", force=True)


@pytest.mark.parametrize(
    ("words", "accepted"),
    [
        (["predict", "RUN", "output=OUT.xlsx"], "a table or JSON lines is written, so a name may end in .csv, .tsv"),
        (["predict", "RUN", "output=OUT.json"], ".jsonl, .ndjson; name it OUT.csv"),
        (["evaluate", "RUN", "output=OUT.csv"], "JSON is written, so a name may end in .json; name it OUT.json"),
        (["ranks", "RUN", "output=OUT.yaml"], "JSON (format=peft) is written, so a name may end in .json"),
        (["ranks", "RUN", "format=axolotl", "output=OUT.json"], "YAML (format=axolotl) is written"),
        (["ranks", "RUN", "format=trl", "output=OUT.txt"], "Python (format=trl) is written, so a name may end in .py"),
    ],
)
def test_a_name_that_ends_as_another_kind_of_file_is_refused(
    words: list[str], accepted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_line(words) == 2
    assert accepted in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_a_name_without_an_ending_or_in_capitals_is_accepted(tmp_path: Path) -> None:
    for name in ("out", "OUT.CSV"):
        check_output(tmp_path / name, force=False, endings=(".csv",), kinds="a table")


@pytest.mark.parametrize("command", ["predict", "evaluate", "ranks"])
def test_the_commands_refuse_before_any_work(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis").write_text("years of work")
    assert command_line([command, str(tmp_path / "no run"), f"output={tmp_path / 'thesis'}"]) == 2
    assert "thesis exists, and gelora did not write it" in capsys.readouterr().err
    result = EvalResult("validation", 3, {"accuracy": 0.5}, "accuracy", False, 1.0)
    monkeypatch.setattr(pipeline, "evaluate", lambda *_: (result,))
    task, split = TaskConfig(columns=["text"], labels=["a", "b"]), TextSplit("input", np.arange(1), (["x"],), None)
    predicted = [{"id": 0, "split": "input", "prediction": "a", "label": None, "scores": [1.0, 0.0]}]
    monkeypatch.setattr(pipeline, "predict", lambda *_: (task, split, predicted))
    if command != "ranks":
        words = [command, str(tmp_path), f"output={tmp_path / 'thesis'}"]
        assert command_line([*words, "force=true"]) == 0
        assert json.loads((tmp_path / "thesis").read_text())
        assert command_line(words) == 0  # it is gelora's own by now


def test_a_report_replaces_no_file_of_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.helpers.written_runs import write_run

    write_run(tmp_path / "runs", "lora", 0, 0.5)
    output = tmp_path / "mine"
    output.mkdir()
    (output / "table.csv").write_text("mine")
    words = ["report", str(tmp_path / "runs"), f"output={output}", "figures.draw=false"]
    assert command_line(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"output={output} holds table.csv, and no earlier report: give another directory, such as" in said
    assert f"output={output / 'report'}, or force=true" in said
    assert [path.name for path in output.iterdir()] == ["table.csv"]
    (output / "table.csv").rename(output / "thesis.csv")
    assert command_line(words) == 2, "no file of the same name, and still another's folder"
    (output / "thesis.csv").rename(output / "table.csv")
    assert command_line([*words, "force=true"]) == 0
    assert command_line(words) == 0
    assert (output / "table.csv").read_text() != "mine"
    contents = json.loads((output / "report.json").read_text())
    contents["files"].remove("table.csv")
    (output / "report.json").write_text(json.dumps(contents))
    capsys.readouterr()
    assert command_line(words) == 2, "a file that an earlier report did not write, beside one"
    assert "table.csv, which no earlier report wrote" in capsys.readouterr().err


def test_a_fetch_that_is_refused_leaves_no_directory(
    tmp_path: Path, glue_dir: Path, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"model.path={tiny_models['bert']}"
    empty = tmp_path / "nothing"
    empty.mkdir()
    wrong = [["model.path=/no/such/model", f"data.glue={glue_dir}"], [model, f"data.glue={empty}"]]
    for words in wrong:
        assert command_line(["fetch", str(tmp_path / "new" / "er"), "task=cola", *words]) == 2
        assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("years of work")
    assert command_line(["fetch", str(tmp_path / "mine"), "task=cola", model, f"data.glue={glue_dir}"]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis"]


def test_a_fetch_that_fails_after_copying_leaves_no_directory(
    tmp_path: Path, glue_dir: Path, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise GeloraError("no tokenizer")

    monkeypatch.setattr(fetching, "load_tokenizer", fail)
    words = ["task=cola", f"model.path={tiny_models['bert']}", f"data.glue={glue_dir}"]
    assert command_line(["fetch", str(tmp_path / "new"), *words]) == 2
    assert not (tmp_path / "new").exists()


def test_parents_that_hold_something_else_by_then_stay(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with pytest.raises(KeyboardInterrupt), fetching.removing_on_failure(target):
        target.mkdir(parents=True)
        (tmp_path / "a" / "mine").write_text("kept")
        raise KeyboardInterrupt
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["mine"]
