"""Runs of variants through the command: what is said of them, what resumes, and what others load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from gelora_cli.commands.main import command_line
from gelora_cli.config.files import config_of
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.done import is_done
from gelora_cli.core.run_reader import RunDirectory, artifact_of
from gelora_cli.methods import load_adapter
from gelora_cli.report.settings import run_settings
from tests.helpers.bench import Bench, result_of
from tests.helpers.killed_runs import check_equal_adapters, kill_at_step
from tests.helpers.method_cases import inputs_of
from tests.helpers.tiny import KINDS
from tests.helpers.variant_matrix import VARIANTS, fresh, logits

METHODS = ("gelora", "lora", "fisher")
SHORT = (
    "task=cola",
    "train.epochs=2",
    "data.max_train_examples=48",
    *("budget=rank:5", "ranks.rule=growth", "profile.pooling=last"),  # ranks that differ per block
    "train.checkpoint_steps=2",
    "model.dropout=0",
)
KILLED_AT = 5
"""The step at which a run is killed: it has a checkpoint of step 4 then."""
LOADING = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification as Auto
base, pad_token_id, inputs, runs = sys.argv[1:5]
inputs = {name: torch.tensor(values) for name, values in json.loads(inputs).items()}
scores = {}
for name in json.loads(runs):
    torch.manual_seed(1)
    loaded = Auto.from_pretrained(base, num_labels=2, pad_token_id=int(pad_token_id))
    adapted = PeftModel.from_pretrained(loaded, name + "/adapter")
    merged = Auto.from_pretrained(name + "/merged")
    assert not any("peft" in type(module).__module__ for module in merged.modules())
    with torch.no_grad():
        scores[name] = [model.eval()(**inputs).logits.tolist() for model in (adapted, merged)]
print(json.dumps(scores))
"""
"""What another program does with an export: PEFT loads its adapter, transformers alone the merged model.

The padding token is in the adapter's card: the weights of a decoder may name none.
"""


def test_a_run_says_its_variant_and_its_plan_refuses_another(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AcceleratorState, "_shared_state", {})  # a process has one precision otherwise
    words = ("task=cola", "data.max_train_examples=32", "budget=rank:5")
    assert bench.run(*words, "method.variant=dora", "precision=bf16") == 0
    directory = bench.only()
    plan, result = read_artifact(RankPlan, directory / RankPlan.FILE), result_of(directory)
    assert result.reload_check.passed  # in bf16, where PEFT alone would round the norms
    assert result.adapter_params == plan.adapter_params <= (plan.budget_params or 0)
    assert f"- fixed parameters: {plan.fixed_params:,} of the" in (directory / "README.md").read_text()
    files = RunDirectory(directory)
    settings = run_settings(config_of(files), artifact_of(RunManifest, files), files)
    assert ("method.variant", "dora") in settings
    capsys.readouterr()
    assert bench.run("task=cola", f"ranks.path={directory}", "method.variant=rslora", "dry_run=true") == 2
    refused = capsys.readouterr().err
    assert "method.variant=dora" in refused and "beside it method.variant=rslora would change nothing" in refused


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_variant_with_every_allocator(
    glue_dir: Path, tiny_models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    """Train, kill and resume, export, and load in another process; with `-s` it prints the table."""
    exports, ours = [], {}
    inputs = inputs_of(tiny_models[kind], kind)
    for method in METHODS:
        for variant in VARIANTS:
            name = f"{method}-{variant}"
            words = (*SHORT, "profile.track=true", f"method={method}", f"method.variant={variant}")
            # Directories of their own: runs with equal ranks would be linked instead of trained.
            whole = Bench(tmp_path / "whole" / name, glue_dir, tiny_models)
            resumed = Bench(tmp_path / "resumed" / name, glue_dir, tiny_models)
            assert whole.run(*words, model=kind) == 0
            kill_at_step(KILLED_AT, resumed, *words, model=kind)
            assert resumed.run(*words, model=kind) == 0
            directory, other = directory_of(whole, method), directory_of(resumed, method)
            assert is_done(directory)
            assert "resumed from the checkpoint at step 4" in (other / run_files.LOG).read_text()
            check_equal_adapters(directory, other)
            for form in ("adapter", "merged"):
                output = tmp_path / name / form
                assert command_line(["export", str(directory), f"form={form}", f"output={output}"]) == 0
            exports.append(str(tmp_path / name))
            ours[str(tmp_path / name)] = logits(
                load_adapter(fresh(tiny_models[kind]).model, directory / "adapter"), inputs
            )
            print_row(kind, method, variant, directory)
    listed = json.dumps({key: tensor.tolist() for key, tensor in inputs.items()})
    padding = str(fresh(tiny_models[kind]).model.config.pad_token_id)
    command = [sys.executable, "-c", LOADING, str(tiny_models[kind]), padding, listed, json.dumps(exports)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    for export, both in json.loads(done.stdout.splitlines()[-1]).items():
        for scores in both:
            assert torch.allclose(torch.tensor(scores), ours[export], atol=1e-4, rtol=1e-4), export


def directory_of(bench: Bench, method: str) -> Path:
    (directory,) = (path for path in bench.directories() if path.parent.name == method)
    return directory


def print_row(kind: str, method: str, variant: str, directory: Path) -> None:
    plan, check = read_artifact(RankPlan, directory / RankPlan.FILE), result_of(directory).reload_check
    params = f"{plan.adapter_params} of {plan.budget_params}"
    print(f"{kind:<12}{method:<8}{variant:<8}{' '.join(map(str, plan.ranks)):<10}{params:<18}{check.in_words()}")
