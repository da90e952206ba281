"""Runs that start from an earlier run's adapter: what is merged, taken over and told apart, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from gelora_cli.commands.main import command_line
from gelora_cli.config.files import read_config
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.methods.updates.merging import merge_adapter
from gelora_cli.models.block_map import is_inside
from gelora_cli.models.load import load_model
from gelora_cli.models.locate import ResolvedModel, resolve_model
from gelora_cli.pipeline.lineage import adapter_digest, find_lineage, load_start
from tests.helpers.bench import Bench, predictions, result_of
from tests.helpers.method_cases import HEAD
from tests.helpers.rivals import case, logits, tune
from tests.helpers.tiny import make_tiny

MERGED = ("gelora", "adalora", "sora", "eva", "cut", "bitfit", "full")
SHORT = ["train.max_steps=4", "budget=2500"]


def base_of(directory: Path) -> ResolvedModel:
    return resolve_model(hub=None, path=str(directory))


@pytest.mark.parametrize("method", MERGED)
def test_a_merged_model_gives_the_outputs_of_the_adapted_one(
    tiny_models: dict[str, Path], tmp_path: Path, method: str
) -> None:
    found = case(tiny_models["bert"], method, modules="all" if method == "sora" else "attention")
    attached = found.attach()
    tune(found, attached)
    wanted = logits(attached.model, found.inputs)
    attached.save(tmp_path)
    base = load_model(base_of(tiny_models["bert"]), HEAD, seed=0).model
    plain, names = logits(base, found.inputs), [name for name, _ in base.named_parameters()]
    merged = merge_adapter(base, tmp_path)
    assert float((logits(merged, found.inputs) - wanted).abs().max()) < 1e-5
    assert float((plain - wanted).abs().max()) > 1e-3
    assert type(merged) is type(base)
    assert [name for name, _ in merged.named_parameters()] == names
    assert {tensor.dtype for tensor in merged.parameters()} == {torch.float32}


@pytest.mark.parametrize("method", ["houlsby", "pfeiffer"])
def test_bottlenecks_are_not_merged(tiny_models: dict[str, Path], tmp_path: Path, method: str) -> None:
    case(tiny_models["bert"], method).attach().save(tmp_path)
    with pytest.raises(GeloraError, match="not linear"):
        merge_adapter(load_model(base_of(tiny_models["bert"]), HEAD, seed=0).model, tmp_path)


@dataclass(frozen=True)
class Chain:
    """Three runs, each from the one before."""

    bench: Bench
    first: Path
    second: Path
    third: Path


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, glue_dir: Path, tiny_models: dict[str, Path]) -> Chain:
    bench = Bench(tmp_path_factory.mktemp("chain") / "runs", glue_dir, tiny_models)
    assert bench.run("task=mnli", "train.learning_rate=0.05", *SHORT) == 0
    first = run_of(bench, "mnli")
    assert bench.run("task=cola", "method=sora", f"init_from={first}", *SHORT) == 0
    second = run_of(bench, "cola")
    assert bench.run("task=rte", f"init_from={second}", *SHORT) == 0
    return Chain(bench, first, second, run_of(bench, "rte"))


def run_of(bench: Bench, task: str) -> Path:
    """Return the only run of a task."""
    (directory,) = [path for path in bench.directories() if path.is_relative_to(bench.root / task)]
    return directory


def test_value_and_predictions_come_back(chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for directory in (chain.second, chain.third):
        assert result_of(directory).reload_check.passed
        capsys.readouterr()
        assert command_line(["evaluate", str(directory)]) == 0
        assert f"{result_of(directory).value:.4f}" in capsys.readouterr().out
        output = tmp_path / "out.jsonl"
        assert command_line(["predict", str(directory), "split=validation", f"output={output}"]) == 0
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        assert [row["prediction"] for row in rows] == [row["prediction"] for row in predictions(directory)]


def test_a_run_says_what_it_starts_from(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    bench, first, second, third = chain.bench, chain.first, chain.second, chain.third
    name = bench.models["bert"].name
    assert [result_of(path).model for path in (first, second, third)] == [name, f"{name}+mnli", f"{name}+mnli+cola"]
    assert read_artifact(IdProfile, third / IdProfile.FILE).model == f"{name}+mnli+cola"
    manifests = [read_artifact(RunManifest, path / RunManifest.FILE) for path in (first, second, third)]
    assert len({manifest.fingerprints["model"] for manifest in manifests}) == 3
    assert len(list((bench.root / ".profiles").iterdir())) == 2  # SoRA needs none
    card, peft = (third / "README.md").read_text(), json.loads((third / "adapter/adapter_config.json").read_text())
    assert f"merged with {first}, then {second}" in card
    assert "from_pretrained" not in card
    base, *merged = peft["base_model_name_or_path"].split(" + ")
    assert (third / base).resolve() == bench.models["bert"].resolve()
    assert [(third / adapter).resolve() for adapter in merged] == [first / "adapter", second / "adapter"]
    assert bench.run("task=rte", f"init_from={second}", *SHORT) == 0
    assert "done before" in capsys.readouterr().out


def test_the_backbone_is_taken_over_and_the_head_is_new(chain: Chain) -> None:
    config, base = read_config(chain.third / run_files.CONFIG), base_of(chain.bench.models["bert"])
    start, ancestors = find_lineage(base, config.init_from)
    assert [ancestor.directory for ancestor in ancestors] == [chain.first, chain.second]
    loaded, plain = load_start(start, config, ancestors), load_start(base, config, ())
    linears = [linear.name for block in loaded.map.blocks for linear in loaded.map.linears(block, "attention")]
    tensors = plain.model.state_dict()
    for name, tensor in loaded.model.state_dict().items():
        moved = is_inside(name, linears) and name.endswith("weight")
        assert torch.equal(tensor, tensors[name]) is not moved, name


def test_the_same_adapter_elsewhere_is_the_same_start(chain: Chain, tmp_path: Path) -> None:
    base, copy = base_of(chain.bench.models["bert"]), tmp_path / "copy"
    shutil.copytree(chain.first, copy)
    starts = [find_lineage(base, str(place))[0] for place in (chain.first, copy)]
    assert starts[0].fingerprint == starts[1].fingerprint != base.fingerprint
    config = copy / "adapter" / "adapter_config.json"
    digest = adapter_digest(copy)
    (copy / "adapter" / "notes.txt").write_text("put there by somebody")
    assert adapter_digest(copy) == digest
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "elsewhere"}))
    assert adapter_digest(copy) == digest
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_alpha": 1}))
    assert adapter_digest(copy) != digest


def test_what_is_refused(chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench, first, second = chain.bench, chain.first, chain.second
    assert bench.run("task=sst2", "method=pfeiffer", *SHORT) == 0

    def refused(command: list[str], *parts: str) -> None:
        capsys.readouterr()
        assert command_line(command) == 2
        message = capsys.readouterr().err
        assert all(part in message for part in parts), message

    def start(directory: Any, *overrides: str) -> list[str]:
        return bench.arguments("task=wnli", f"init_from={directory}", *overrides, *SHORT)

    refused(start(run_of(bench, "sst2")), "method=pfeiffer can't be merged", "not linear")
    refused(start(tmp_path / "nowhere"), "is not there", "a finished run directory is accepted")
    refused(start(bench.root), "no DONE in it")
    other = make_tiny("bert", tmp_path / "other", seed=1)
    refused(start(first, f"model.path={other}"), "other weights than", "a run on the same base model is accepted")
    weights = first / "adapter" / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for command in (start(first), ["evaluate", str(second)], ["predict", str(second), "split=validation"]):
        refused(command, "is damaged or was changed")
    weights.write_bytes(content)
    first.rename(first.with_name("moved"))
    refused(["evaluate", str(second)], f"init_from={first}", "is not there")
    refused(start(second), f"init_from={first}", "is not there")
    first.with_name("moved").rename(first)
    assert not (bench.root / "wnli").exists()
