"""Whole runs through the command, as a user would start them, on tiny models and rows made by the tests."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from sklearn.metrics import matthews_corrcoef

from gelora_cli.commands.main import command_line
from gelora_cli.config import complete as complete_module
from gelora_cli.config.files import write_config
from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.devices import train_machine
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.status import run_status
from gelora_cli.pipeline import resume, stages, worker
from gelora_cli.pipeline.reload_check import compare_scores
from gelora_cli.pipeline.session import open_session
from gelora_cli.report.rows import make_rows
from gelora_cli.report.runs import collect
from gelora_cli.training.checkpoint import Checkpoints, TrainState
from tests.helpers.bench import Bench, answer_here, predictions, result_of
from tests.helpers.composed import composed
from tests.helpers.manifests import manifest
from tests.helpers.metric_lines import losses_of, without_times
from tests.helpers.rows import TASKS, rows, write_split
from tests.helpers.tiny import KINDS
from tests.helpers.warm import WARM

HALVES_OF_MNLI = ("matched", "mismatched")
TRAIN_ROWS = 90


FILES = "DONE README.md adapter config.yaml curve.png log.txt metrics.jsonl predictions.jsonl profile.json profile.png ranks.json ranks.png result.json run.json"  # noqa: E501


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("rendered_pictures")
def test_every_model_kind_runs_to_its_end(bench: Bench, kind: str) -> None:
    assert bench.run("task=cola", model=kind) == 0
    directory = bench.only()
    assert sorted(path.name for path in directory.iterdir() if path.name != ".lock") == sorted(FILES.split())
    result, plan = result_of(directory), read_artifact(RankPlan, directory / RankPlan.FILE)
    assert result.ranks == plan.ranks
    assert result.effective_ranks == plan.rank_pattern
    assert result.train.trainable_params == plan.adapter_params + plan.head_params
    assert result.reload_check.passed
    assert result.reload_check.largest_difference <= result.reload_check.tolerance < result.reload_check.adapter_effect
    assert [row["id"] for row in predictions(directory)] == list(range(37))
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    assert all(path.stat().st_size > 10_000 for path in directory.glob("*.png"))
    assert manifest.status == "done"
    assert manifest.seconds.keys() >= {"profile", "train", "reload"}
    assert (manifest.peak_bytes or 0) > 50_000_000


@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs_and_its_value_is_that_of_its_predictions(bench: Bench, task: str) -> None:
    assert bench.run(f"task={task}") == 0
    directory = bench.only()
    result, found = result_of(directory), predictions(directory)
    splits = ["validation_matched", "validation_mismatched"] if task == "mnli" else ["validation"]
    assert [evaluated.split for evaluated in result.results] == splits
    for evaluated in result.results:
        mine = [row for row in found if row["split"] == evaluated.split]
        assert len(mine) == evaluated.examples == 37
        if "accuracy" in evaluated.metrics:
            share = np.mean([row["prediction"] == row["label"] for row in mine])
            assert evaluated.metrics["accuracy"] == pytest.approx(share)
    assert result.value == result.results[0].metrics[result.reported]


def test_a_finished_run_is_not_done_again_unless_forced(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("task=cola") == 0
    directory = bench.only()
    stamp = (directory / "DONE").stat().st_mtime_ns
    lines, found = without_times(directory), predictions(directory)
    assert bench.run("task=cola", "budget=auto", "debug=false") == 0
    assert "done before" in capsys.readouterr().out
    assert (directory / "DONE").stat().st_mtime_ns == stamp
    assert bench.run("task=cola", "force=true") == 0
    assert (directory / "DONE").stat().st_mtime_ns > stamp
    assert (without_times(directory), predictions(directory)) == (lines, found)


def test_what_is_only_watched_is_outside_the_identity(bench: Bench, tmp_path: Path) -> None:
    assert bench.run("task=cola", "budget=rank:2") == 0
    copy = shutil.copytree(bench.data, tmp_path / "moved")
    assert bench.run("task=cola", "budget=rank2", "train.log_steps=1", f"data.glue={copy}") == 0
    assert len(bench.directories()) == 1
    assert bench.run("task=cola", "budget=rank:2", "train.learning_rate=0.02") == 0
    assert len(bench.directories()) == 2


def test_budgets_methods_and_seeds_of_a_task_share_one_profile(bench: Bench) -> None:
    assert bench.run("task=cola") == 0
    assert bench.run("task=cola", "budget=rank:3", "seed=1", "data.max_train_examples=40") == 0
    profiles = list((bench.root / ".profiles").glob("*/profile.json"))
    assert len(profiles) == 1
    first, second = (read_artifact(IdProfile, path / "profile.json") for path in bench.directories())
    assert first == second
    assert sorted(result_of(path).profile_reused for path in bench.directories()) == [False, True]
    assert bench.run("task=cola", "profile.pooling=cls") == 0
    assert len(list((bench.root / ".profiles").glob("*/profile.json"))) == 2


def test_train_needs_a_profile_or_a_plan(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("task=cola", command="train") == 2
    assert "gelora train measures none" in capsys.readouterr().err
    assert bench.run("task=cola", command="profile") == 0
    assert "idim" in capsys.readouterr().out
    assert not bench.directories()
    assert bench.run("task=cola", "budget=rank:2", command="train") == 0
    directory = bench.only()
    assert bench.run("task=sst2", f"ranks.path={directory}", "seed=1", command="train") == 0
    other = next(path for path in bench.directories() if path != directory)
    assert other.name.startswith("brank2-s1-")
    assert result_of(other).ranks == result_of(directory).ranks
    wrong = bench.run("task=sst2", f"ranks.path={directory}", command="train", model="llama")
    assert wrong == 2
    assert "plan for another model" in capsys.readouterr().err


def test_a_file_of_ranks_that_is_changed_after_its_run_has_a_name_is_refused(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_while(change: Callable[[], object], *settings: str) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(stages, "open_session", lambda *arguments: change() and open_session(*arguments))
            assert bench.run("task=cola", *settings) == 2
        return capsys.readouterr().err

    ranks = tmp_path / "mine.csv"
    ranks.write_text("block,rank\n1,1\n2,1\n3,1\n")
    settings = ["method=file", f"method.path={ranks}", "budget=rank:2"]
    shown = run_while(lambda: ranks.write_text("block,rank\n1,2\n2,1\n3,1\n"), *settings)
    assert "changed since this run began: rank file (" in shown
    assert "Give the same command again" in shown
    refused = bench.only()
    assert read_artifact(RunManifest, refused / RunManifest.FILE).status == "failed"
    assert bench.run("task=cola", *settings) == 0  # the same command, whose run has another name now
    (trained,) = (path for path in bench.directories() if path != refused)
    plan = read_artifact(RankPlan, trained / RankPlan.FILE)
    assert plan.ranks == (2, 1, 1)

    write_artifact(plan, tmp_path)
    other = replace(plan, scaling=2 * plan.scaling)
    shown = run_while(lambda: write_artifact(other, tmp_path) or True, f"ranks.path={tmp_path}")
    assert "changed since this run began: plan (" in shown


def test_protocol_dev_keeps_the_best_epochs_predictions(bench: Bench) -> None:
    assert bench.run("task=cola", "protocol=dev", "train.epochs=3") == 0
    result = result_of(bench.only())
    values = [evaluated[0].value for evaluated in result.train.evaluations]
    assert result.value == max(values) == result.best_value
    assert "optimistic" in result.selection
    found = predictions(bench.only())
    assert matthews_corrcoef(*zip(*((row["label"], row["prediction"]) for row in found), strict=True)) == pytest.approx(
        result.value
    )


def test_protocol_split_reports_what_did_not_select(bench: Bench, tmp_path: Path) -> None:
    assert bench.run("task=mnli", "protocol=split", "train.epochs=3") == 0
    directory = bench.only()
    result, found = result_of(directory), predictions(directory)
    selecting = [evaluated[0].value for evaluated in result.train.evaluations]
    assert result.best_value == max(selecting) == selecting[result.train.selected_epoch - 1]
    assert [row.split for row in result.results] == [f"validation_{kind} (reported half)" for kind in HALVES_OF_MNLI]
    assert result.value == result.train.evaluations[result.train.selected_epoch - 1][1].value
    assert result.selection.startswith("best epoch on the other half of validation_matched")
    mine = [row["prediction"] == row["label"] for row in found if row["split"] == result.results[0].split]
    assert len(mine) == 19
    assert np.mean(mine) == pytest.approx(result.value)
    output = tmp_path / "again.json"
    assert command_line(["evaluate", str(directory), f"output={output}"]) == 0
    again = json.loads(output.read_text())["results"]
    assert [row["metrics"] for row in again] == [row.metrics for row in result.results]
    assert bench.run("task=mnli", "protocol=split", "train.epochs=3", "method=lora", "budget=rank:2", "seed=1") == 0
    other = next(path for path in bench.directories() if path != directory)
    assert [(row["id"], row["split"]) for row in predictions(other)] == [(row["id"], row["split"]) for row in found]


def test_rows_held_out_for_selecting_are_not_trained_on(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("task=sst2", "protocol=split", "train.epochs=2") == 0
    result = result_of(bench.only())
    (train,) = {row[0].examples for row in result.train.evaluations}
    assert result.train.examples == 2 * (TRAIN_ROWS - train) == 162
    assert [row.split for row in result.results] == ["validation"]
    assert len(predictions(bench.only())) == 37
    capsys.readouterr()
    assert bench.run("task=sst2", "protocol=split", "data.max_train_examples=50", "dry_run=true") == 0
    assert "training: 4 steps of 16" in capsys.readouterr().out


def test_drawn_evaluation_rows_are_the_same_for_every_method_and_seed(bench: Bench, tmp_path: Path) -> None:
    fixed = ["task=mnli", "data.max_eval_examples=9", "train.max_steps=2"]
    assert bench.run(*fixed, "method=lora", "budget=rank:2") == 0
    assert bench.run(*fixed, "method=bitfit", "seed=5") == 0
    first, second = bench.directories()
    found = [(row["split"], row["id"]) for row in predictions(first)]
    assert found == [(row["split"], row["id"]) for row in predictions(second)]
    assert len(found) == 2 * 9
    assert [row.examples for row in result_of(first).results] == [9, 9]
    matched = [number for split, number in found if split == "validation_matched"]
    assert matched == sorted(matched)
    assert matched != list(range(9)), "drawn, not the first ones"
    assert "scored on at most 9 rows" in (first / "README.md").read_text()
    assert command_line(["evaluate", str(first), f"output={tmp_path / 'again.json'}"]) == 0
    again = json.loads((tmp_path / "again.json").read_text())["results"]
    assert [row["metrics"] for row in again] == [row.metrics for row in result_of(first).results]
    assert [row["examples"] for row in again] == [9, 9]
    output = tmp_path / "out.jsonl"
    assert command_line(["predict", str(first), "split=test_matched", f"output={output}"]) == 0
    assert len(output.read_text().splitlines()) == 11, "a test split is never drawn from"


def test_drawn_evaluation_rows_keep_the_parts_of_a_protocol_apart(bench: Bench) -> None:
    assert bench.run("task=sst2", "protocol=split", "task.split=halves", "data.max_eval_examples=6") == 0
    assert bench.run("task=sst2", "protocol=split", "task.split=halves", "method=lora", "budget=rank:1") == 0
    drawn, whole = sorted((predictions(path) for path in bench.directories()), key=len)
    assert len(drawn) == 6
    assert {row["id"] for row in drawn} < {row["id"] for row in whole}, "rows of the reported half alone"


def test_a_smoke_run_is_short_and_says_what_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = complete_module.SmokeLimits(profile_examples=40, train_examples=33, eval_examples=5)
    monkeypatch.setattr(complete_module, "SMOKE", few)
    real = ["task=cola", "method=lora", "budget=rank:2", "train.epochs=3"]
    assert bench.run(*real, "smoke=true") == 0
    directory = bench.only()
    result = result_of(directory)
    assert result.smoke
    assert (result.train.epochs, result.train.examples, result.results[0].examples) == (1, 33, 5)
    assert read_artifact(IdProfile, directory / "profile.json").examples_drawn == 40
    shown = capsys.readouterr()
    assert "smoke=true: a short trial on few rows, not a result" in shown.out
    card = (directory / "README.md").read_text()
    assert "(smoke trial)" in card
    assert "not a result." in card
    assert "model-index" not in card
    assert bench.run(*real) == 0
    assert [result_of(path).smoke for path in bench.directories() if path != directory] == [False]
    capsys.readouterr()
    assert command_line(["ls", str(bench.root)]) == 0
    listed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("done")]
    assert [line.startswith("done smoke") for line in listed].count(True) == 1
    assert len(listed) == 2
    names = {row.name: row.notes for row in make_rows(collect([bench.root]).runs)}
    assert len(names) == 2
    (smoke,) = [name for name in names if name.endswith(" [smoke]")]
    assert "not a result" in names[smoke]
    assert command_line(["submit", str(directory), f"output={bench.root / 'submission'}", "fill_missing=true"]) == 2
    assert "a short trial on few rows" in capsys.readouterr().err


def test_evaluate_and_predict_work_from_the_directory_alone(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gelora_cli.core.devices._cpu_has_bf16", lambda: False)
    assert bench.run("task=rte", "precision=auto") == 0
    directory = bench.only()
    moved = shutil.move(directory, tmp_path / "my run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gelora_cli.core.devices._cpu_has_bf16", lambda: True)  # another machine
    written = Path(moved).stat().st_mtime_ns
    capsys.readouterr()
    assert command_line(["evaluate", "my run", "output=again.json"]) == 0
    assert Path(moved).stat().st_mtime_ns == written
    value = result_of(Path(moved)).value
    shown = capsys.readouterr()
    assert "precision float32" in shown.err
    assert f"accuracy {value:.4f}" in shown.out
    assert json.loads((tmp_path / "again.json").read_text())["results"][0]["metrics"]["accuracy"] == value
    assert command_line(["predict", "my run", "split=validation", "output=out.jsonl"]) == 0
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["prediction"] for row in found] == [row["prediction"] for row in predictions(Path(moved))]
    assert command_line(["predict", "my run", "split=test", "output=out.jsonl"]) == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 11
    (tmp_path / "pairs.txt").write_text("the cat sat\ta dog ran\nthe book is lost\tthe book is lost\n")
    capsys.readouterr()
    assert command_line(["predict", "my run", "file=pairs.txt"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {json.loads(line)["prediction"] for line in lines} <= {"entailment", "not_entailment"}
    assert len(lines) == 2


def test_a_worker_scores_in_the_precision_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(
        complete_module.complete(composed("task=cola", "model=minilm", "precision=auto")), tmp_path / run_files.CONFIG
    )
    write_artifact(replace(manifest("done"), precision="bf16"), tmp_path)
    seen: list[RunConfig] = []
    monkeypatch.setattr(worker, "resolve_inputs", seen.append)
    monkeypatch.setattr(worker, "work_evaluate", lambda *_: None)
    worker.main(["evaluate", str(tmp_path), "results.json", "2"])
    assert [(config.precision, config.launch.processes) for config in seen] == [("bf16", 2)]


@pytest.mark.parametrize(
    "still",
    [
        ["precision=bf16", "train.learning_rate=1e-9", "train.warmup_ratio=0"],
        ["train.max_steps=1"],  # its only step is one of warm-up, with rate 0
        ["train.learning_rate=1e-12", "method=sora", "budget=rank:2", "train.max_steps=2"],
    ],
    ids=["rate", "warm-up", "sora"],
)
def test_an_adapter_that_moved_nothing_ends_with_a_warning(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], still: list[str]
) -> None:
    monkeypatch.setattr(AcceleratorState, "_shared_state", {})  # a process has one precision otherwise
    assert bench.run("task=cola", *still) == 0
    check = result_of(bench.only()).reload_check
    assert check.passed
    assert "the adapter moved nothing" in check.warning
    shown = capsys.readouterr()
    assert "the adapter moved nothing" in shown.out
    assert "The adapter moved nothing" in (bench.only() / "README.md").read_text()


def test_reloaded_scores_that_differ_are_an_error_whatever_the_adapter_does() -> None:
    trained = np.array([[0.5, -2.0], [1.0, 3.0]], np.float32)
    for precision, small in (("float32", 1e-7), ("bf16", 1e-3)):
        moved = trained + np.float32(0.5)
        good = compare_scores(trained, trained, moved, precision, empty=False)
        assert (good.passed, good.warning) == (True, "")
        still = compare_scores(trained, trained + np.float32(small), trained, precision, empty=False)
        assert still.passed
        assert "the adapter moved nothing" in still.warning
        for base in (trained, moved):
            assert not compare_scores(trained, trained + np.float32(0.1), base, precision, empty=False).passed
        lost = compare_scores(trained, moved, moved, precision, empty=False)
        assert not lost.passed, "the base model's scores: the adapter was not loaded"
        pruned = compare_scores(trained, trained, trained, precision, empty=True)
        assert (pruned.passed, pruned.warning) == (True, "")
        assert not compare_scores(trained, moved, trained, precision, empty=True).passed


def interrupted(directory: Path, **changes: Any) -> RunConfig:
    """Make a run directory with a whole checkpoint, and the configuration of the one who goes on."""
    config = RunConfig()
    write_config(config, directory / run_files.CONFIG)
    state = TrainState(4, 64, 0, (), (), 0, 0, None, 1.0, 0.0, 1, train_machine())
    Checkpoints(directory, 4, None).save(replace(state, **changes), {})
    return config


def test_how_to_start_anew_is_true_with_force_too(tmp_path: Path) -> None:
    for changes in ({"processes": 2}, {"machine": "abacus, wood"}):
        place = tmp_path / next(iter(changes))
        place.mkdir()
        config = interrupted(place, **changes)
        with pytest.raises(GeloraError, match=f"delete {place / run_files.CHECKPOINTS} to start from scratch"):
            resume.is_resumable(place, config)
        shutil.rmtree(place / run_files.CHECKPOINTS)
        assert not resume.is_resumable(place, config)


def test_other_threads_are_refused_and_force_resumes_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(LOGGER, "warning", lambda text, *values: said.append(text % values))
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    config = interrupted(tmp_path, threads=threads + 3, thread_settings=f"OMP_NUM_THREADS={threads + 3}")
    with pytest.raises(GeloraError) as caught:
        resume.is_resumable(tmp_path, config)
    message = str(caught.value)
    assert f"CPU threads was {threads + 3} (OMP_NUM_THREADS={threads + 3})" in message
    assert f"is now {threads} (OMP_NUM_THREADS=1)" in message
    assert f"Set OMP_NUM_THREADS={threads + 3}, or give force=true" in message
    assert len(message) < 500
    assert not said
    assert (tmp_path / run_files.CHECKPOINTS).exists()
    assert resume.is_resumable(tmp_path, replace(config, force=True))
    assert len(said) == 1
    assert "differ in their last digits" in said[0]


def test_the_same_threads_resume_and_so_does_a_checkpoint_that_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(LOGGER, "warning", lambda text, *values: said.append(text % values))
    for name, threads in (("same", torch.get_num_threads()), ("older", 0)):
        (tmp_path / name).mkdir()
        assert resume.is_resumable(tmp_path / name, interrupted(tmp_path / name, threads=threads))
    assert not said


@pytest.mark.parametrize("track", [True, False])
def test_a_run_that_goes_on_with_another_tracking_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, track: bool
) -> None:
    config = interrupted(tmp_path)
    said: list[str] = []
    monkeypatch.setattr(LOGGER, "warning", lambda text, *values: said.append(text % values))
    assert resume.is_resumable(tmp_path, replace(config, profile=replace(config.profile, track=track)))
    wanted = ["begun with profile.track=False, resumed with True: the trajectory has gaps"]
    assert said == (wanted if track else [])


def test_another_model_or_other_data_is_noticed(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = tmp_path / "model", tmp_path / "data"
    shutil.copytree(bench.models["bert"], model)
    shutil.copytree(bench.data, data)
    assert bench.run("task=cola", f"model.path={model}", f"data.glue={data}") == 0
    directory = str(bench.only())
    write_split(data, "cola", "train", rows("cola", 90, seed=77))
    assert command_line(["evaluate", directory]) == 2
    assert "split train is not the one" in capsys.readouterr().err
    shutil.copytree(bench.models["electra"], model, dirs_exist_ok=True)
    assert command_line(["evaluate", directory]) == 2
    assert "is not the model that" in capsys.readouterr().err


def test_a_failed_run_says_so_and_can_be_run_again(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["task=cola", "train.learning_rate=1e30", "train.max_grad_norm=1e30", "train.log_steps=1"]
    assert bench.run(*wrong) == 1
    message = capsys.readouterr().err
    assert "the loss is nan at step" in message
    assert "Traceback" not in message
    manifest = read_artifact(RunManifest, bench.only() / RunManifest.FILE)
    assert manifest.status == "failed"
    assert "the loss is nan" in str(manifest.error)
    assert not (bench.only() / "DONE").exists()
    assert bench.run(*wrong) == 1


def test_a_sweep_goes_on_after_a_failure(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    assert bench.run("-m", "task=cola", "budget=auto,1", "seed=0,1") == 2
    assert sorted(run_status(path) for path in bench.directories()) == ["done", "done", "failed", "failed"]
    shown = capfd.readouterr()
    assert "gelora: of 4 jobs 2 failed;" in shown.err
    rows = shown.out.rsplit("\n\n", 1)[1].splitlines()
    jobs = [f"budget={budget} seed={seed}" for budget in ("auto", "1") for seed in (0, 1)]
    assert [re.split("  +", row)[0] for row in rows] == ["job", *jobs]
    for seed in (0, 1):
        (failed,) = [row for row in rows if f"budget=1 seed={seed} " in row]
        assert re.search(r"failed +- +\d+ +/.*/b0.000001M-s.*: budget=1 gives", failed), failed
        (done,) = [row for row in rows if f"budget=auto seed={seed} " in row]
        value = next(result_of(path).value for path in bench.directories() if f"/bauto-s{seed}-" in str(path))
        assert re.search(rf" done +{value:.4f} +\d+ +/.*/bauto-s{seed}-", done), done
    logs = {path: (path / "log.txt").read_text() for path in bench.directories()}
    assert all(str(path) in log for path, log in logs.items())  # each job writes a log of its own
    assert all("profile" in log for path, log in logs.items() if run_status(path) == "done")


def test_a_sweep_looks_at_the_data_of_its_last_job_first(
    bench: Bench, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answer_here(monkeypatch)
    sources = f"data.glue={bench.data},/no/glue,/no/glue2"
    assert bench.run("-m", "task=cola", "seed=0,1", "method=gelora,lora", sources) == 2
    message = capfd.readouterr().err
    for source in ("/no/glue", "/no/glue2"):
        assert f"(and 3 more): data.glue={source}: no such directory" in message
    assert "No job was started." in message
    assert [len(request["check"]) for request in asked] == [3]
    assert not bench.root.exists()


def test_a_sweep_of_profiles_takes_text_without_labels(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_here(monkeypatch)
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(row["sentence"] for row in rows("cola", 60, seed=1)))
    assert bench.run("-m", "task=text", f"data.text={lines}", "profile.pooling=mean,cls", command="profile") == 0
    assert len(list((bench.root / ".profiles").glob("*/profile.json"))) == 2


def test_a_grid_of_methods_ends_in_one_table(
    bench: Bench, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = ["-m", "task=cola", "method=gelora,lora,shuffled,random,reversed", "budget=rank:3", "seed=0,1"]
    grid += ["train.max_steps=2"]
    answer_here(monkeypatch)
    assert bench.run(*grid) == 0
    table = capfd.readouterr().out.rsplit("\n\n", 2)[1]
    runs = [result_of(path) for path in bench.directories()]
    assert len(runs) == 10
    plans = [read_artifact(RankPlan, path / RankPlan.FILE) for path in bench.directories()]
    assert {plan.adapter_params for plan in plans} == {plans[0].adapter_params}
    assert {sum(plan.ranks) for plan in plans} == {9}
    for plan in plans:
        other = plan.ranks != plan.gelora_ranks
        assert other or plan.method == "gelora" or "This plan equals GeLoRA's" in plan.note
    for method in {run.method for run in runs}:
        assert method in table
    gelora = [run.value for run in runs if run.method == "gelora"]
    assert f"{np.mean(gelora):.4f}" in table
    assert bench.run(*grid) == 0
    again = capfd.readouterr().out
    assert again.count("done before") == again.count(" already done ") == 10


@pytest.mark.distributed
def test_two_processes_give_the_ranks_and_the_losses_of_one(bench: Bench, tmp_path: Path) -> None:
    settings = ["task=cola", "model.dropout=0", "train.log_steps=1", "train.epochs=9", "budget=rank:2"]
    one = Bench(tmp_path / "one", bench.data, bench.models)
    two = Bench(tmp_path / "two", bench.data, bench.models)
    assert one.run(*settings) == 0
    done = WARM.run_gelora(*two.arguments(*settings, "launch.processes=2"))
    assert done.returncode == 0, done.stderr
    first, second = one.only(), two.only()
    assert first.name == second.name
    losses = [losses_of(path) for path in (first, second)]
    assert len(losses[0]) == 54
    assert losses[1][:50] == pytest.approx(losses[0][:50], rel=1e-4)
    profiles = [read_artifact(IdProfile, path / "profile.json") for path in (first, second)]
    for a, b in zip(profiles[0].layers, profiles[1].layers, strict=True):
        assert b.idim == pytest.approx(a.idim, rel=1e-5)
    assert result_of(first).ranks == result_of(second).ranks
    assert [row["id"] for row in predictions(second)] == list(range(37))
    shares = [line for line in (second / "log.txt").read_text().splitlines() if "measured " in line and "(pid" in line]
    counts = [int(line.split("measured ")[1].split()[0]) for line in shares]
    assert len(counts) == 2
    assert min(counts) > 0
    assert sum(counts) == profiles[1].examples_used


@pytest.mark.distributed
def test_a_failure_in_the_workers_is_one_message(bench: Bench) -> None:
    wrong = ["task=cola", "train.learning_rate=1e30", "train.max_grad_norm=1e30", "launch.processes=2"]
    done = WARM.run_gelora(*bench.arguments(*wrong))
    assert done.returncode == 1
    assert done.stderr.rstrip().splitlines()[-1].startswith("gelora: the loss is nan")
    assert read_artifact(RunManifest, bench.only() / RunManifest.FILE).status == "failed"
