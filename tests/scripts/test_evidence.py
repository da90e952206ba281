"""The comparison of allocators: its plan composes, what is done is known, settings are carried, commands stop."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gelora_cli.config.checks import value_problems
from gelora_cli.config.tuned import FOLDER, TunedPreset
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.locks import lock_directory
from gelora_cli.core.registries import METHODS
from scripts.evidence.__main__ import Request, commands, evidence, main, progress_text, read_progress
from scripts.evidence.plan import PLAN, ROOT, UNSET, Job, Scale, load_scale
from scripts.evidence.presets import carry, committed_presets, preset_key, take_presets
from scripts.evidence.progress import is_run_of, progress
from scripts.evidence.rates import tried_factors
from scripts.evidence.running import Runner, check_places, open_tree
from scripts.reproduce.sweeps import composed, composing
from tests.helpers.comparison_runs import made_preset, write_study
from tests.helpers.report_runs import write_whole
from tests.helpers.waiting import wait_for_file

CPU = load_scale("cpu")


def eight_presets() -> dict[tuple[str, str, str], TunedPreset]:
    tasks, methods = CPU.stages[1].tasks, CPU.stages[1].methods
    return {preset_key(made_preset(task, method)): made_preset(task, method) for task in tasks for method in methods}


def config_of(job: Job, **changes: Any) -> dict[str, Any]:
    """Return the configuration of a finished run of a job, as its `config.yaml` holds it."""
    config: dict[str, Any] = {
        "task": {"name": job.task},
        "model": {"name": "minilm"},
        "method": {"name": job.method, "variant": job.variant, "modules": "attention"},
        "data": {"holdout": None, "max_train_examples": job.values.get("data.max_train_examples")},
        "train": {
            "epochs": job.values["train.epochs"],
            "batch_size": job.values.get("train.batch_size"),
            "learning_rate": 1e-3,
        },
        "budget": job.values["budget"],
        "protocol": "last",
        "precision": "bf16",
        "seed": job.values["seed"],
        "preset_trials": 12,
    }
    return config | changes


@pytest.fixture
def scale(tmp_path: Path) -> Scale:
    """Return the plan's scale with a folder of settings and an archive of its own."""
    places = {"presets": str(tmp_path / "presets"), "archive": str(tmp_path / "archive")}
    return replace(CPU, values=CPU.values | places)


def representatives(scale: Scale) -> Iterator[dict[str, Any]]:
    """Yield jobs in which every value of every key but task, method and seed stands once."""
    seen: set[tuple[str, str]] = set()
    for stage in scale.stages:
        for job in scale.jobs(stage):
            pairs = {(key, str(value)) for key, value in job.values.items() if key not in ("task", "method", "seed")}
            if pairs - seen:
                seen |= pairs
                yield job.values


@pytest.mark.parametrize(("name", "jobs"), [("cpu", 9), ("paper", 3)])
def test_every_stage_is_whole_configurations(name: str, jobs: int) -> None:
    scale = load_scale(name)
    composed_jobs = list(representatives(scale))
    assert len(composed_jobs) == jobs
    with composing():
        for values in composed_jobs:
            assert not value_problems(composed(values)), values
    for stage in scale.stages:
        assert set(stage.tasks) <= set(scale.values["examples_per_second"])
        assert all(method in METHODS for method in stage.methods)


def test_every_contrast_is_of_rows_of_the_plan() -> None:
    questions = yaml.safe_load((PLAN.parent / "questions.yaml").read_text(encoding="utf-8"))["questions"]
    names = set()
    for stage in CPU.stages:
        for job in CPU.jobs(stage):
            plain = job.variant == UNSET["method.variant"]
            names.add(job.method if plain else f"{job.method} (method.variant={job.variant})")
    for question in questions:
        for first, second in question["contrasts"]:
            assert {first, second} <= names, question["id"]


