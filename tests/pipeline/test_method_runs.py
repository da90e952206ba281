"""Whole runs of every method through the command: GLUE, SQuAD, one and two processes, and from their directories."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from gelora_cli.commands.main import command_line
from gelora_cli.config.files import read_config
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.done import is_done
from gelora_cli.core.registries import METHODS
from gelora_cli.core.status import run_status
from tests.helpers.bench import Bench, answer_here, predictions, result_of
from tests.helpers.many import on_two_processes
from tests.helpers.methods_known import BOUNDED, EXEMPT, PLANNED, PROFILE_BASED, RIVALS
from tests.helpers.metric_lines import losses_of, without_times
from tests.helpers.squad_runs import arguments as squad_arguments
from tests.helpers.squad_runs import content
from tests.helpers.warm import WARM
from tests.helpers.wrong_methods import WRONG

SETTINGS = ["budget=2500", "train.epochs=2", "train.log_steps=3"]
GRID = ["task=cola", "model.dropout=0", "train.micro_batch_size=4", "train.log_steps=1", *SETTINGS[:2]]
QUESTIONS = ["model.dropout=0", "train.epochs=2", "budget=rank:2"]
FROM_GRADIENTS = [
    *("task=cola", "model.dropout=0", "method=depth", "method.variant=lora_ga"),
    *("budget=rank:2", "train.max_steps=4", "train.log_steps=1"),
]
TEXTS = [
    *("task=plural", "task.max_length=48", "task.max_new_tokens=2", "method=lora", "budget=rank:2", "model.dropout=0"),
    *("data.max_train_examples=40", "data.max_eval_examples=6", "profile.max_examples=64", "train.batch_size=16"),
    *("train.epochs=2", "train.warmup_ratio=0", "train.log_steps=1"),
]
DIVIDED_TEXTS = [*TEXTS, "train.packing=true", "train.micro_batch_size=4"]
SWEEP = f"method={','.join(RIVALS)}"


def runs(bench: Bench) -> dict[str, tuple[Path, RunResult, RankPlan]]:
    """Map each method to the directory, result and plan of its run."""
    found = {}
    for directory in bench.directories():
        plan = read_artifact(RankPlan, directory / RankPlan.FILE)
        found[plan.method] = (directory, result_of(directory), plan)
    return found


def check_run(directory: Path, result: RunResult, plan: RankPlan) -> None:
    """Assert what holds of every finished run, whatever the method."""
    assert is_done(directory)
    assert result.reload_check.passed
    assert result.adapter_params == result.train.adapter_params
    assert result.train.trainable_params == result.trained_params + result.head_params
    assert plan.trained_params == result.trained_params >= result.adapter_params
    exempt = plan.method in EXEMPT
    assert exempt is (plan.budget_params is None) is directory.name.startswith("s0-")
    assert exempt or (plan.budget_params or 0) >= result.adapter_params > 0.8 * (plan.budget_params or 0)
    assert (directory / "ranks.png").exists() is bool(plan.blocks)
    card = (directory / "README.md").read_text()
    assert f"adapter {result.adapter_params:,}" in card
    costs = result.costs
    assert costs is not None and costs.training_flops > 10**6
    assert (costs.inference_params == 0) is exempt and costs.mergeable is (not METHODS.get(plan.method).unmergeable)
    assert ("- largest rank:" in card) is (costs.largest_rank is not None)
    assert ("PeftModel" in card) is (directory / "adapter" / "adapter_config.json").exists()


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory, glue_dir: Path, tiny_models: dict[str, Path]) -> tuple[Bench, str]:
    """Run one sweep over the rivals, without dropout, and return its directories and what it printed."""
    found = Bench(tmp_path_factory.mktemp("grid") / "runs", glue_dir, tiny_models)
    done = WARM.run_gelora(*found.arguments("-m", SWEEP, *GRID))
    assert done.returncode == 0, done.stderr
    return found, done.stdout


def test_a_grid_of_rivals_runs_without_a_profile_and_ends_in_one_table(
    grid: tuple[Bench, str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, printed = grid
    found = runs(bench)
    assert set(found) == set(RIVALS)
    table = next(part for part in printed.split("\n\n") if part.strip().startswith("task "))
    rows = {line.split()[3]: line for line in table.strip().splitlines()[1:]}
    for method, (directory, result, plan) in found.items():
        check_run(directory, result, plan)
        assert f"{result.trained_params:,}" in rows[method]
    assert not (bench.root / ".profiles").exists()
    for method in ("adalora", "sora"):
        lines = without_times(found[method][0])
        course = [line["adapter_params"] for line in lines if "ranks" in line]
        assert course[-1] == found[method][1].adapter_params
        assert len(next(line["ranks"] for line in lines if "ranks" in line)) == 12
    answer_here(monkeypatch)
    assert bench.run("-m", SWEEP, *GRID) == 0
    assert capfd.readouterr().out.count("done before") == len(RIVALS)


def test_each_is_evaluated_and_predicts_from_its_directory(
    grid: tuple[Bench, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for directory, result, _ in runs(grid[0]).values():
        capsys.readouterr()
        assert command_line(["evaluate", str(directory)]) == 0
        assert f"matthews_correlation {result.value:.4f}" in capsys.readouterr().out
        output = tmp_path / "out.jsonl"
        assert command_line(["predict", str(directory), "split=validation", f"output={output}"]) == 0
        again = [json.loads(line)["prediction"] for line in output.read_text().splitlines()]
        assert again == [row["prediction"] for row in predictions(directory)]


def test_each_answers_questions(bench: Bench, squad_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_here(monkeypatch)
    monkeypatch.setattr(AcceleratorState, "_shared_state", {})  # a process has one precision otherwise
    assert bench.run("-m", *squad_arguments(squad_dir, SWEEP, "budget=2500", "precision=bf16")) == 0
    for method, (directory, result, plan) in runs(bench).items():
        check_run(directory, result, plan)
        assert result.value == result.results[0].metrics["f1"]
        assert (directory / "predictions.json").exists(), method


@dataclass(frozen=True)
class Pair:
    """What two processes of an outer launcher (torchrun) did in one group.

    Attributes:
        rivals: a run of each.
        questions: a run that answers questions.
        gradients: a run of LoRA-GA, which starts from gradients.
        texts: a run that generates texts, trained in packed micro-batches.
        printed: what was printed.
    """

    rivals: Bench
    questions: Bench
    gradients: Bench
    texts: Bench
    printed: str


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, glue_dir: Path, squad_dir: Path, tiny_models: dict[str, Path]
) -> Pair:
    root = tmp_path_factory.mktemp("pair")
    names = ("rivals", "questions", "gradients", "texts")
    rivals, questions, gradients, texts = (Bench(root / name, glue_dir, tiny_models) for name in names)
    commands = [rivals.arguments(f"method={method}", *GRID) for method in RIVALS]
    commands += [questions.arguments(*squad_arguments(squad_dir, *QUESTIONS)), gradients.arguments(*FROM_GRADIENTS)]
    commands += [texts.arguments(*DIVIDED_TEXTS, model="llama")]
    done = on_two_processes(commands)
    assert done.returncode == 0, done.stderr
    return Pair(rivals, questions, gradients, texts, done.stdout)


@pytest.mark.distributed
def test_the_first_of_the_processes_leads_each_run(pair: Pair) -> None:
    benches = (pair.rivals, pair.questions, pair.gradients, pair.texts)
    directories = [directory for bench in benches for directory in bench.directories()]
    assert pair.printed.count("results: ") == len(directories) == len(RIVALS) + 3
    for directory in directories:
        assert run_status(directory) == "done"
        assert read_config(directory / run_files.CONFIG).launch.processes == 2
        assert read_artifact(RunManifest, directory / RunManifest.FILE).processes == 2
        assert "processes 2" in (directory / "log.txt").read_text()


@pytest.mark.distributed
def test_two_processes_give_the_answers_of_one(pair: Pair, bench: Bench, squad_dir: Path) -> None:
    assert bench.run(*squad_arguments(squad_dir, *QUESTIONS)) == 0
    first, second = bench.only(), pair.questions.only()
    assert content(first, "predictions.json") == content(second, "predictions.json")
    assert result_of(first).ranks == result_of(second).ranks
    assert result_of(second).value == pytest.approx(result_of(first).value)


@pytest.mark.distributed
def test_two_processes_give_the_numbers_of_one(grid: tuple[Bench, str], pair: Pair) -> None:
    one, two = grid[0], pair.rivals
    first, second = runs(one), runs(two)
    assert set(first) == set(second) == set(RIVALS)
    for method in RIVALS:
        assert first[method][0].name == second[method][0].name
        losses = [losses_of(found[method][0]) for found in (first, second)]
        assert len(losses[0]) == len(losses[1]) == 12
        assert losses[1][:6] == pytest.approx(losses[0][:6], rel=1e-3), method
        assert first[method][2].ranks == second[method][2].ranks
        check_run(*second[method])


@pytest.mark.distributed
def test_two_processes_start_from_the_gradients_of_one(pair: Pair, bench: Bench) -> None:
    assert bench.run(*FROM_GRADIENTS) == 0
    one, two = bench.only(), pair.gradients.only()
    assert one.name == two.name
    losses = [losses_of(path) for path in (one, two)]
    assert len(losses[0]) == 4
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    first, second = (load_file(path / "adapter" / run_files.PEFT_WEIGHTS) for path in (one, two))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-3, rtol=1e-2)


@pytest.mark.distributed
def test_two_processes_train_packed_micro_batches_as_one_trains_whole_batches(pair: Pair, bench: Bench) -> None:
    assert bench.run(*TEXTS, model="llama") == 0
    one, two = bench.only(), pair.texts.only()
    # The last batch of an epoch has 8 rows, and all rows learn unequal numbers of tokens.
    losses = [losses_of(path) for path in (one, two)]
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    first, second = (load_file(path / run_files.ADAPTER / run_files.PEFT_WEIGHTS) for path in (one, two))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=1e-4)
    assert result_of(two).value == pytest.approx(result_of(one).value, abs=1e-5)
    texts = {(row["id"], row["prediction"]) for row in predictions(one)}
    assert texts == {(row["id"], row["prediction"]) for row in predictions(two)} and len(texts) == 6


@pytest.fixture(scope="module")
def auto(tmp_path_factory: pytest.TempPathFactory, glue_dir: Path, tiny_models: dict[str, Path]) -> Bench:
    """Sweep over a profiled method, a rival and one that is exempt, with budget=auto."""
    found = Bench(tmp_path_factory.mktemp("auto") / "runs", glue_dir, tiny_models)
    for method in ("gelora", "houlsby", "full"):
        assert found.run("task=cola", f"method={method}", "budget=auto", "train.max_steps=2") == 0
    return found


def test_auto_measures_a_profile_for_any_method(auto: Bench) -> None:
    found = runs(auto)
    cost = found["gelora"][2].adapter_params
    assert found["houlsby"][2].budget_params == cost >= found["houlsby"][2].adapter_params
    assert (found["houlsby"][0] / "profile.json").exists()
    assert not (found["full"][0] / "profile.json").exists()


def test_what_can_not_change_a_number_is_outside_the_identity(bench: Bench) -> None:
    assert bench.run("task=cola", "method=full", "budget=0.1M", "train.max_steps=2") == 0
    assert bench.run("task=cola", "method=full", "budget=rank:2", "train.max_steps=2", "profile.pooling=cls") == 0
    assert len(bench.directories()) == 1
    assert bench.run("task=cola", "method=sora", "budget=2500", "train.max_steps=2") == 0
    assert bench.run("task=cola", "method=sora", "budget=2500", "train.max_steps=2", "profile.seed=4") == 0
    assert len(bench.directories()) == 2
    assert bench.run("task=cola", "method=sora", "budget=2500", "train.max_steps=2", "method.threshold_total=1") == 0
    assert len(bench.directories()) == 3


def test_the_same_command_gives_the_same_run(bench: Bench) -> None:
    for method in ("adalora", "sora", "eva"):
        settings = ["task=cola", f"method={method}", *SETTINGS]
        assert bench.run(*settings) == 0
        directory = runs(bench)[method][0]
        before = without_times(directory), predictions(directory), (directory / RankPlan.FILE).read_text()
        assert bench.run(*settings, "train.log_steps=3", "force=true") == 0
        assert before == (without_times(directory), predictions(directory), (directory / RankPlan.FILE).read_text())


@pytest.mark.parametrize(("overrides", "parts"), WRONG, ids=" ".join)
def test_wrong_settings_of_a_method_are_one_message(
    bench: Bench,
    overrides: list[str],
    parts: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench.run("task=cola", "budget=2500", *overrides) == 2
    message = capsys.readouterr().err
    assert all(part in message for part in parts), message
    assert not bench.directories()


@pytest.mark.parametrize("method", BOUNDED)
def test_a_budget_that_a_method_can_not_meet(
    bench: Bench,
    method: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench.run("task=cola", f"method={method}", "budget=20") == 2
    message = capsys.readouterr().err
    assert f"method={method} needs" in message
    assert "the smallest possible is budget=" in message


def test_the_ranks_command_shows_the_plan_of_any_method(
    auto: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    profiled = runs(auto)["gelora"][0]
    monkeypatch.chdir(tmp_path)
    for method in [*PROFILE_BASED, *RIVALS, "depth"]:  # the others read signals that this run has not measured
        capsys.readouterr()
        assert command_line(["ranks", str(profiled), "budget=2500", f"method={method}"]) == 0
        shown = capsys.readouterr().out
        assert ("has no rank_pattern" in shown) is (method not in PLANNED)
        assert ("exempt from the budget" in shown) is (method in EXEMPT)


def test_a_users_preset_for_a_rival_comes_first() -> None:
    from gelora_cli.config.complete import complete
    from gelora_cli.config.schema import MethodConfig, ModelConfig, PresetConfig, RunConfig, TaskConfig

    def completed(presets: dict[str, Any], model: str = "custom") -> RunConfig:
        task = TaskConfig(name="mine", columns=["text"], labels=["a", "b"], presets=presets)
        method = MethodConfig(
            name="bitfit",
            preset="bitfit",
            presets={
                "default": {"default": PresetConfig(0.1, "ours"), "minilm": PresetConfig(0.4, "minilm")},
                "mine": {"default": PresetConfig(0.2, "task")},
            },
        )
        return complete(RunConfig(task=task, method=method, model=ModelConfig(name=model)))

    gelora = {"default": PresetConfig(0.5, "gelora", epochs=7, batch_size=8)}
    assert completed({"gelora": gelora}, "minilm").train.learning_rate == 0.4
    found = completed({"gelora": gelora})
    assert (found.train.learning_rate, found.train.epochs, found.train.batch_size) == (0.2, 7, 8)
    assert found.preset_source == "task (presets.mine.default of the method)"
    found = completed({"gelora": gelora, "bitfit": {"default": PresetConfig(0.3, "user", epochs=2)}}, "minilm")
    assert (found.train.learning_rate, found.train.epochs, found.train.batch_size) == (0.3, 2, 8)
