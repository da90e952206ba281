"""Submissions to the GLUE benchmark: from runs on tiny models to the files and the zip."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.commands.submission import Submission, zip_files
from gelora_cli.commands.submission_candidates import Candidate, choose_runs
from gelora_cli.commands.submission_files import PARTS, Part, answer_lines
from gelora_cli.config.schema import RunConfig, TaskConfig
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError, RunError
from tests.helpers.bench import Bench
from tests.helpers.rows import rows, write_split, write_task

BY_FILE = {part.file: part for part in PARTS}
QUICK = ["method=bitfit", "train.max_steps=2", "data.max_train_examples=40"]
TURNED = "task.labels=[neutral,contradiction,entailment]"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Bench:
    """Make runs on CoLA (two seeds), STS-B and MNLI (labels in another order), and MNLI's diagnostic rows."""
    root = tmp_path_factory.mktemp("submission")
    for task in ("cola", "stsb", "mnli", "qqp"):
        write_task(root / "glue", task)
    write_split(root / "diagnostic", "mnli", "test", [row | {"label": -1} for row in rows("mnli", 7, seed=5)])
    shutil.move(root / "diagnostic" / "mnli", root / "glue" / "ax")
    bench = Bench(root / "runs", root / "glue", tiny_models)
    for words in (["task=cola"], ["task=cola", "seed=1"], ["task=stsb"], ["task=mnli", TURNED]):
        assert bench.run(*words, *QUICK) == 0
    return bench


def submit(made: Bench, target: Path, *words: str, tasks: tuple[str, ...] = ("stsb", "mnli")) -> int:
    return command_line(["submit", *[str(made.root / task) for task in tasks], f"output={target}", *words])


