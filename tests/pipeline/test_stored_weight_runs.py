"""Runs with `model.dtype`: bfloat16 changes no number of a model that is published in it, four bits end to end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from gelora_cli.commands.exporting import export
from gelora_cli.commands.main import command_line
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact
from gelora_cli.pipeline.finished import reopen_run
from gelora_cli.pipeline.session import open_quiet_session
from tests.helpers.bench import Bench, predictions, result_of
from tests.helpers.killed_runs import check_equal_adapters, kill_at_step
from tests.helpers.method_cases import inputs_of
from tests.helpers.metric_lines import without_times
from tests.helpers.stored import make_published_in_bf16
from tests.helpers.tiny import make_tiny

WORDS = (
    *("task=cola", "method=depth", "budget=rank:3", "data.max_train_examples=48"),
    *("train.epochs=2", "train.checkpoint_steps=2"),
)


def test_a_model_published_in_bf16_trains_to_the_same_numbers_where_it_is_stored_so(
    tmp_path: Path, glue_dir: Path
) -> None:
    models = {"qwen3": make_published_in_bf16("qwen3", tmp_path / "model")}
    plain, stored = (Bench(tmp_path / name, glue_dir, models) for name in ("float32", "bf16"))
    assert plain.run(*WORDS, model="qwen3") == 0
    assert stored.run(*WORDS, "model.dtype=bf16", model="qwen3") == 0
    check_equal_adapters(plain.only(), stored.only())
    assert predictions(plain.only()) == predictions(stored.only())
    assert plain.only().name != stored.only().name
    assert read_artifact(RunManifest, stored.only() / RunManifest.FILE).dtype == "bf16"
    card = (stored.only() / "README.md").read_text(encoding="utf-8")
    assert "- frozen weights while it was trained: in bfloat16" in card


@pytest.mark.slow
@pytest.mark.parametrize(
    "word", ["method=adalora", "method=eva", "method=sora", "method=pfeiffer", "method.variant=dora"]
)
def test_methods_that_take_bf16_run_to_their_end(word: str, bench: Bench) -> None:
    # The model's linears have biases, and AdaLoRA adds to their outputs in place.
    assert bench.run(*WORDS[:1], "budget=rank:3", "data.max_train_examples=48", word, "model.dtype=bf16") == 0
    assert result_of(bench.only()).reload_check.passed


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Make a model of widths that are multiples of 64: with others bitsandbytes' own linears are wrong on the CPU."""
    pytest.importorskip("bitsandbytes")
    sizes = {"hidden_size": 64, "intermediate_size": 128}
    return {"qwen3": make_tiny("qwen3", tmp_path_factory.mktemp("wide"), changes=sizes)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, glue_dir: Path, models: dict[str, Path]) -> Path:
    bench = Bench(tmp_path_factory.mktemp("runs"), glue_dir, models)
    assert bench.run(*WORDS, "model.dtype=4bit", model="qwen3") == 0
    return bench.only()


@pytest.mark.extras
def test_a_killed_run_in_four_bits_resumes_to_the_same_numbers(
    run: Path, tmp_path: Path, glue_dir: Path, models: dict[str, Path]
) -> None:
    bench = Bench(tmp_path / "runs", glue_dir, models)
    kill_at_step(5, bench, *WORDS, "model.dtype=4bit", model="qwen3")
    assert bench.run(*WORDS, "model.dtype=4bit", model="qwen3") == 0
    assert "resumed from the checkpoint at step 4" in (bench.only() / "log.txt").read_text(encoding="utf-8")
    check_equal_adapters(run, bench.only())
    assert without_times(run) == without_times(bench.only())
    manifest = read_artifact(RunManifest, run / RunManifest.FILE)
    assert manifest.dtype == "4bit" and "bitsandbytes" in manifest.versions


