"""The signal gradients: its formulas, its batches, several processes, resuming, and the model that it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gelora_cli.config.identity import identity_values
from gelora_cli.config.schema import ProfileConfig, RunConfig, TaskConfig
from gelora_cli.core.artifacts.signals import GradientSignal
from gelora_cli.core.distributed import Device
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import SIGNALS
from gelora_cli.geometry.states import StateStore
from gelora_cli.models.block_map import block_modules
from gelora_cli.models.recompute import recomputing
from gelora_cli.signals import gradient_pass
from gelora_cli.signals.base import SignalContext
from gelora_cli.signals.gradients import Gradients, draw_batches
from tests.helpers.composed import composed
from tests.helpers.gradient_contexts import batch_gradients, direct_numbers, labelled_context
from tests.helpers.signal_contexts import on_two_threads
from tests.helpers.stored import store_blocks

SMALL = ("profile.gradient_batches=12", "profile.gradient_batch_size=3", "profile.max_examples=60")
Open = Callable[..., SignalContext]


@pytest.fixture
def opened(tmp_path: Path, tiny_models: dict[str, Path], glue_dir: Path, squad_dir: Path) -> Open:
    def open_context(kind: str = "bert", task: str = "cola", *overrides: str) -> SignalContext:
        data = (f"data.glue={glue_dir}", f"data.squad={squad_dir}")
        return labelled_context(tmp_path, f"task={task}", f"model.path={tiny_models[kind]}", *data, *SMALL, *overrides)

    return open_context


def numbers(signal: GradientSignal) -> np.ndarray[Any, Any]:
    """Return every number: (linears, 11, 4), over all batches first."""
    found = []
    for linear in signal.linears:
        found.append([astuple(row) for row in (linear.numbers, *linear.jackknife)])
    return np.array(found)


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("bert", "cola"),
        ("roberta", "rte"),
        ("electra", "stsb"),
        ("deberta-v2", "mrpc"),
        ("llama", "squad"),
        ("mistral", "stsb"),
        ("qwen2", "sst2"),
    ],
)
def test_every_number_is_its_formula_on_every_model_and_task_kind(opened: Open, kind: str, task: str) -> None:
    context = opened(kind, task)
    signal = Gradients().measure(context)
    batches = draw_batches(len(context.examples()), context.profile)
    gradients = batch_gradients(context, batches)
    assert (signal.batches, signal.batch_size) == (len(batches), len(batches[0])) == (12, 3)
    assert [row.name for row in signal.linears] == list(gradients[0])
    for row in signal.linears:
        weight = context.model.get_parameter(f"{row.name}.weight")
        of_linear = [values[row.name] for values in gradients]
        assert astuple(row.numbers) == pytest.approx(astuple(direct_numbers(weight, of_linear)), rel=1e-4)
        for group, without in enumerate(row.jackknife):
            others = [values for number, values in enumerate(of_linear) if number % 10 != group]
            assert astuple(without) == pytest.approx(astuple(direct_numbers(weight, others)), rel=1e-4)


@pytest.mark.parametrize(("kind", "dtype"), [("bert", "float32"), ("llama", "bf16")])
def test_blocks_that_are_computed_again_give_the_same_numbers(opened: Open, kind: str, dtype: str) -> None:
    context = opened(kind, "cola", f"model.dtype={dtype}")
    blocks = block_modules(context.model, context.model_map)
    passes: list[None] = []
    first = next(module for module in blocks[0].modules() if isinstance(module, torch.nn.Linear))
    first.register_forward_pre_hook(lambda *_: passes.append(None))
    plain, once = numbers(Gradients().measure(context)), len(passes)
    context = replace(context, store=StateStore(context.store.directory / "again"))
    with recomputing(blocks):
        again = numbers(Gradients().measure(context))
    assert np.array_equal(plain, again)
    assert len(passes) == 3 * once  # twice in each pass, although the model is in evaluation mode


def test_means_of_squares_over_the_tenths_are_those_of_all_batches(opened: Open) -> None:
    values = numbers(Gradients().measure(opened()))
    left = np.array([10, 10, *[11] * 8])  # batches that remain of 12 without groups 0 .. 9
    for column in (0, 3):  # fisher and sensitivity
        weighted = (values[:, 1:, column] * left).sum(1) / left.sum()
        np.testing.assert_allclose(weighted, values[:, 0, column], rtol=1e-12)


@pytest.mark.parametrize(
    ("size", "is_stored"),
    [
        (1, False),
        (3, False),
        pytest.param(1, True, marks=pytest.mark.slow),
        pytest.param(3, True, marks=pytest.mark.slow),
    ],
)
def test_two_processes_give_the_numbers_of_one(
    opened: Open, monkeypatch: pytest.MonkeyPatch, size: int, is_stored: bool
) -> None:
    # A batch of one row leaves the second process without a row of its own.
    contexts = [opened("bert", "cola", f"profile.gradient_batch_size={size}") for _ in range(3)]
    if is_stored:
        contexts = [store_blocks(context) for context in contexts]
    alone = Gradients().measure(contexts.pop())

    def add(accelerator: Device, tensor: torch.Tensor) -> torch.Tensor:
        # The module's name, which the two threads have replaced.
        first, second = vars(gradient_pass)["gather_objects"](accelerator, tensor.clone())
        total: torch.Tensor = first + second
        return total

    def work(accelerator: Any) -> GradientSignal:
        context = contexts[accelerator.process_index]
        store = StateStore(context.store.directory.parent / "two")
        return Gradients().measure(replace(context, accelerator=accelerator, store=store))

    monkeypatch.setattr(gradient_pass, "sum_over_processes", add)
    modules = ["gelora_cli.signals.gradients", "gelora_cli.signals.gradient_pass"]
    first, second = on_two_threads(monkeypatch, modules, work)
    assert first.linears == second.linears
    np.testing.assert_allclose(numbers(first), numbers(alone), rtol=1e-5)


def test_parts_of_a_batch_give_the_numbers_of_the_whole(opened: Open) -> None:
    context = opened()
    whole = Gradients().measure(context)
    context.store.clear()
    parts = replace(
        context,
        profile=replace(context.profile, batch_size=2),
        store=StateStore(context.store.directory.parent),
    )
    np.testing.assert_allclose(numbers(Gradients().measure(parts)), numbers(whole), rtol=1e-5)


def test_a_killed_measurement_resumes_at_its_last_group_with_the_same_numbers(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = opened()
    whole = Gradients().measure(context)
    context.store.clear()
    add = gradient_pass.GradientPass._add_batch
    taken: list[int] = []

    def count(self: gradient_pass.GradientPass, rows: Any) -> int:
        taken.append(len(rows))
        if len(taken) == 8:  # in the sixth group: groups 0 and 1 have two batches each, the others one
            raise KeyboardInterrupt
        return add(self, rows)

    monkeypatch.setattr(gradient_pass.GradientPass, "_add_batch", count)
    place = context.store.directory.parent
    with pytest.raises(KeyboardInterrupt):
        Gradients().measure(replace(context, store=StateStore(place)))
    assert all(parameter.grad is None for parameter in context.model.parameters())
    (last, *_) = sorted((place / "states").iterdir(), reverse=True)
    last.unlink()  # of its last group a block is missing
    resumed = Gradients().measure(replace(context, store=StateStore(place)))
    assert len(taken) == 8 + 12 - 6  # the group whose block is missing is measured again
    assert resumed.linears == whole.linears


def test_the_model_and_the_random_state_are_left_as_they_were(opened: Open) -> None:
    context = opened("deberta-v2", "cola", "seed=1")
    model = context.model
    model.train()
    frozen = next(model.parameters()).requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    signal = Gradients().measure(context)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    assert [value.requires_grad for value in model.parameters()].count(False) == 1
    assert not frozen.requires_grad
    assert all(value.grad is None and not value._post_accumulate_grad_hooks for value in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {name for name in context.head() if not torch.equal(before[name], context.head()[name])}
    other_run = opened("deberta-v2", "cola", "seed=0")
    other_run.store.clear()
    other = replace(other_run, store=StateStore(other_run.store.directory.parent))
    assert not other_run.head()  # profile.seed is the run's seed
    assert Gradients().measure(other).linears == signal.linears  # the head is that of profile.seed in both


def test_rows_are_used_once_and_too_few_make_fewer_and_then_smaller_batches() -> None:
    profile = ProfileConfig(gradient_batches=12, gradient_batch_size=4, seed=3)
    batches = draw_batches(100, profile)
    assert [len(rows) for rows in batches] == [4] * 12
    assert len({*np.concatenate(batches).tolist()}) == 48
    assert np.array_equal(draw_batches(100, profile), batches)
    assert not np.array_equal(draw_batches(100, replace(profile, seed=4)), batches)
    assert [len(rows) for rows in draw_batches(45, profile)] == [4] * 11
    assert [len(rows) for rows in draw_batches(25, profile)] == [2] * 12
    assert [len(rows) for rows in draw_batches(10, profile)] == [1] * 10
    with pytest.raises(GeloraError, match="9 training rows; at least 10"):
        draw_batches(9, profile)


def test_a_gradient_that_is_not_finite_names_the_layer(opened: Open) -> None:
    context = opened()
    split = context.examples()
    name = context.model_map.blocks[-1].linears[0].name
    with torch.no_grad():
        context.model.get_parameter(f"{name}.weight")[0, 0] = torch.nan
    with pytest.raises(GeloraError, match=rf"gradient of {context.model_map.blocks[0].linears[0].name} on batch 1"):
        Gradients().measure(context)
    with pytest.raises(GeloraError, match="no labels"):
        Gradients().measure(replace(context, examples=lambda: replace(split, labels=None)))


def test_scores_are_standardized_by_all_training_rows_as_training_does(opened: Open) -> None:
    plain = opened("bert", "stsb").examples().labels
    standardized = opened("bert", "stsb", "task.standardize=true", "profile.max_examples=90").examples().labels
    assert plain is not None
    assert standardized is not None
    assert len(plain) == 60
    assert (standardized.mean(), standardized.std()) == pytest.approx((0, 1), abs=1e-6)


def test_what_decides_which_runs_share_it() -> None:
    signal, config, content = SIGNALS.get("gradients"), RunConfig(), {"model": "m", "train": "t"}
    shared = signal.sharing_hash(config, content)

    def differs(**changes: Any) -> bool:
        return bool(signal.sharing_hash(replace(config, **changes), content) != shared)

    assert not differs(seed=5)
    assert not differs(profile=ProfileConfig(pooling="cls"))
    assert not differs(task=replace(config.task, stride=9))  # no windows
    assert differs(profile=ProfileConfig(seed=5))
    assert differs(profile=ProfileConfig(gradient_batches=33))
    assert differs(profile=ProfileConfig(gradient_batch_size=33))
    assert differs(task=replace(config.task, labels=["a", "b", "c"]))
    scores = TaskConfig(kind="regression")
    assert differs(task=scores)
    plain = signal.sharing_hash(replace(config, task=scores), content)
    assert signal.sharing_hash(replace(config, task=replace(scores, standardize=True)), content) != plain


def test_keys_of_a_signal_are_part_of_the_runs_that_read_it_and_of_no_other() -> None:
    def identity(*words: str) -> dict[str, Any]:
        return identity_values(composed("task=cola", *words))

    more_batches = ("profile.gradient_batches=64", "profile.gradient_batch_size=4")
    assert identity("method=gelora", *more_batches) == identity("method=gelora")
    assert identity("method=fisher", *more_batches) != identity("method=fisher")
    # With budget=auto the bound is what the ranks of the idim profile cost, else that profile is not read.
    assert identity("method=fisher", "profile.pooling=cls") != identity("method=fisher")
    fixed = ("method=fisher", "budget=rank:2")
    assert identity(*fixed, "profile.pooling=cls") == identity(*fixed)
    assert identity(*fixed, "profile.seed=1") != identity(*fixed)
    idim, content = SIGNALS.get("idim"), {"model": "m", "train": "t"}
    assert idim.sharing_hash(composed(*more_batches), content) == idim.sharing_hash(composed(), content)


def test_the_gradient_is_that_of_the_weighted_and_smoothed_loss(opened: Open) -> None:
    plain, words = Gradients().measure(opened()), ("task.class_weights=balanced", "train.label_smoothing=0.1")
    context = opened("bert", "cola", *words)
    weighted = Gradients().measure(replace(context, store=StateStore(context.store.directory.parent / "weighted")))
    gradients = batch_gradients(context, draw_batches(len(context.examples()), context.profile))
    row = weighted.linears[0]
    of_linear = [values[row.name] for values in gradients]
    expected = direct_numbers(context.model.get_parameter(f"{row.name}.weight"), of_linear)
    assert astuple(row.numbers) == pytest.approx(astuple(expected), rel=1e-4)
    assert row.numbers.fisher != pytest.approx(plain.linears[0].numbers.fisher, rel=0.01)


def test_a_signal_of_another_loss_is_not_reused() -> None:
    fingerprints = {"model": "m", "train": "t"}
    plain = Gradients().inputs(composed("task=cola"), fingerprints)
    assert not {"task.class_weights", "train.label_smoothing"} & set(plain)  # as measured before there were any
    for word in ("task.class_weights=balanced", "task.class_weights=[1,2]", "train.label_smoothing=0.1"):
        assert Gradients().inputs(composed("task=cola", word), fingerprints) != plain