def table(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


def predicted(run: Path, split: str, place: Path) -> list[Any]:
    assert command_line(["predict", str(run), f"split={split}", f"output={place}"]) == 0
    return [json.loads(line)["prediction"] for line in place.read_text().splitlines()]


def test_files_say_what_the_runs_predict_and_missing_tasks_are_named(
    made: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out"
    assert submit(made, target, "check_rows=false") == 0
    said = capsys.readouterr().out
    assert sorted(path.name for path in target.iterdir()) == [
        "AX.tsv",
        "MNLI-m.tsv",
        "MNLI-mm.tsv",
        "STS-B.tsv",
        "submission.json",
    ]
    assert "7 of 11 files are missing" in said
    assert "no run of task=qqp" in said
    (run,) = (made.root / "mnli").rglob("s0-*")
    for file, split in (("MNLI-m.tsv", "test_matched"), ("MNLI-mm.tsv", "test_mismatched")):
        header, *body = table(target / file)
        assert header == ["index", "prediction"]
        assert [int(index) for index, _ in body] == list(range(11))
        assert [word for _, word in body] == predicted(run, split, tmp_path / split)
    assert len(table(target / "AX.tsv")) == 1 + 7
    (run,) = (made.root / "stsb").rglob("s0-*")
    scores = predicted(run, "test", tmp_path / "stsb")
    assert [word for _, word in table(target / "STS-B.tsv")[1:]] == [f"{min(max(x, 0), 5):.3f}" for x in scores]


def test_all_eleven_files_in_a_zip_with_constants_where_there_is_no_run(
    made: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out"
    words = ["choose=best", "check_rows=false", "fill_missing=true"]
    assert submit(made, target, *words, tasks=("cola",)) == 0
    said = capsys.readouterr().out
    assert "no run of task=rte: entailment" in said
    assert "not for handing in" in said
    assert "best of 2" in said
    with zipfile.ZipFile(target / "submission.zip") as archive:
        assert archive.namelist() == list(BY_FILE)
        assert all(archive.read(name) == (target / name).read_bytes() for name in BY_FILE)
    written = read_artifact(Submission, target / "submission.json")
    assert not written.official
    for file in written.files:
        body = table(target / file.file)[1:]
        assert file.rows == len(body)
        assert file.sha256 == hashlib.sha256((target / file.file).read_bytes()).hexdigest()
        assert (file.run is None) is (file.file != "CoLA.tsv") is (file.constant is not None)
        assert file.run or {word for _, word in body} == {file.constant}
    assert len(table(target / "QQP.tsv")) == 1 + 11  # the data has it
    assert len(table(target / "RTE.tsv")) == 1 + 3_000
    assert {word for _, word in table(target / "CoLA.tsv")[1:]} <= {"0", "1"}
    os.utime(target / "AX.tsv", (0, 0))
    assert zip_files([target / name for name in BY_FILE]) == (target / "submission.zip").read_bytes()


def test_refusals_name_what_is_wrong_and_write_nothing(
    made: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out"
    wrong: list[tuple[list[str], tuple[str, ...], list[str]]] = [
        ([], ("stsb", "mnli"), ["4 problems", "STS-B.tsv: 11 rows", "1,379", "AX.tsv: 7 rows", "1,104", "check_rows="]),
        (["check_rows=false"], ("cola",), ["several runs for one task", "task=cola", "s1-", "choose=best"]),
        (["choose=first"], ("stsb",), ["choose=first", "best"]),
        (["check_rows=false"], ("none", "stsb"), ["none: no run directory"]),
        ([f"data.glue={tmp_path}"], ("stsb",), ["has no task stsb"]),
    ]
    for words, tasks, parts in wrong:
        assert submit(made, target, *words, tasks=tasks) == 2
        message = capsys.readouterr().err
        assert all(part in message for part in parts), message
    assert command_line(["submit", str(made.root)]) == 2
    assert "output=DIR is needed" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert submit(made, tmp_path / "full", "check_rows=false") == 2
    assert "full is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_an_unfinished_run_is_refused_by_itself_and_left_out_among_others(
    made: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = shutil.copytree(made.root, tmp_path / "runs")
    broken = next((runs / "cola").rglob("s1-*"))
    (broken / "DONE").unlink()
    assert command_line(["submit", str(broken), f"output={tmp_path / 'out'}"]) == 2
    assert "is not finished" in capsys.readouterr().err
    assert command_line(["submit", str(runs), f"output={tmp_path / 'out'}", "check_rows=false"]) == 0
    assert f"left out: {broken}: not finished" in capsys.readouterr().out
    edited = next((runs / "stsb").rglob("predictions.jsonl"))
    edited.write_text("")
    assert command_line(["submit", str(runs), f"output={tmp_path / 'two'}", "check_rows=false"]) == 2
    assert str(edited) in capsys.readouterr().err


def test_lines_follow_ids_and_scores_stay_in_their_range() -> None:
    answered = [{"id": 2, "prediction": 5.71}, {"id": 0, "prediction": -0.2}, {"id": 1, "prediction": 3.14159}]
    found = answer_lines(BY_FILE["STS-B.tsv"], answered)
    assert (found.words, found.clipped) == (["0.000", "3.142", "5.000"], 2)
    named = [{"id": 1, "prediction": "not_entailment"}, {"id": 0, "prediction": "entailment"}]
    assert answer_lines(BY_FILE["WNLI.tsv"], named).words == ["1", "0"]
    assert answer_lines(BY_FILE["RTE.tsv"], named).words == ["entailment", "not_entailment"]
    with pytest.raises(RunError, match="not finite"):
        answer_lines(BY_FILE["STS-B.tsv"], [{"id": 0, "prediction": float("nan")}])


def candidate(name: str, value: float, task: str = "cola", protocol: str = "last") -> Candidate:
    return Candidate(Path(name), RunConfig(task=TaskConfig(name=task), protocol=protocol), "accuracy", value)


def test_the_best_is_the_largest_value_and_the_first_name_of_equals() -> None:
    found = [candidate("b", 0.5), candidate("a", 0.5), candidate("c", 0.4), candidate("d", 0.1, "rte")]
    assert {task: str(run.directory) for task, run in choose_runs(found, "best").items()} == {"cola": "a", "rte": "d"}
    with pytest.raises(GeloraError, match=r"task=cola:\n    b \(accuracy, protocol=last: 0.5000\)\n    a "):
        choose_runs(found, None)
    with pytest.raises(GeloraError, match="under one protocol"):
        choose_runs([*found, candidate("e", 0.9, protocol="dev")], "best")


def test_the_table_is_the_benchmarks() -> None:
    assert len(PARTS) == 11
    assert sum(part.rows for part in PARTS) == 426_309  # those of the files of a published submission, added up
    for part in PARTS:
        assert set(part.words) == set(labels_of(part))


def labels_of(part: Part) -> list[str]:
    from omegaconf import OmegaConf

    from gelora_cli.config.shipped import config_dir

    values: Any = OmegaConf.to_container(OmegaConf.load(config_dir() / "task" / f"{part.task}.yaml"))
    return list(values.get("labels", []))
