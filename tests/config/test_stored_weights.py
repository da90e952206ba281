"""What does not go with `model.dtype`, and what it is part of."""

from __future__ import annotations

import importlib.machinery
from typing import Any

import pytest

from gelora_cli.config import stored_weights
from gelora_cli.config.checks import value_problems
from gelora_cli.config.complete import complete
from gelora_cli.config.identity import identity_hash, identity_values
from gelora_cli.core.registries import METHODS, SIGNALS
from tests.helpers.composed import composed

TASK = ("task=cola", "model=minilm", "budget=0.1M")
ANY = {"model": "a", "train": "b", "validation": "c"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.machinery.ModuleSpec("bitsandbytes", None)
    monkeypatch.setattr(stored_weights, "find_spec", lambda name: spec)


def problems(*words: str) -> list[str]:
    return value_problems(composed(*TASK, *words))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("method", "dtype"), [("full", "bf16"), ("bitfit", "4bit"), ("cut", "4bit")])
def test_methods_that_train_the_weights_are_refused(method: str, dtype: str) -> None:
    (problem,) = problems(f"method={method}", f"model.dtype={dtype}")
    assert problem.startswith(f"method={method} needs weights with model.dtype=float32, not {dtype}")
    assert "gelora" in problem.rpartition("one of ")[2].split(", ")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("word", ["method=sora", "method=houlsby", "method.variant=dora"])
def test_what_works_in_bf16_and_not_in_four_bits(word: str) -> None:
    assert problems(word, "model.dtype=bf16") == []
    (problem,) = problems(word, "model.dtype=4bit")
    assert problem.startswith(f"{word} needs weights with model.dtype=float32 or bf16, not 4bit")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("variant", "dtype"), [("pissa", "4bit"), ("lora_ga", "bf16")])
def test_starts_from_the_weights_are_refused(variant: str, dtype: str) -> None:
    (problem,) = problems(f"method.variant={variant}", f"model.dtype={dtype}")
    assert problem.startswith(f"method.variant={variant} needs weights") and "method.variant=lora or" in problem


@pytest.mark.usefixtures("installed")
def test_methods_of_planned_ranks_work_with_any_weights() -> None:
    assert problems("method=fisher", "method.variant=rslora", "model.dtype=4bit") == []
    planned = [name for name in METHODS.names() if METHODS.get(name).allocator]
    assert all("4bit" in METHODS.get(name).dtypes for name in (*planned, "adalora", "eva"))


@pytest.mark.usefixtures("installed")
def test_keys_that_need_float32_weights_are_refused_all_at_once() -> None:
    fast, control = problems("model.dtype=4bit", "train.fast=true", "profile.control=untrained")
    assert "train.fast=true" in fast and "profile.control=untrained" in control
    assert problems("model.dtype=bf16", "train.fast=true") == []
    (unknown,) = problems("model.dtype=8bit")
    assert "model.dtype=8bit" in unknown and "accepted: 4bit, bf16, float32" in unknown


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_weights, "find_spec", lambda name: None)
    (problem,) = problems("model.dtype=4bit")
    assert "bitsandbytes: pip install" in problem and "[4bit]" in problem
    assert problems("model.dtype=bf16") == []


@pytest.mark.usefixtures("installed")
def test_the_type_is_part_of_a_run_and_of_what_is_measured_on_its_model() -> None:
    def hashes(*words: str) -> list[Any]:
        config = complete(composed(*TASK, *words))
        signals = [SIGNALS.get(name).sharing_hash(config, ANY) for name in ("idim", "gradients", "weights")]
        return [identity_hash(config, ANY), *signals]

    plain = hashes()
    assert plain == hashes("model.dtype=float32")
    for one, other, third in zip(plain, hashes("model.dtype=bf16"), hashes("model.dtype=4bit"), strict=True):
        assert len({one, other, third}) == 3
    assert "model" not in identity_values(complete(composed(*TASK)))
