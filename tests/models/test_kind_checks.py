"""Every check of `tests.helpers.kind_checks` on every declared kind, and more of them in the slow form."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gelora_cli.core import run_files
from gelora_cli.core.registries import METHODS
from gelora_cli.data.batches import padded_load
from gelora_cli.methods import load_adapter
from gelora_cli.models.operations import model_operations
from gelora_cli.models.shapes import read_shapes
from tests.helpers.bench import Bench, result_of
from tests.helpers.flops import count_operations
from tests.helpers.killed_runs import check_equal_adapters, kill_at_step
from tests.helpers.kind_checks import ADAPTER, CHECKS, TOLERANCE, KindCase, has_span_head
from tests.helpers.models import rewrite_json
from tests.helpers.rivals import case, logits, tune
from tests.helpers.squad_runs import arguments
from tests.helpers.tiny import ALL_KINDS, KINDS, make_tiny
from tests.helpers.tiny_encoders import ALBERT_GROUPS
from tests.helpers.variant_matrix import VARIANTS, check_variant, fresh

OTHER_METHODS = ("adalora", "sora", "eva", "houlsby", "pfeiffer", "bitfit", "full")
"""Methods that attach something else than LoRA, or start it elsewhere."""
OTHER_METHODS_WITHOUT_BIASES = tuple(method for method in OTHER_METHODS if method != "bitfit")
"""Those that a kind without bias terms takes."""

STANDS_FOR: dict[str, tuple[str, ...]] = {
    "gemma3_text": ("gemma", "gemma2", "ministral", "ministral3", "olmo", "olmo2", "olmo3", "qwen3", "smollm3"),
    "nomic_bert": ("gte",),
    "bert": ("camembert", "xlm-roberta"),
    "gpt2": ("starcoder2",),
}
"""A kind that is checked by default, and those that declare the modules of the same one as it does.

Those of `gemma3_text` are subclasses of Llama that declare a name alone. It has what sets them apart from Llama: norms
before and after each sublayer, norms of queries and keys, windows, and a head's width of its own.
"""
BY_ANOTHER_TEST = (*KINDS, "albert")
"""The seven that the tests of every package run over, and the one that is checked with two blocks."""
SLOW_KINDS = (*BY_ANOTHER_TEST, *chain.from_iterable(STANDS_FOR.values()))


def quick_kinds() -> Iterator[Any]:
    """Yield every kind; slow are those that another kind or another test stands for."""
    for kind in ALL_KINDS:
        yield pytest.param(kind, marks=pytest.mark.slow) if kind in SLOW_KINDS else kind


@pytest.fixture
def kind_case(tmp_path: Path, glue_dir: Path, kind: str) -> KindCase:
    (tmp_path / "work").mkdir()
    return KindCase(kind, make_tiny(kind, tmp_path / "model"), glue_dir, tmp_path / "work")


@pytest.fixture
def two_groups(tmp_path: Path, glue_dir: Path) -> KindCase:
    """Make an ALBERT of two blocks, through which five passes go."""
    (tmp_path / "work").mkdir()
    directory = make_tiny("albert", tmp_path / "model", layers=5, changes=ALBERT_GROUPS)
    return KindCase("albert", directory, glue_dir, tmp_path / "work")


def test_every_check_holds_of_blocks_that_run_several_times(two_groups: KindCase) -> None:
    check_all(two_groups)
    assert [block.passes for block in two_groups.context.model_map.blocks] == [(1, 2, 3), (4, 5)]


@pytest.mark.slow
def test_every_method_of_blocks_that_run_several_times(two_groups: KindCase, tmp_path: Path) -> None:
    for variant in VARIANTS:
        check_variant(two_groups.directory, "albert", variant, tmp_path / variant)
    for method in OTHER_METHODS:
        check_method(two_groups, method, tmp_path / method)


@pytest.mark.parametrize("kind", quick_kinds())
def test_every_check_holds(kind_case: KindCase) -> None:
    check_all(kind_case)


def check_all(kind_case: KindCase) -> None:
    failed = {}
    for name, check in CHECKS.items():
        try:
            check(kind_case)
        except AssertionError as error:
            failed[name] = str(error)[:300]
    assert failed == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_killed_run_resumes_to_the_same_bits(kind_case: KindCase, tmp_path: Path) -> None:
    words = ("task=cola", "data.max_train_examples=48", "train.epochs=2", "train.checkpoint_steps=2", *ADAPTER)
    models = {kind_case.kind: kind_case.directory}
    whole, resumed = (Bench(tmp_path / name, kind_case.glue, models) for name in ("whole", "resumed"))
    assert whole.run(*words, model=kind_case.kind) == 0
    kill_at_step(5, resumed, *words, model=kind_case.kind)
    assert resumed.run(*words, model=kind_case.kind) == 0
    assert "resumed from the checkpoint at step 4" in (resumed.only() / run_files.LOG).read_text()
    check_equal_adapters(whole.only(), resumed.only())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_variant_of_the_update(kind_case: KindCase, tmp_path: Path) -> None:
    for variant in VARIANTS:
        check_variant(kind_case.directory, kind_case.kind, variant, tmp_path / variant)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_other_method_comes_back_and_costs_what_torch_counts(kind_case: KindCase, tmp_path: Path) -> None:
    has_biases = fresh(kind_case.directory).map.bias_params > 0
    for method in OTHER_METHODS if has_biases else OTHER_METHODS_WITHOUT_BIASES:
        check_method(kind_case, method, tmp_path / method)


def check_method(kind_case: KindCase, method: str, saved: Path) -> None:
    found = case(kind_case.directory, method, kind=kind_case.kind, modules="all")
    lengths = found.inputs["attention_mask"].sum(1).numpy()
    load = padded_load(lengths, [np.arange(len(lengths))])
    shapes = read_shapes(found.loaded.model, found.loaded.map)
    attached = found.attach()
    # The data may have changed the ranks of the plan, as with EVA.
    work = METHODS.get(method).work(attached.plan, found.loaded.map, found.request.settings)
    counted = model_operations(shapes, load, work, steps=1)

    def step() -> None:
        extra = attached.extra_loss() if attached.extra_loss else 0.0
        (attached.model(**found.inputs).logits.sum() + extra).backward()

    assert counted == pytest.approx(count_operations(step), rel=TOLERANCE), method
    attached.model.zero_grad()
    tune(found, attached)
    trained = logits(attached.model, found.inputs)
    attached.save(saved)
    again = load_adapter(fresh(kind_case.directory).model, saved)
    torch.testing.assert_close(logits(again, found.inputs), trained, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_questions_are_answered_where_there_is_a_head(kind_case: KindCase, squad_dir: Path, tmp_path: Path) -> None:
    if not has_span_head(kind_case):
        pytest.skip("no head for questions")
    bench = Bench(tmp_path / "runs", kind_case.glue, {kind_case.kind: kind_case.directory})
    assert bench.run(*arguments(squad_dir, *ADAPTER), model=kind_case.kind) == 0
    assert result_of(bench.only()).reload_check.passed


@pytest.mark.parametrize(("kind", "pooling"), [("modernbert", "mean"), ("eurobert", "bos"), ("eurobert", "mean")])
def test_a_head_that_pools_otherwise_costs_what_torch_counts(kind_case: KindCase, pooling: str) -> None:
    rewrite_json(kind_case.directory / "config.json", classifier_pooling=pooling)
    CHECKS["operations"](kind_case)
