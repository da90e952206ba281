"""Every method on a tiny model: what is attached, what moves, what comes back from disk, what is left at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from peft.tuners.adalora import RankAllocator
from safetensors.torch import load_file, save_file

from gelora_cli.config.shipped import config_dir
from gelora_cli.core.artifacts.adapter import SavedAdapter
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.core.distributed import make_accelerator
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METHODS
from gelora_cli.methods import load_adapter
from gelora_cli.methods.base import AdaptedModel
from gelora_cli.methods.updates.adalora import BudgetAllocator
from gelora_cli.methods.updates.checks import head_state
from gelora_cli.methods.updates.sora import SHRINK
from gelora_cli.models.block_map import bias_names
from tests.helpers.method_cases import plain
from tests.helpers.rivals import STEPS, case, logits, tune
from tests.helpers.tiny import KINDS
from tests.helpers.train_settings import SETTINGS
from tests.helpers.training import fine_tune
from tests.helpers.warm import WARM

RIVALS = ("adalora", "sora", "eva", "bitfit", "houlsby", "pfeiffer", "full", "cut")
PRUNING = ("adalora", "sora")


@pytest.fixture
def bert(tiny_models: dict[str, Path]) -> Path:
    return tiny_models["bert"]


def test_every_method_can_be_planned_attached_and_chosen() -> None:
    assert set(METHODS.names()) == {path.stem for path in (config_dir() / "method").glob("*.yaml")}


STANDS_FOR = {"bert": ("roberta", "electra"), "llama": ("mistral",)}
"""A kind, and those that name the linear layers of their blocks as it does."""


def kinds_and_rivals() -> Iterator[Any]:
    """Yield every rival on every kind that it can be placed in, and on all linears where that matters.

    Of kinds that another one stands for, all but the cheapest rival are slow; that one trains their heads.
    """
    repeated = tuple(chain.from_iterable(STANDS_FOR.values()))
    for kind, method, modules in _kinds_and_rivals():
        is_slow = kind in repeated and method != "pfeiffer"
        yield pytest.param(kind, method, modules, marks=pytest.mark.slow if is_slow else ())


def _kinds_and_rivals() -> Iterator[tuple[str, str, str]]:
    for kind in KINDS:
        for method in RIVALS:
            if method == "bitfit" and kind in ("llama", "mistral"):  # they have no biases
                continue
            if method == "cut" and kind not in ("deberta-v2", "llama"):  # LoRA by PEFT, as `eva`
                continue
            yield kind, method, "attention"
    yield from (("bert", method, "all") for method in ("adalora", "sora", "eva", "cut"))
    yield from (("qwen2", method, "all") for method in ("adalora", "sora", "eva"))


@pytest.mark.parametrize(("kind", "method", "modules"), kinds_and_rivals())
def test_only_what_should_move_moves_and_it_comes_back(
    tiny_models: dict[str, Path], tmp_path: Path, kind: str, method: str, modules: str
) -> None:
    found = case(tiny_models[kind], method, kind=kind, modules=modules)
    frozen = {name: tensor.detach().clone() for name, tensor in found.loaded.model.named_parameters()}
    base = logits(found.loaded.model, found.inputs)
    state = torch.get_rng_state()
    attached = found.attach()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(logits(attached.model, found.inputs), base)
    trainable = attached.trainable()
    assert sum(map(torch.numel, trainable.values())) == attached.plan.trained_params + found.loaded.map.head_params
    before = {name: tensor.detach().clone() for name, tensor in trainable.items()}
    tune(found, attached)
    still = {plain(name) for name, tensor in trainable.items() if torch.equal(before[name], tensor)}
    ranks = attached.ranks()[0]
    assert still <= {f"{name}.lora_E.default" for name, rank in ranks.items() if not rank}  # all pruned, back to zero
    moved = set(trainable)
    for name, tensor in attached.model.named_parameters():
        if name not in moved and plain(name) in frozen:
            assert torch.equal(tensor, frozen[plain(name)]), name
    bound, left = attached.plan.budget_params, attached.ranks()[1]
    assert bound is None or 0 < left <= bound
    attached.save(tmp_path / "adapter")
    fresh = case(tiny_models[kind], method, kind=kind, modules=modules).loaded.model
    trained = logits(attached.model, found.inputs)
    fresh.load_state_dict(head_state(attached.model, found.loaded.map.head_modules), strict=False)
    assert not torch.allclose(logits(fresh, found.inputs), trained, atol=1e-3)
    again = load_adapter(fresh, tmp_path / "adapter")
    torch.testing.assert_close(logits(again, found.inputs), trained, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", RIVALS)
def test_everything_that_trains_has_a_gradient(bert: Path, method: str) -> None:
    found = case(bert, method)
    attached = found.attach()
    with torch.no_grad():  # of a product that starts at zero only one factor has a gradient in the first step
        for name, tensor in attached.trainable().items():
            if not tensor.any():
                tensor.add_(0.01 if "lora_E" in name else torch.randn_like(tensor) * 0.01)
    labels = torch.arange(len(found.inputs["input_ids"])) % 2
    torch.nn.functional.cross_entropy(attached.model(**found.inputs).logits, labels).backward()  # type: ignore[no-untyped-call]
    missing = [name for name, tensor in attached.trainable().items() if tensor.grad is None or not tensor.grad.any()]
    assert missing == []
    without = [name for name, tensor in attached.model.named_parameters() if not tensor.requires_grad]
    assert all(dict(attached.model.named_parameters())[name].grad is None for name in without)


@pytest.mark.parametrize("method", RIVALS)
def test_the_same_seed_gives_the_same_numbers(bert: Path, method: str) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(torch.seed() % 2**31)  # whatever ran before
        found = case(bert, method, seed=seed)
        attached = found.attach()
        tune(found, attached)
        return {name: tensor.detach() for name, tensor in attached.trainable().items()}

    first, second = weights(0), weights(0)
    assert all(torch.equal(first[name], second[name]) for name in first)
    if method in ("adalora", "sora", "houlsby", "pfeiffer"):
        assert any(not torch.equal(first[name], tensor) for name, tensor in weights(1).items() if name in first)


def test_bitfit_trains_the_bias_terms_and_full_everything(bert: Path) -> None:
    found = case(bert, "bitfit")
    head = found.loaded.map.head_modules
    trainable = set(found.attach().trainable())
    assert {name for name in trainable if not name.startswith(head)} == set(bias_names(found.loaded.model, head))
    assert "bert.encoder.layer.0.output.LayerNorm.bias" in trainable
    assert "bert.encoder.layer.0.attention.self.query.bias" in trainable
    everything = case(bert, "full").attach()
    assert len(everything.trainable()) == len(list(everything.model.named_parameters()))


@pytest.mark.parametrize("modules", ["attention", "all"])
def test_adalora_prunes_to_the_budget(bert: Path, modules: str) -> None:
    found = case(bert, "adalora", modules=modules)
    attached = found.attach()
    calls: list[int] = []
    after_step = attached.after_step
    assert after_step is not None

    def counted(step: int) -> None:
        calls.append(step)
        after_step(step)

    lines = tune(found, replace(attached, after_step=counted))
    assert calls == list(range(1, STEPS + 1))
    course = [(line["step"], line["adapter_params"], line["ranks"]) for line in lines if "ranks" in line]
    sizes = [params for _, params, _ in course]
    plan = attached.plan
    assert sizes[0] == plan.trained_params
    costs = set(BudgetAllocator(found.loaded.model, peft_config(attached), plan).costs.values())
    dearest = max(costs)
    # Where triplets cost alike the sizes fall; where they don't, other triplets may fill the same budget better.
    slack = 0 if len(costs) == 1 else dearest - 1
    assert all(after <= before + slack for before, after in pairwise(sizes))
    end = STEPS - int(0.5 * STEPS)
    assert all(params == sizes[-1] for step, params, _ in course if step >= end)
    assert plan.budget_params is not None
    assert plan.budget_params - dearest < sizes[-1] <= plan.budget_params
    ranks, params = attached.ranks()
    assert (list(ranks.values()), params) == (course[-1][2], sizes[-1])
    assert list(ranks) == list(plan.rank_pattern)
    values = {name: tensor for name, tensor in attached.model.named_parameters() if "lora_E" in name}
    assert sum(int((tensor != 0).sum()) for tensor in values.values()) == sum(ranks.values())
    tuner: Any = attached.model.base_model
    assert tuner.rankallocator.is_done


def peft_config(attached: AdaptedModel) -> AdaLoraConfig:
    model: Any = attached.model
    config: AdaLoraConfig = model.peft_config["default"]
    return config


def test_a_budget_in_parameters_keeps_the_triplets_that_peft_keeps(bert: Path) -> None:
    found = case(bert, "adalora")
    attached = found.attach()
    tuner: Any = attached.model.base_model
    model, config = tuner.model, peft_config(attached)
    labels = torch.arange(len(found.inputs["input_ids"])) % 2
    theirs: Any = RankAllocator
    allocators: list[Any] = [BudgetAllocator(model, config, attached.plan), theirs(model, config, "default")]
    (triplet,) = set(allocators[0].costs.values())
    allocators[1].target_bgt = attached.plan.adapter_params // triplet
    generator = torch.Generator().manual_seed(3)
    parameters = dict(model.named_parameters())
    names = [name for name, tensor in parameters.items() if tensor.requires_grad]

    @torch.no_grad()
    def load(values: dict[str, torch.Tensor]) -> None:
        for name, tensor in values.items():
            parameters[name].copy_(tensor)

    for step in range(1, STEPS):
        drawn = {name: torch.randn(parameters[name].shape, generator=generator) for name in names}
        load(drawn)
        torch.nn.functional.cross_entropy(attached.model(**found.inputs).logits, labels).backward()  # type: ignore[no-untyped-call]
        patterns = []
        for allocator in allocators:
            load(drawn)  # what the other one has masked
            patterns.append(allocator.update_and_allocate(model, step)[1])
        attached.model.zero_grad()
        assert patterns[0] == patterns[1]
        if patterns[0] is not None:
            assert sum(map(sum, patterns[0].values())) * triplet >= attached.plan.adapter_params


def test_adalora_in_a_single_step_keeps_the_budget(bert: Path) -> None:
    for steps in (1, 2, 3):
        found = case(bert, "adalora")
        attached = replace(found, request=replace(found.request, total_steps=steps)).attach()
        tune(found, attached, max_steps=steps)
        assert attached.budget_reached()
        assert attached.ranks()[1] <= (attached.plan.budget_params or 0)


def test_shares_of_the_steps_are_taken_as_they_are_written(bert: Path) -> None:
    # As floats, 0.55 * 100 and 0.07 * 100 are above 55 and 7, 0.29 * 100 is below 29, and 0.545 * 100 rounds to 55.
    def attached(method: str, **changes: Any) -> AdaptedModel:
        found = case(bert, method, **changes)
        return replace(found, request=replace(found.request, total_steps=100)).attach()

    cut = attached("cut", cut_at=0.55)
    assert cut.restarted is not None
    assert cut.restarted(55)
    assert not cut.restarted(56)
    sora = attached("sora", prune_at=0.07)
    assert sora.after_step is not None
    assert sora.budget_reached is not None
    sora.after_step(7)
    assert sora.budget_reached()
    adalora: Any = attached("adalora", tinit=0.29, tfinal=0.29, delta_t=0.545).model
    config = adalora.peft_config["default"]
    assert (config.tinit, config.tfinal, config.deltaT) == (29, 29, 54)


def test_adaloras_weights_are_selected_only_after_its_last_allocation(bert: Path) -> None:
    # Between allocations that are some steps apart masked triplets train again: the budget holds only at the end.
    found = case(bert, "adalora", tinit=0.1, tfinal=0.3, delta_t=0.2)
    attached = replace(found, request=replace(found.request, total_steps=33)).attach()
    tuner: Any = attached.model.base_model
    seen: list[tuple[int, bool, bool]] = []
    after_step = attached.after_step
    assert after_step is not None
    bound = attached.plan.budget_params or 0

    def watched(step: int) -> None:
        after_step(step)
        cost = next(iter(tuner.rankallocator.costs.values()))
        values = [tensor for name, tensor in attached.model.named_parameters() if "lora_E" in name]
        open_now = sum(int((tensor != 0).sum()) for tensor in values)
        seen.append((step, attached.budget_reached(), open_now * cost <= bound))

    tune(found, replace(attached, after_step=watched), epochs=5, max_steps=33)
    assert [step for step, settled, _ in seen if settled] == list(range(33 - int(0.3 * 33), 34))
    assert all(within for _, settled, within in seen if settled)
    assert not all(within for _, _, within in seen)


def test_a_gateless_sora_is_reloaded_too(bert: Path, tmp_path: Path) -> None:
    found = case(bert, "sora", threshold_total=500.0)
    attached = found.attach()
    tune(found, attached)
    assert attached.ranks()[1] == 0
    attached.save(tmp_path)
    again = load_adapter(case(bert, "sora").loaded.model, tmp_path)
    torch.testing.assert_close(logits(again, found.inputs), logits(attached.model, found.inputs), rtol=1e-5, atol=1e-6)


def test_soras_gates_close_and_the_pruned_model_is_the_gated_one(bert: Path, tmp_path: Path) -> None:
    found = case(bert, "sora", threshold_total=0.4)
    attached = found.attach()
    lines = [line for line in tune(found, attached) if "ranks" in line]
    sizes = [line["adapter_params"] for line in lines]
    bound = attached.plan.budget_params or 0
    assert sizes[0] > bound
    assert all(line["adapter_params"] <= bound for line in lines if line["step"] >= 20)  # 80 % of 24 steps
    assert sizes[-1] == attached.ranks()[1]
    ranks, _ = attached.ranks()
    gates = [tensor for name, tensor in attached.model.named_parameters() if name.endswith(".gate")]
    assert [int((gate != 0).sum()) for gate in gates] == list(ranks.values())
    assert 0 < sum(ranks.values()) < sum(attached.plan.rank_pattern.values())
    attached.save(tmp_path)
    again = load_adapter(case(bert, "sora").loaded.model, tmp_path)
    small = {name: len(tensor) for name, tensor in again.named_parameters() if name.endswith(".gate")}
    assert small == {f"{name}.gate": rank for name, rank in ranks.items() if rank}
    torch.testing.assert_close(logits(again, found.inputs), logits(attached.model, found.inputs), rtol=1e-5, atol=1e-6)


def test_soras_threshold_is_the_proximal_step(bert: Path) -> None:
    attached = (found := case(bert, "sora", threshold_total=2.4)).attach()
    gates = {name: tensor.detach().clone() for name, tensor in attached.model.named_parameters() if "gate" in name}
    assert attached.after_step is not None
    attached.after_step(1)
    xi = 2.4 / STEPS
    for name, tensor in attached.model.named_parameters():
        if name in gates:
            before = gates[name]
            wanted = torch.where(before > xi, before - xi, torch.where(before < -xi, before + xi, 0.0))
            torch.testing.assert_close(tensor.detach(), wanted)
    drawn = torch.cat(list(gates.values()))
    assert abs(float(drawn.mean())) < 0.4
    assert 0.7 < float(drawn.std()) < 1.3
    assert found.request.plan.unit == "gate"


def test_soras_published_code_zeroes_all_below_twice_the_threshold(bert: Path) -> None:
    xi = 0.25
    gates = torch.tensor([-1.0, -0.5, -0.49, -0.26, -0.1, 0.0, 0.1, 0.3, 0.49, 0.51, 2.0])
    assert SHRINK["paper"](gates, xi).tolist() == pytest.approx(
        [-0.75, -0.25, -0.24, -0.01, 0, 0, 0, 0.05, 0.24, 0.26, 1.75]
    )
    assert SHRINK["code"](gates, xi).tolist() == pytest.approx([-0.75, -0.25, 0, 0, 0, 0, 0, 0, 0, 0.26, 1.75])
    assert torch.equal(SHRINK["code"](gates, 0.0), gates)
    left = {}
    for rule in ("paper", "code", None):
        attached = case(bert, "sora", threshold_total=2.4 * STEPS / 6, threshold_rule=rule).attach()
        assert attached.after_step is not None
        attached.after_step(1)
        left[rule] = attached.ranks()[1]
    assert 0 < left["code"] < left["paper"] == left[None], "a configuration without the key follows the paper"


def test_soras_published_code_adds_the_mean_gate_to_the_loss(bert: Path) -> None:
    assert case(bert, "sora").attach().extra_loss is None
    found = case(bert, "sora", threshold_total=0.0, prune_at=1.0, gate_penalty=10.0)
    attached = found.attach()
    gates = [tensor for name, tensor in attached.trainable().items() if name.endswith(".gate")]
    assert attached.extra_loss is not None
    loss = attached.extra_loss()
    sizes = torch.cat([gate.detach().abs() for gate in gates])
    assert float(loss.detach()) == pytest.approx(10 * float(sizes.mean()))
    loss.backward()  # type: ignore[no-untyped-call]
    for gate in gates:
        torch.testing.assert_close(gate.grad, 10 / len(sizes) * gate.detach().sign())
    tune(found, attached)
    assert float(torch.cat([gate.detach().abs() for gate in gates]).mean()) < float(sizes.mean())


def test_soras_norms_train_and_count_if_asked(bert: Path) -> None:
    found = case(bert, "sora", layer_norms=True)
    attached = found.attach()
    trainable = attached.trainable()
    norms = sum(tensor.numel() for name, tensor in trainable.items() if "LayerNorm" in name)
    assert norms == found.loaded.map.norm_params
    tune(found, attached)
    assert norms < attached.ranks()[1] <= (attached.plan.budget_params or 0)


def test_eva_has_pefts_own_ranks_and_directions(bert: Path) -> None:
    from peft import EvaConfig, initialize_lora_eva_weights

    found = case(bert, "eva")
    attached = found.attach()
    ranks = attached.plan.rank_pattern
    assert sum(ranks.values()) == 2500 // 64
    assert len(set(ranks.values())) > 1
    other = case(bert, "eva")
    even = other.request.plan.rank_pattern
    config = LoraConfig(
        r=max(even.values()),
        target_modules=list(even),
        rank_pattern={name.replace(".", r"\."): rank for name, rank in even.items()},
        init_lora_weights="eva",
        eva_config=EvaConfig(rho=2.0),
    )
    model = get_peft_model(other.loaded.model, config)
    initialize_lora_eva_weights(model, other.request.batches(0), show_progress_bar=False)
    theirs = {name: tensor for name, tensor in model.named_parameters() if "lora_A" in name}
    ours = {name: tensor for name, tensor in attached.model.named_parameters() if "lora_A" in name}
    assert {name: len(tensor) for name, tensor in ours.items()} == {
        name: len(tensor) for name, tensor in theirs.items()
    }
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_eva_at_budgets_beyond_its_components_and_its_text(bert: Path) -> None:
    found = case(bert, "eva")
    full = replace(found.request.plan, budget_params=12 * 32 * 64)
    attached = replace(found, request=replace(found.request, plan=full)).attach()
    assert set(attached.plan.rank_pattern.values()) == {32}
    other = case(bert, "eva")
    short = [{name: tensor[:1, :6] for name, tensor in other.inputs.items()}]
    with pytest.raises(GeloraError, match=r"32 components .* 6 tokens"):
        METHODS.get("eva").attach(replace(other.request, plan=full, batches=lambda _: short))


def test_modules_without_a_rank_are_left_out(bert: Path) -> None:
    found = case(bert, "eva")
    plan = replace(found.request.plan, budget_params=64 * 5)
    attached = replace(found, request=replace(found.request, plan=plan)).attach()
    adapted = {plain(name).split(".lora_A")[0] for name in attached.trainable() if "lora_A" in name}
    assert 0 < len(adapted) <= 5
    assert adapted == set(attached.plan.rank_pattern)


def test_once_is_asked_of_the_main_process_alone(bert: Path) -> None:
    computed = case(bert, "eva")
    answers: list[Any] = []

    def compute_once(compute: Any) -> Any:
        answers.append(compute())
        return answers[0]

    def given(_: Any) -> Any:
        return answers[0]

    first = METHODS.get("eva").attach(replace(computed.request, once=compute_once))

    second = METHODS.get("eva").attach(replace(case(bert, "eva").request, once=given, batches=lambda _: ()))
    pairs = zip(first.trainable().values(), second.trainable().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_protocol_dev_selects_among_what_keeps_the_budget(bert: Path) -> None:
    found = case(bert, "sora")
    attached = found.attach()
    values = iter((0.9, 0.5, 0.6))
    selected: list[int] = []
    epochs: list[int] = []

    def evaluate(epoch: int) -> tuple[EvalResult, ...]:
        epochs.append(epoch)
        return (EvalResult("validation", 10, {"accuracy": next(values)}, "accuracy", False, 0.1),)

    result = fine_tune(
        attached,
        found.train,
        replace(SETTINGS, epochs=3, protocol="dev"),
        pad_token_id=0,
        accelerator=make_accelerator("float32"),
        evaluate=evaluate,
        select=lambda: selected.append(epochs[-1]),
        record=lambda _: None,
    )
    assert selected == [3]  # the budget holds from step 20 of 24 on
    assert result.selected_epoch == 3
    assert result.adapter_params <= (attached.plan.budget_params or 0)


@pytest.mark.parametrize("method", ["sora", "houlsby", "bitfit", "full"])
def test_a_damaged_or_foreign_adapter_is_refused(tiny_models: dict[str, Path], tmp_path: Path, method: str) -> None:
    found = case(tiny_models["bert"], method)
    attached = found.attach()
    attached.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_model.safetensors", SavedAdapter.FILE]
    with pytest.raises(GeloraError, match=r"another model|can't be loaded"):
        load_adapter(case(tiny_models["llama"], "full", kind="llama").loaded.model, tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GeloraError, match="can't be loaded"):
        load_adapter(case(tiny_models["bert"], method).loaded.model, tmp_path)
    weights.write_bytes(whole)
    (tmp_path / SavedAdapter.FILE).write_text("{")
    with pytest.raises(GeloraError, match="is damaged"):
        load_adapter(case(tiny_models["bert"], method).loaded.model, tmp_path)


@pytest.mark.parametrize("more", [-1, 2])
def test_an_adapter_with_another_number_of_tensors_is_refused(bert: Path, tmp_path: Path, more: int) -> None:
    case(bert, "pfeiffer").attach().save(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    planned = len(tensors)
    if more < 0:
        del tensors["bert.encoder.layer.0.output.dense.up.weight"]
    else:
        tensors |= {f"{number}": torch.zeros(1) for number in range(more)}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(GeloraError, match=f"holds {planned + more} tensors, expected {planned}"):
        load_adapter(case(bert, "pfeiffer").loaded.model, tmp_path)


def test_another_process_loads_the_same_logits(bert: Path, tmp_path: Path) -> None:
    for method in RIVALS:
        found = case(bert, method)
        attached = found.attach()
        tune(found, attached)
        attached.save(tmp_path / method)
        held = {"logits": logits(attached.model, found.inputs), **found.inputs}
        save_file(held, tmp_path / method / "case.safetensors")
    code = """
import sys, torch
from pathlib import Path
from safetensors.torch import load_file
from gelora_cli.methods import load_adapter
from gelora_cli.models.heads import LabelHead
from gelora_cli.models.load import load_model
from gelora_cli.models.locate import resolve_model
for method in sys.argv[3:]:
    place, head = Path(sys.argv[2]) / method, LabelHead(("no", "yes"))
    model = load_model(resolve_model(hub=None, path=sys.argv[1]), head, seed=9).model
    held = load_file(place / "case.safetensors")
    wanted = held.pop("logits")
    with torch.no_grad():
        found = load_adapter(model, place)(**held).logits
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    print(method)
"""
    done = WARM.run_code(code, str(bert), str(tmp_path), *RIVALS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(RIVALS)


def test_what_was_attached_is_compared_with_the_plan(bert: Path) -> None:
    for method in RIVALS:
        found = case(bert, method)
        plan: RankPlan = replace(found.request.plan, trained_params=found.request.plan.trained_params + 1)
        if method == "eva":
            continue  # its plan is made while it is attached
        with pytest.raises(GeloraError, match="adapter parameters"):
            replace(found, request=replace(found.request, plan=plan)).attach()
