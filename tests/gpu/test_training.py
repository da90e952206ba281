"""On the GPU: resuming is exact, bf16 and float32 are what they say, and memory is counted and runs out in words."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.distributed import make_accelerator
from gelora_cli.training.loop import Trainer
from tests.helpers.bench import Bench
from tests.helpers.gpu import SHORT, STOPPED_AT, finish, on_cpu, saved_adapter, stop_at
from tests.helpers.metric_lines import losses_of, without_times

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("bert", ["method=gelora"]),
        ("bert", ["method=sora"]),
        ("bert", ["method=adalora"]),
        ("bert", ["method=gelora", "method.variant=dora"]),
        ("bert", ["method=gelora", "precision=bf16"]),
        ("roberta", ["method=cut"]),
        ("llama", ["method=gelora"]),
    ],
)
def test_a_killed_run_ends_bitwise_as_if_it_never_stopped(
    tmp_path: Path,
    glue_dir: Path,
    tiny_models: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    words: list[str],
) -> None:
    whole, killed = (Bench(tmp_path / name, glue_dir, tiny_models) for name in ("whole", "killed"))
    assert whole.run(*SHORT, *words, model=kind) == 0  # with dropout, whose state the checkpoint holds
    stop_at(monkeypatch, killed, STOPPED_AT, *SHORT, *words, model=kind)
    assert killed.run(*SHORT, *words, model=kind) == 0
    expected, resumed = saved_adapter(whole), saved_adapter(killed)
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    assert without_times(whole.only()) == without_times(killed.only())
    assert "resumed from the checkpoint at step 6" in (killed.only() / "log.txt").read_text()


def test_a_checkpoint_of_the_gpu_is_not_resumed_on_the_cpu(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*SHORT, "method=lora"]
    stop_at(monkeypatch, bench, STOPPED_AT, *words, model="bert")
    process = on_cpu([bench.arguments(*words)])
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "was interrupted at step 6 on another kind of device (cuda, " in text


def test_bf16_is_near_float32_and_float32_is_no_tf32(
    tmp_path: Path, glue_dir: Path, tiny_models: dict[str, Path]
) -> None:
    losses: dict[str, list[float]] = {}
    for name, precision in (("float32", "float32"), ("bf16", "bf16"), ("auto", "auto")):
        AcceleratorState._reset_state(True)
        bench = Bench(tmp_path / name, glue_dir, tiny_models)
        assert bench.run("task=cola", "model.dropout=0", "train.log_steps=1", f"precision={precision}") == 0
        losses[name] = losses_of(bench.only())
    assert losses["bf16"] != losses["float32"] and losses["bf16"] == pytest.approx(losses["float32"], rel=0.03)
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    assert losses["auto"] == losses["bf16" if has_bf16 else "float32"]
    for precision in ("bf16", "float32"):
        AcceleratorState._reset_state(True)
        device = make_accelerator(precision).device
        a = torch.from_numpy(np.random.default_rng(0).standard_normal((512, 512), np.float32)).to(device)
        exact = a.double() @ a.double().T
        assert float(((a @ a.T).double() - exact).abs().max() / exact.abs().max()) < 1e-6  # TF32: about 1e-3


def test_the_peak_is_that_of_the_run_alone(tmp_path: Path, glue_dir: Path, tiny_models: dict[str, Path]) -> None:
    peaks = []
    for name, size in (("large", 64), ("small", 2)):
        bench = Bench(tmp_path / name, glue_dir, tiny_models)
        words = [f"train.batch_size={size}", f"train.eval_batch_size={size}", "train.max_steps=2", "method=lora"]
        assert bench.run("task=cola", *words) == 0
        peaks.append(read_artifact(RunManifest, bench.only() / RunManifest.FILE).peak_bytes or 0)
    assert torch.cuda.get_device_properties(0).total_memory > peaks[0] > peaks[1] > 0


def test_a_gpu_without_memory_ends_the_run_with_what_to_lower(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def train_step(trainer: Trainer, *_: Any) -> None:
        torch.empty(2**50, dtype=torch.uint8, device=trainer.accelerator.device)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", train_step)
        assert bench.run("task=cola", "method=lora") == 1
    said = capfd.readouterr().err
    assert "out of memory: CUDA out of memory" in said and "Lower train.micro_batch_size" in said
    assert bench.run("task=cola", "method=lora") == 0  # the process and the directory are still good


def test_a_run_of_the_gpu_predicts_on_the_cpu_and_is_exported(bench: Bench, tmp_path: Path) -> None:
    assert bench.run("task=stsb", "method=adalora", "budget=2500") == 0
    run, texts = bench.only(), tmp_path / "pairs.csv"
    texts.write_text("sentence1,sentence2\nthe cat sat,a dog ran\nshe said that,he has never\n")
    commands = [["predict", str(run), f"file={texts}", f"output={tmp_path / name}.csv"] for name in ("gpu", "cpu")]
    process = on_cpu(commands[1:])
    from gelora_cli.commands.main import command_line

    assert command_line(commands[0]) == 0
    assert command_line(["export", str(run), f"output={tmp_path / 'merged'}"]) == 0
    finish(process)
    gpu, cpu = (read_predictions(tmp_path / f"{name}.csv") for name in ("gpu", "cpu"))
    assert len(gpu) == 2 and gpu == pytest.approx(cpu, abs=1e-4)
    assert (tmp_path / "merged" / "model.safetensors").exists()


def read_predictions(file: Path) -> list[float]:
    with file.open(encoding="utf-8") as stream:
        return [float(row["prediction"]) for row in csv.DictReader(stream)]
