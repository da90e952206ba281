"""Every method, allocator, variant and signal on text generation: a run ends, and its adapter gives the scores back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gelora_cli.core import run_files
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.registries import METHODS
from gelora_cli.pipeline.lineage import Ancestor, load_start
from gelora_cli.pipeline.run_config import open_config
from tests.helpers.bench import Bench, result_of
from tests.helpers.models import from_directory
from tests.helpers.tiny import DECODERS, make_tiny
from tests.helpers.tiny_decoders import MORE_DECODERS
from tests.helpers.variant_matrix import VARIANTS

TINY = (
    *("task=plural", "task.max_length=48", "task.max_new_tokens=4", "profile.max_examples=40", "train.max_steps=2"),
    *("data.max_train_examples=32", "data.max_eval_examples=8", "train.batch_size=8", "ranks.on_deficit=shrink"),
    *("profile.gradient_batches=10", "profile.gradient_batch_size=4", "budget=rank:2"),
    "train.warmup_ratio=0",  # `cut` cuts after the first step, which must have moved something
)
UNTIED, TIED, WITH_BIASES = "llama", "qwen3", "gpt2"
QUICK = ("gora", "lora_ga")
"""What the quick tests run: a signal of gradients, and an update that begins with them."""
EXEMPT = ("full", "bitfit")


def words_of() -> Iterator[Any]:
    """Yield what each run says beside the rest, the slow ones marked."""
    for method in METHODS.names():
        if method != "file":  # ranks of a file need no task
            yield pytest.param(f"method={method}", marks=() if method in QUICK else pytest.mark.slow, id=method)
    for variant in VARIANTS[1:]:
        words = f"method=gelora method.variant={variant}"
        yield pytest.param(words, marks=() if variant in QUICK else pytest.mark.slow, id=variant)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Make a bench of decoders; its runs share their profiles and signals."""
    root = tmp_path_factory.mktemp("methods")
    models = {kind: make_tiny(kind, root / kind) for kind in (UNTIED, TIED, WITH_BIASES)}
    return Bench(root / "runs", root, models)


def run(bench: Bench, kind: str, words: str, *more: str) -> Path:
    """Run the command, and return its directory."""
    given = words.split()
    exempt = any(f"method={name}" in given for name in EXEMPT)
    rest = [word for word in TINY if not (exempt and word.startswith("budget="))]
    before = set(bench.directories())
    assert bench.run(*rest, *given, *more, model=kind) == 0
    (directory,) = set(bench.directories()) - before
    return directory


@pytest.mark.parametrize("words", words_of())
def test_a_run_ends_and_its_adapter_gives_the_scores_back(bench: Bench, words: str) -> None:
    directory = run(bench, WITH_BIASES if "bitfit" in words else UNTIED, words)
    result, plan = result_of(directory), read_artifact(RankPlan, directory / RankPlan.FILE)
    assert result.reload_check.passed and result.reload_check.adapter_effect > 0
    assert plan.head_params == 0
    saved = load_file(next((directory / run_files.ADAPTER).glob("*.safetensors")))
    assert any("lm_head" in name for name in saved) == ("full" in words)


@pytest.mark.slow
@pytest.mark.parametrize("words", words_of())
def test_a_head_that_is_the_embeddings(bench: Bench, words: str) -> None:
    kind = WITH_BIASES if "bitfit" in words else TIED
    directory = run(bench, kind, words, "seed=1")
    assert result_of(directory).reload_check.passed
    saved = load_file(next((directory / run_files.ADAPTER).glob("*.safetensors")))
    assert not any("lm_head" in name for name in saved)  # of `full` as embeddings


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*DECODERS, *MORE_DECODERS])
def test_every_decoder_is_measured_and_learns_to_write(kind: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "runs", tmp_path, {kind: make_tiny(kind, tmp_path / kind)})
    for method in ("gelora", "fisher"):
        check = result_of(run(bench, kind, f"method={method}")).reload_check
        assert check.passed and check.largest_difference <= check.tolerance < check.adapter_effect


@pytest.mark.parametrize("pooling", ["last", pytest.param("tokens", marks=pytest.mark.slow)])
def test_the_profile_reads_prompt_and_completion(bench: Bench, pooling: str) -> None:
    directory = run(bench, UNTIED, "method=gelora", f"profile.pooling={pooling}", "seed=2", "train.max_steps=1")
    profile = read_artifact(IdProfile, directory / IdProfile.FILE)
    assert profile.settings.pooling == pooling and len(profile.layers) == 4
    assert all(layer.idim > 0 for layer in profile.layers[1:])


def test_a_run_goes_on_from_the_head_that_an_earlier_one_trained(bench: Bench) -> None:
    earlier = run(bench, UNTIED, "method=full", "seed=3")
    assert result_of(earlier).reload_check.passed
    trained = load_file(next((earlier / run_files.ADAPTER).glob("*.safetensors")))
    resolved = from_directory(bench.models[UNTIED])
    config = open_config(earlier)
    start = load_start(resolved, config, [Ancestor(earlier, config)]).model
    assert torch.equal(start.get_parameter("lm_head.weight"), trained["lm_head.weight"])
    assert torch.equal(start.get_parameter("model.norm.weight"), trained["model.norm.weight"])
    base = load_start(resolved, config, ()).model
    assert not torch.equal(base.get_parameter("lm_head.weight"), trained["lm_head.weight"])