def test_a_round_is_one_seed_over_all_tasks_and_methods() -> None:
    for stage in CPU.stages:
        jobs = CPU.jobs(stage)
        a_round = len(stage.tasks) * len(stage.methods) * len(stage.combinations())
        seeds = [job.values["seed"] for job in jobs]
        assert seeds == [seed for seed in stage.seeds for _ in range(a_round)]
    eight = CPU.stages[1]
    assert sum(CPU.hours(job.task, job.method, job.values) for job in CPU.jobs(eight)) == pytest.approx(11.7, abs=0.1)


def test_what_is_done_has_the_tuned_settings_and_no_held_out_rows() -> None:
    presets = eight_presets()
    jobs = CPU.jobs(CPU.stages[1])
    first_round = [config_of(job) for job in jobs if job.values["seed"] == 0]
    states = {state.stage.id: state for state in progress(CPU, first_round, presets)}
    assert states["eight"].done == 32
    assert states["eight"].whole_rounds == [0]
    assert states["tune"].open_studies == ()
    assert states["budget"].done == states["more"].done == 0
    job = jobs[0]
    others = (
        config_of(job, data={"holdout": 0.1, "max_train_examples": 4000}),
        config_of(job, data={"holdout": None, "max_train_examples": None}),
        config_of(job, train={"epochs": 3, "learning_rate": 2e-3}),
        config_of(job, method={"name": job.method, "variant": "dora", "modules": "attention"}),
        config_of(job, preset_trials=4),
        config_of(job, precision="float32"),
    )
    assert is_run_of(job, config_of(job), presets, 12)
    assert not any(is_run_of(job, other, presets, 12) for other in others)


def test_the_rest_of_a_round_names_the_methods_that_are_left(scale: Scale, tmp_path: Path) -> None:
    request = Request(scale=scale, place=tmp_path, archive=scale.archive, glue=tmp_path / "data", parallel=2)
    jobs = scale.jobs(scale.stages[1])
    state = progress(scale, [config_of(job) for job in jobs[:5]], eight_presets())[1]
    first, *others = commands(request, state)
    assert first[:2] == ["run", "-m"]
    assert f"method={','.join(job.method for job in jobs[5:8])}" in first
    assert {f"data.glue={tmp_path}/glue", "task=sst2", "seed=0", "launch.parallel=2"} <= set(first)
    assert len(others) == 19
    assert "eight               5    155" in progress_text(request, [state])


def test_settings_are_carried_with_the_factor_of_the_rate(scale: Scale, tmp_path: Path) -> None:
    study = write_study(tmp_path / "a", made_preset("sst2", "lora"), made_preset("mrpc", "lora", best=0.7))
    scale.values["carried_rate"] = {"default": 0.25, "sora": 1}
    take_presets(scale, [study])
    take_presets(scale, [write_study(tmp_path / "b", made_preset("sst2", "sora"))])
    there = committed_presets(scale)
    for task in ("cola", "mrpc", "stsb", "rte"):
        assert there[task, "lora", "lora"].best == 0.9
        assert there[task, "lora", "lora"].settings["train.learning_rate"] == 0.00025
        assert there[task, "sora", "lora"].settings["train.learning_rate"] == 1e-3
    assert there["sst2", "lora", "lora"].settings["train.learning_rate"] == 1e-3
    take_presets(scale, [write_study(tmp_path / "c", made_preset("sst2", "lora", best=0.8))])
    assert {committed_presets(scale)[task, "lora", "lora"].best for task in ("sst2", "rte")} == {0.8}
    text = (scale.presets / FOLDER / "rte-minilm-0.15M-lora.yaml").read_text()
    assert "found by gelora tune on task=sst2, with 0.25 times its learning rate" in text
    assert "/home" not in text


def test_a_study_of_its_own_goes_before_where_the_plan_carries_nothing(scale: Scale, tmp_path: Path) -> None:
    scale.values["carried"] = {"rte": "sst2"}
    study = write_study(tmp_path / "a", made_preset("sst2", "lora"), made_preset("mrpc", "lora", best=0.7))
    take_presets(scale, [study])
    there = committed_presets(scale)
    assert there["mrpc", "lora", "lora"].best == 0.7
    assert ("cola", "lora", "lora") not in there


