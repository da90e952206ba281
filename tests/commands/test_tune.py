"""`gelora tune` as a command: what it refuses, a whole study on tiny models, killed and gone on, with two workers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest

from gelora_cli.archive.writing import pack
from gelora_cli.commands import budget_study, studying
from gelora_cli.commands.main import command_line
from gelora_cli.commands.sweeping import checked_outcomes
from gelora_cli.config.files import read_config
from gelora_cli.core.artifacts.budgets import BudgetStudy
from gelora_cli.core.artifacts.study import Study
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.done import is_done
from gelora_cli.core.status import find_runs
from gelora_cli.launchers.base import Launcher
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.tuning.baseline import study_baseline
from tests.helpers.bench import Bench, result_of
from tests.helpers.searches import timeless
from tests.helpers.waiting import wait_until

SHORT = ("task=sst2", "train.epochs=1", "train.batch_size=16", "precision=float32", "budget=rank:2")


def arguments(bench: Bench, *overrides: str, root: Path | None = None) -> list[str]:
    model = f"model.path={bench.models['bert']}"
    return ["tune", *SHORT, model, f"data.glue={bench.data}", f"runs_dir={root or bench.root}", *overrides]


def only_study(root: Path) -> Study:
    (path,) = (root / "tune").glob(f"*/{Study.FILE}")
    return read_artifact(Study, path)


@pytest.mark.parametrize(
    ("overrides", "messages"),
    [
        (["budget=rank:2,rank:4"], ["budget: several values are several studies", "once for each value"]),
        (["seed=0,1", "train.epochs=1,2"], ["seed: several values", "train.epochs: several values"]),
        (["data.holdout=0.2"], ["data.holdout=0.2: gelora tune sets it", "tune.holdout=SHARE"]),
        (["force=true"], ["force=true: a study goes on where it was"]),
        (["tune.sampler=tpe", "launch.parallel=2"], ["launch.parallel=2: tune.sampler=tpe proposes each trial from"]),
        (["launch.launcher=slurm"], ["launch.launcher=slurm: gelora tune chooses trials by those before"]),
        (["tune.trials=0", "tune.holdout=0.9"], ["\n  - tune.trials=0: accepted", "\n  - tune.holdout=0.9: accepted"]),
        (["tune.trial=4"], ["tune.trial=4: unknown key; did you mean tune.trials?"]),
        (
            ["tune.space=SPACE"],
            ["space.yaml for gelora: method.scaling: low=4 is not below high=2", "train.rate: unknown"],
        ),
        (["train.learning_rate=1e-3", "method=full"], ["full: every searched key is given", "nothing is searched"]),
        (["method=gelora,lora", "data.glue=gone"], ["gone", "No job was started"]),
    ],
)
def test_what_is_wrong_is_said_before_any_trial(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], messages: list[str]
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("method.scaling: {low: 4, high: 2}\ntrain.rate: {low: 1, high: 2}\n")
    words = [word.replace("SPACE", str(space)) for word in overrides]
    assert command_line(arguments(bench, "launch.launcher=in_place", *words)) == 2
    printed = capsys.readouterr().err
    assert [message for message in messages if message not in printed] == []
    assert not bench.root.exists()


def test_a_study_from_its_trials_to_a_run_with_its_presets(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("train.learning_rate: {low: 1.0e-3, high: 1.0e-1, log: true}\n")
    words = arguments(
        bench, "method=lora,bitfit", "tune.trials=1", "tune.widen=0", f"tune.space={space}", "launch.launcher=in_place"
    )
    assert command_line(words) == 0
    study = only_study(bench.root)
    assert [(method.label, len(method.trials), method.best) for method in study.methods] == [
        ("lora", 1, 1),
        ("bitfit", 1, 1),
    ]
    folder = next((bench.root / "tune").iterdir())
    for method in study.methods:
        result = result_of(folder / method.trials[0].directory)
        assert result.on_holdout
        assert (result.value, study.examples) == (method.trials[0].value, result.results[0].examples)
    assert study.methods[0].trials[0].values == study.methods[1].trials[0].values
    assert (folder / "study.png").read_bytes()[:4] == b"\x89PNG"
    runs = find_runs(bench.root)
    assert len(runs) == 2
    capsys.readouterr()
    assert command_line(words) == 0  # nothing is left to do
    printed = capsys.readouterr()
    assert "2 done before" in printed.out
    assert "job 1" not in printed.err
    assert only_study(bench.root) == study
    baseline = study_baseline(study, folder)
    assert baseline is not None and baseline.prediction == "the most common label"
    text = f"to beat: accuracy {baseline.value:.4f} with the most common label for every row"
    assert text in printed.out
    assert text.removeprefix("to beat") in (folder / "README.md").read_text(encoding="utf-8")
    next_command = next(line for line in printed.out.splitlines() if "gelora run -m" in line)
    assert " method=lora,bitfit " in next_command
    assert next_command.split()[-3:-1] == ["seed=1,2,3,4,5", "--config-dir"]
    assert command_line(["ls", str(bench.root)]) == 0
    assert capsys.readouterr().out.count("holdout") >= 2
    rate = study.methods[0].trials[0].values["train.learning_rate"]
    run = [word for word in words if not word.startswith(("tune", "method", "launch"))]
    assert command_line(["run", "--config-dir", str(folder / "presets"), *run, "method=lora"]) == 0
    trained = next(path for path in find_runs(bench.root) if path not in runs)
    config = read_config(trained / "config.yaml")
    assert (config.train.learning_rate, config.preset_trials) == (rate, 1)
    assert {"README.md", "study.png", "presets", "study.json"} <= {path.name for path in folder.iterdir()}


def test_jobs_of_several_budgets_say_their_budget_and_their_place_among_all(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def written_down(launcher: Launcher, jobs: Sequence[Job]) -> Iterator[Outcome]:
        for job in jobs:
            said.append(f"{job.number} of {job.count}: {job.label.partition(':')[0]}")
            yield Outcome(1, message="not run")

    monkeypatch.setattr(studying, "checked_outcomes", written_down)
    monkeypatch.setattr(budget_study, "checked_outcomes", written_down)
    overrides = ("method=gelora,lora", "tune.budgets=[rank:1,rank:2]", "launch.launcher=in_place")
    words = [word for word in arguments(bench, *overrides) if word != "budget=rank:2"]
    assert command_line([*words, "dry_run=true"]) == 1
    assert said == [
        "1 of 4: budget rank1, gelora, trial 1",
        "2 of 4: budget rank1, lora, trial 1",
        "3 of 4: budget rank2, gelora, trial 1",
        "4 of 4: budget rank2, lora, trial 1",
    ]
    said.clear()
    assert command_line(words) == 2
    assert said == ["1 of 2: check of budget rank1", "2 of 2: check of budget rank1"]


@pytest.mark.slow
def test_budgets_from_their_studies_to_the_answer(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ("method=lora", "tune.trials=1", "tune.widen=0", "tune.budgets=[rank:1,rank:2]")
    words = [word for word in arguments(bench, *overrides, "launch.launcher=in_place") if word != "budget=rank:2"]
    assert command_line(words) == 0
    (file,) = (bench.root / "tune").glob(f"*/{BudgetStudy.FILE}")
    study = read_artifact(BudgetStudy, file)
    assert [(cell.label, cell.budget, cell.ranks) for cell in study.cells] == [
        ("lora", "rank1", (1, 1, 1)),
        ("lora", "rank2", (2, 2, 2)),
    ]
    for cell in study.cells:
        results = [result_of(file.parent / run.directory) for run in cell.runs]
        assert [run.seed for run in cell.runs] == [1, 2, 3]
        assert all(result.on_holdout and result.ranks == cell.ranks for result in results)
        assert cell.mean == pytest.approx(mean(result.value for result in results))
    small, large = study.cells
    assert study.tests[0].difference == pytest.approx(large.mean - small.mean)
    printed = capsys.readouterr()
    assert study.answers[0].sentence in " ".join(printed.out.split())
    assert "gelora: job 6 of 6: budget rank2, lora, seed 3\n" in printed.err
    assert len(find_runs(bench.root)) == 2 * (1 + 3)
    shutil.rmtree(file.parent / small.runs[1].directory)  # what was lost is made again, and nothing else
    file.unlink()
    assert command_line(words) == 0
    assert replace(read_artifact(BudgetStudy, file), date=study.date) == study
    assert capsys.readouterr().out.count("done before, nothing to do") == 5

    def second_trials_fail(launcher: Launcher, jobs: Sequence[Job]) -> Iterator[Outcome]:
        for job in jobs:
            failed = Outcome(1, message="out of memory")
            yield failed if ", trial 2:" in job.label else next(iter(checked_outcomes(launcher, [job])))

    more = ["tune.trials=2" if word == "tune.trials=1" else word for word in words]
    with monkeypatch.context() as patched:
        patched.setattr(studying, "checked_outcomes", second_trials_fail)
        assert command_line(more) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert study.answers[0].sentence in said
    assert "not all were tuned alike: lora at rank1 with 1 of 2, lora at rank2 with 1 of 2." in said

    archive = tmp_path / "runs.jsonl.zst"
    pack([bench.root], archive, mix_commits=True)
    for run in find_runs(bench.root):
        shutil.rmtree(run)
    assert command_line([*words, f"archives=[{archive}]"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("1 done before") == 2 and study.answers[0].sentence in said
    assert not find_runs(bench.root)


@pytest.mark.slow
def test_killed_in_the_middle_and_two_workers_give_the_same(bench: Bench, tmp_path: Path) -> None:
    overrides = ("method=gelora,sora", "tune.trials=2", "tune.widen=0")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "gelora_cli"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    parallel = [*command, *arguments(bench, *overrides, "launch.parallel=2", root=whole)]
    assert subprocess.run(parallel, env=environment, capture_output=True, check=False).returncode == 0
    process = subprocess.Popen(
        [*command, *arguments(bench, *overrides, root=killed)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: any(map(is_done, find_runs(killed))), "finished run", process, pause=0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert sum(trial.status == "done" for method in only_study(killed).methods for trial in method.trials) < 4
    resumed = [*command, *arguments(bench, *overrides, root=killed)]
    assert subprocess.run(resumed, env=environment, capture_output=True, check=False).returncode == 0
    assert without_seconds(only_study(killed)) == without_seconds(only_study(whole))


def without_seconds(study: Study) -> Study:
    methods = []
    for method in study.methods:
        trials = tuple(replace(trial, seconds=None) for trial in method.trials)
        methods.append(replace(method, trials=trials))
    return replace(timeless(study), methods=tuple(methods))