@pytest.mark.slow
@pytest.mark.extras
@pytest.mark.parametrize("method", ["adalora", "eva", "fisher", "gora", "weights", "activations"])
def test_methods_that_take_four_bits_run_to_their_end(method: str, bench: Bench) -> None:
    pytest.importorskip("bitsandbytes")
    words = ("task=cola", "budget=rank:3", "profile.gradient_batches=10", "profile.gradient_batch_size=4")
    assert bench.run(*words, f"method={method}", "model.dtype=4bit") == 0
    assert result_of(bench.only()).reload_check.passed


@pytest.mark.extras
def test_the_run_predicts_and_is_scored_again(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command_line(["evaluate", str(run)]) == 0
    assert f"matthews_correlation {result_of(run).value:.4f}" in capsys.readouterr().out
    texts = tmp_path / "texts.txt"
    texts.write_text("The cat sat.\nA dog run.\n", encoding="utf-8")
    assert command_line(["predict", str(run), f"file={texts}", f"output={tmp_path / 'out.jsonl'}"]) == 0
    assert len((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.extras
def test_export_merges_into_unquantised_weights_and_says_how_far_they_are(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["export", str(run), f"output={tmp_path / 'merged'}"]) == 0
    assert "run:      with weights in 4bit, as the run had them, scores differ" in capsys.readouterr().out
    exported = export(run, tmp_path / "again")
    assert exported.storage is not None and exported.difference <= exported.tolerance
    # The rounding of the base is what is seen, and not an error of the merge.
    assert 100 * exported.tolerance < exported.storage.largest < exported.storage.score
    card = (tmp_path / "again" / "README.md").read_text(encoding="utf-8")
    assert exported.storage.in_words() in card and "BitsAndBytesConfig" not in card


@pytest.mark.extras
def test_plain_peft_loads_the_adapter_on_four_bits_as_the_card_says(
    run: Path, tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command_line(["export", str(run), f"output={tmp_path / 'adapter'}", "form=adapter"]) == 0
    card = (tmp_path / "adapter" / "README.md").read_text(encoding="utf-8")
    code, *_ = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path / "adapter")
    inputs = inputs_of(models["qwen3"], "qwen3")
    session = open_quiet_session(reopen_run(run))
    ours: Any = session.with_adapter(session.loaded, run)
    scores = {}
    for name, lines in (("as trained", code), ("unquantised", code.replace(", quantization_config=four_bits", ""))):
        names: dict[str, Any] = {}
        exec(lines, names)  # what a reader of the card would run
        model = names["model"].eval()
        for module in model.modules():  # bitsandbytes packs weights anew at the first evaluation on some CPUs
            if type(module).__name__ == "Linear4bit" and "bitsandbytes" in type(module).__module__:
                module.support_avx512bf16_for_cpu = False
        tokens = model.get_input_embeddings().weight
        tokens.data = tokens.data.bfloat16().float()  # the run rounds token embeddings, too
        with torch.no_grad():
            scores[name] = model(**inputs).logits
    with torch.no_grad():
        expected = ours(**inputs).logits
    assert torch.allclose(scores["as trained"], expected, atol=1e-5)
    assert float((scores["unquantised"] - expected).abs().max()) > 1e-2


@pytest.mark.extras
def test_a_run_that_starts_from_one_in_four_bits_says_how_far_that_was(
    run: Path, tmp_path: Path, glue_dir: Path, models: dict[str, Path]
) -> None:
    bench = Bench(tmp_path / "runs", glue_dir, models)
    assert bench.run(*WORDS, f"init_from={run}", model="qwen3") == 0
    directory = bench.only()
    (difference,) = result_of(directory).start_differences.values()
    assert 0.01 < difference < 1
    shown = f"differ from its own by {difference:.2g} of their size"
    assert shown in (directory / "README.md").read_text(encoding="utf-8")
    assert "trained on weights with model.dtype=4bit" in (directory / "log.txt").read_text(encoding="utf-8")