def test_committed_settings_are_what_the_plan_carries(tmp_path: Path) -> None:
    own = replace(CPU, values=CPU.values | {"presets": str(tmp_path / "presets")})
    shutil.copytree(CPU.presets, own.presets)
    carry(own)
    files = sorted(path.relative_to(CPU.presets) for path in CPU.presets.rglob("*.yaml"))
    assert files == sorted(path.relative_to(own.presets) for path in own.presets.rglob("*.yaml"))
    for file in files:
        assert (own.presets / file).read_text() == (CPU.presets / file).read_text(), file


def test_the_factor_of_a_rate_is_the_one_with_the_highest_mean_and_lies_inside() -> None:
    tasks, factors = tried_factors(CPU)
    assert tasks == ["mrpc", "stsb"]
    assert {entry.method for entry in factors} == {"lora", "adalora", "sora"}
    for method in ("lora", "adalora", "sora"):
        means = {entry.factor: entry.mean for entry in factors if entry.method == method and entry.mean is not None}
        assert len(means) == 3
        best = max(means, key=means.__getitem__)
        assert best == sorted(means)[1] == CPU.rate_factor(method)
        assert {entry.factor for entry in factors if entry.method == method and entry.is_taken} == {best}


def test_forms_of_the_update_have_settings_of_their_own(scale: Scale, tmp_path: Path) -> None:
    dora = made_preset("sst2", "lora", when={"method.variant": "dora"}, best=0.5)
    files = take_presets(scale, [write_study(tmp_path / "a", made_preset("sst2", "lora"), dora)])
    assert len(files) == len(set(files)) == 10
    assert committed_presets(scale)["cola", "lora", "dora"].best == 0.5


def test_studies_with_fewer_trials_are_refused(scale: Scale, tmp_path: Path) -> None:
    study = write_study(tmp_path / "a", made_preset("sst2", "lora", trials=7))
    with pytest.raises(GeloraError, match="fewer than 12 trials: sst2 lora: 7"):
        take_presets(scale, [study])
    with pytest.raises(GeloraError, match="no presets in it"):
        take_presets(scale, [tmp_path])


def write_fake_gelora(tree: Path, body: str) -> None:
    (tree / "gelora_cli").mkdir(parents=True)
    (tree / "gelora_cli" / "__init__.py").write_text("")
    (tree / "gelora_cli" / "__main__.py").write_text(body)


def runner(tmp_path: Path, **changes: Any) -> Runner:
    values = {"find_problem": str} | changes
    return Runner(tmp_path / "tree", tmp_path, tmp_path / "runs", tmp_path / "archive", **values)


def test_commands_run_with_the_code_of_the_worktree(tmp_path: Path) -> None:
    write_fake_gelora(tmp_path / "tree", "import sys\nopen('words', 'w').write(' '.join(sys.argv[1:]))\nsys.exit(1)")
    one = runner(tmp_path)
    assert one.run(["run", "-m", "task=cola"]) == 1
    assert (tmp_path / "words").read_text() == "run -m task=cola"
    assert (one.code, one.is_over) == (1, False)


def test_what_can_be_no_round_is_not_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_whole(tmp_path / "runs", "lora", 0, 30)
    refusing = runner(tmp_path, find_problem=lambda: "these rounds differ")
    refusing.pack()
    assert refusing.code == 2 and not refusing.archive.exists()
    assert "nothing is packed: these rounds differ" in capsys.readouterr().err


def test_the_deadline_stops_the_command_at_work(tmp_path: Path) -> None:
    body = "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(130))\nopen('begun', 'w')\ntime.sleep(60)"
    write_fake_gelora(tmp_path / "tree", body)
    one = runner(tmp_path, deadline=time.monotonic() + 0.7)
    assert one.run(["run"]) in (130, -15)
    assert one.is_over
    assert (one.code, one.stopped) == (0, False)  # no failure: `make` says nothing of an error


