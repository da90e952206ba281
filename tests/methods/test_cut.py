"""Cut: what is kept of a wide update, when, and what comes back from disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from gelora_cli.allocation.planning import plan_method
from gelora_cli.core.budget import Budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.methods import load_adapter
from gelora_cli.methods.updates.cut import decompose, keep_largest
from tests.helpers.method_cases import plain
from tests.helpers.rivals import STEPS, case, logits, settings_of, tune


@pytest.fixture
def bert(tiny_models: dict[str, Path]) -> Path:
    return tiny_models["bert"]


def test_the_decomposition_is_that_of_the_product() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(5, 12), torch.randn(9, 5)
    spectrum = decompose(a, b)
    wanted = torch.linalg.svdvals((b @ a).double())
    torch.testing.assert_close(spectrum.values, wanted[:5], rtol=1e-6, atol=1e-6)
    new_a, new_b = spectrum.factors(3)
    u, values, vh = torch.linalg.svd((b @ a).double())
    torch.testing.assert_close(new_b @ new_a, (u[:, :3] * values[:3]) @ vh[:3], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(new_a.norm(dim=1), new_b.norm(dim=0))  # balanced
    assert [tuple(factor.shape) for factor in spectrum.factors(0)] == [(0, 12), (9, 0)]


def test_one_threshold_for_all_modules_within_the_budget() -> None:
    values = {"cheap": torch.tensor([5.0, 2.0, 1.0]), "dear": torch.tensor([4.0, 3.0, 0.5])}
    costs = {"cheap": 10, "dear": 30}
    assert keep_largest(values, costs, 40) == {"cheap": 1, "dear": 1}
    # 3 of `dear` no longer fits 60, and nothing smaller is taken in its place: that would be another threshold.
    assert keep_largest(values, costs, 60) == {"cheap": 1, "dear": 1}
    assert keep_largest(values, costs, 70) == {"cheap": 1, "dear": 2}
    assert keep_largest(values, costs, 9) == {"cheap": 0, "dear": 0}
    assert keep_largest(values, costs, 10**6) == {"cheap": 3, "dear": 3}
    noise = values | {"dear": torch.tensor([4.0, 1e-8, 0.0])}
    assert keep_largest(noise, costs, 10**6) == {"cheap": 3, "dear": 1}
    assert keep_largest({"a": torch.zeros(2)}, {"a": 1}, 10) == {"a": 0}  # nothing was learned
    tied = {"a": torch.ones(2), "b": torch.ones(2)}
    assert keep_largest(tied, {"a": 1, "b": 1}, 3) == {"a": 2, "b": 1}


@pytest.mark.parametrize("then", ["continue", "restart"])
def test_it_is_cut_to_the_budget_once_and_saved_as_narrow_as_it_is(bert: Path, tmp_path: Path, then: str) -> None:
    found = case(bert, "cut", then=then)
    attached = found.attach()
    lines = [line for line in tune(found, attached) if "ranks" in line]
    plan, step = attached.plan, STEPS // 2
    assert plan.budget_params is not None
    sizes = [line["adapter_params"] for line in lines]
    assert sizes[: step - 1] == [plan.trained_params] * (step - 1)
    assert set(sizes[step - 1 :]) == {plan.adapter_params}  # all directions cost the same here
    assert plan.budget_params - 64 < plan.adapter_params <= plan.budget_params < 4 * plan.budget_params
    ranks, params = attached.ranks()
    assert (list(ranks.values()), params) == (lines[-1]["ranks"], sizes[-1])
    assert len(set(ranks.values())) > 1
    for name, tensor in attached.trainable().items():  # what was cut away is zero, and stays it
        module = plain(name).split(".lora_")[0]
        if module in ranks:
            beyond = tensor[ranks[module] :] if "lora_A" in name else tensor[:, ranks[module] :]
            assert not beyond.any(), name
    attached.save(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    pattern = {name.replace("\\", ""): rank for name, rank in config["rank_pattern"].items()}
    assert pattern == {name: rank for name, rank in ranks.items() if rank}
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    saved = {name: tensor for name, tensor in tensors.items() if "lora_" in name}
    assert sum(tensor.numel() for tensor in saved.values()) == params
    again = PeftModel.from_pretrained(case(bert, "cut").loaded.model, str(tmp_path))  # PEFT alone
    trained = logits(attached.model, found.inputs)
    torch.testing.assert_close(logits(again, found.inputs), trained, rtol=1e-5, atol=1e-6)
    merged: Any = again.merge_and_unload()
    torch.testing.assert_close(logits(merged, found.inputs), trained, rtol=1e-4, atol=1e-5)


def test_to_continue_is_the_truncated_update_and_to_restart_the_ordinary_start(bert: Path) -> None:
    updates: dict[str, dict[str, torch.Tensor]] = {}
    wide: dict[str, torch.Tensor] = {}
    for then in ("continue", "restart"):
        found = case(bert, "cut", then=then, cut_at=1.0)
        attached = found.attach()
        assert attached.updates is not None
        after_step, read = attached.after_step, attached.updates

        def watched(step: int, after: Any = after_step, read: Callable[[], dict[str, torch.Tensor]] = read) -> None:
            if step == STEPS:
                wide.update({name: tensor.detach().double() for name, tensor in read().items()})
            after(step)

        tune(found, replace(attached, after_step=watched))
        updates[then] = {name: tensor.detach().double() for name, tensor in read().items()}
        ranks = attached.ranks()[0]
    for name, update in updates["continue"].items():
        u, values, vh = torch.linalg.svd(wide[name])
        rank = ranks[name]
        torch.testing.assert_close(update, (u[:, :rank] * values[:rank]) @ vh[:rank], rtol=1e-4, atol=1e-5)
    assert not any(update.any() for update in updates["restart"].values())


def test_the_optimizer_forgets_the_moments_of_what_was_replaced(bert: Path) -> None:
    found = case(bert, "cut")
    attached = found.attach()
    assert attached.restarted is not None
    adapter = [tensor for name, tensor in attached.trainable().items() if "lora_" in name]
    steps = {step: len(list(attached.restarted(step))) for step in range(1, STEPS + 1)}
    assert steps == {step: len(adapter) * (step == STEPS // 2) for step in steps}


def test_only_epochs_after_the_cut_keep_the_budget(bert: Path) -> None:
    found = case(bert, "cut")
    attached = found.attach()
    assert attached.after_step is not None
    for step in range(1, STEPS // 2):
        attached.after_step(step)
    assert not attached.budget_reached()
    attached.after_step(STEPS // 2)
    assert attached.budget_reached()
    # B is zero still: nothing was learned, so nothing is kept.
    assert attached.ranks()[1] == 0


def test_an_adapter_of_which_nothing_is_left_is_reloaded_too(bert: Path, tmp_path: Path) -> None:
    found = case(bert, "cut", cut_at=0.01)
    attached = found.attach()
    assert attached.after_step is not None
    attached.after_step(1)
    attached.save(tmp_path)
    again = load_adapter(case(bert, "cut").loaded.model, tmp_path)
    torch.testing.assert_close(logits(again, found.inputs), logits(attached.model, found.inputs))


def test_the_wide_rank_follows_the_ratio_and_keeps_within_the_sides(bert: Path) -> None:
    model_map = case(bert, "cut").loaded.map
    cost, modules = 64, 12  # of a direction, q, k, v and o of three blocks

    def plan_of(budget: int, ratio: float) -> Any:
        settings = settings_of("cut", start_ratio=ratio)
        return plan_method(model_map, {}, Budget("params", budget), method="cut", settings=settings, scaling=2.0)

    plan = plan_of(modules * cost * 2 + 5, 2.5)
    assert plan.ranks == (5, 5, 5)
    assert (plan.trained_params, plan.adapter_params) == (5 * modules * cost, 2 * modules * cost)
    assert "rank 5 everywhere, 3,840 parameters" in plan.note
    assert set(plan_of(10**6, 4.0).rank_pattern.values()) == {32}
    with pytest.raises(GeloraError, match=r"the smallest possible is budget=192"):
        plan_of(191, 4.0)