def test_a_killed_comparison_leaves_no_command_behind(tmp_path: Path) -> None:
    body = """import os, signal, time
def stop(*_):
    open('stopped', 'w').close()
    os._exit(130)
signal.signal(signal.SIGTERM, stop)
open('begun', 'w').close()
time.sleep(30)
open('went on', 'w').close()
"""
    write_fake_gelora(tmp_path / "tree", body)
    script = f"""from pathlib import Path
from scripts.evidence.running import Runner
place = Path({str(tmp_path)!r})
Runner(place / "tree", place, place / "runs", place / "archive", str).run(["run"])
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    wait_for_file(tmp_path / "begun")
    process.kill()
    process.wait()
    wait_for_file(tmp_path / "stopped")  # as the deadline stops it, so that a run leaves a checkpoint


def test_a_worktree_of_another_commit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeloraError, match="lacks the plan's commit: git fetch origin 0000"):
        open_tree(tmp_path / "none", "0" * 40)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "another"], check=True)
    with pytest.raises(GeloraError, match="not at the plan's commit"):
        open_tree(tmp_path, CPU.commit)
    (tmp_path / "tree").mkdir()  # in that repository, which must not be told to check out the plan's commit
    with pytest.raises(GeloraError, match="tree is no worktree, and runs need one there: move it elsewhere"):
        open_tree(tmp_path / "tree", CPU.commit)


def test_rounds_without_tuned_settings_are_refused(
    scale: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = Request(scale=scale, place=tmp_path / "place", archive=scale.archive)
    assert evidence(request, ["eight"], dry=True) == 0
    assert "eight (and 19 more):\n  gelora run -m" in capsys.readouterr().out
    monkeypatch.setattr("scripts.evidence.__main__.open_tree", lambda place, commit: place)
    handler = signal.getsignal(signal.SIGINT)
    packed: list[Path] = []
    monkeypatch.setattr(Runner, "pack", lambda runner: packed.append(runner.archive))
    with pytest.raises(GeloraError, match="lacks settings of 12 trials for sst2 adalora"):
        evidence(request, ["eight"], dry=False)
    assert packed == [scale.archive]  # what earlier stages have finished
    assert signal.getsignal(signal.SIGINT) is handler
    assert read_progress(request)[1].done == 0


def test_what_is_no_link_is_not_replaced(scale: Scale, tmp_path: Path) -> None:
    (tmp_path / "presets").mkdir()
    request = Request(scale=scale, place=tmp_path, archive=scale.archive)
    with pytest.raises(GeloraError, match="presets is no link"):
        evidence(request, ["eight"], dry=False)


def test_places_that_would_fail_at_the_end_are_refused_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GeloraError, match=r"no GLUE at .*none: name its directory by --glue"):
        check_places(tmp_path / "runs", tmp_path / "a.zst", tmp_path / "none")
    with pytest.raises(GeloraError, match="is no file: name the archive's by --archive"):
        check_places(tmp_path / "runs", tmp_path, None)
    with pytest.raises(GeloraError, match=r"file can't be written to: .* another with RUNS=DIR"):
        check_places(tmp_path / "file", tmp_path / "a.zst", None)
    assert not (tmp_path / "runs").exists()


def test_two_commands_on_one_directory_are_refused(scale: Scale, tmp_path: Path) -> None:
    request = Request(scale=scale, place=tmp_path, archive=scale.archive)
    with lock_directory(tmp_path, "here"), pytest.raises(GeloraError, match=r"comparison .* is in use by"):
        evidence(request, ["eight"], dry=False)


@pytest.mark.parametrize("option", ["--minutes=nan", "--minutes=0", "--parallel=0", "--parallel=-3"])
def test_a_number_that_no_run_has_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cpu", option, "--dry"])
    assert "given, a number above 0 expected" in capsys.readouterr().err


def test_what_is_not_there_is_not_to_be_committed(
    scale: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.evidence.__main__.open_tree", lambda tree, commit: tree)
    monkeypatch.setattr(Runner, "pack", lambda runner: None)
    request = Request(scale=scale, place=tmp_path, archive=tmp_path / "runs.jsonl.zst")
    assert evidence(request, [], dry=False) == 0
    said = capsys.readouterr().out
    assert "nothing is packed" in said and "git add" not in said
