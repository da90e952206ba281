"""What a preset sets, and what a saved plan brings: the configuration that a run ends up with."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.config.complete import complete
from gelora_cli.config.identity import identity_values
from gelora_cli.config.presets import scaling_of, variant_of
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.errors import GeloraError
from tests.helpers.composed import composed


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("task=squad", "model=minilm"), ("all", 4.0, 7e-4, 10)),
        (("task=squad_v2", "model=minilm", "method=shuffled"), ("all", 4.0, 7e-4, 12)),
        (
            ("task=squad", "model=minilm", "method.scaling=32", "method.modules=attention"),
            ("attention", 32.0, 7e-4, 10),
        ),
        (("task=squad", "model=minilm", "method=adalora"), ("all", 4.0, 1.5e-3, 10)),
        (("task=squad", "model=minilm", "method=sora", "method.modules=attention"), ("attention", 2.0, 1.5e-3, 10)),
        (("task=squad", "model=minilm", "method=bitfit"), ("all", None, 3e-3, 10)),
        (("task=squad", "model=bert_base"), ("attention", 32.0, 2e-4, 10)),
        (("task=cola", "model=minilm"), ("attention", 32.0, 1.5e-4, 15)),
        (("task=cola", "model=minilm", "method=houlsby"), ("attention", None, 1.5e-3, 15)),
    ],
)
def test_modules_and_scaling_come_from_the_preset(words: tuple[str, ...], expected: tuple[Any, ...]) -> None:
    found = complete(composed(*words))
    train, method = found.train, found.method
    assert (method.modules, scaling_of(method), train.learning_rate, train.epochs) == expected
    assert complete(found) == replace(found, preset_source=found.preset_source)


def test_the_source_says_what_the_preset_set() -> None:
    words = ("task=squad", "model=minilm")
    assert complete(composed(*words)).preset_source.endswith("; with its method.modules=all method.scaling=4")
    other = complete(composed(*words, "method.scaling=32"))
    assert other.preset_source.endswith("method.modules=all; its learning rate is meant for method.scaling=4")
    assert "with its" not in complete(composed("task=cola", "model=minilm")).preset_source


def test_the_preset_is_named_only_for_what_came_from_it() -> None:
    def source(*words: str) -> str:
        config = complete(composed("model=minilm", *words))
        assert complete(config).preset_source == config.preset_source
        return config.preset_source

    given = ("task=text", "train.learning_rate=1e-3", "train.epochs=3")
    assert source(*given) == (
        "train.learning_rate, train.epochs as given; train.batch_size=16 of presets.gelora.minilm of the task"
    )
    assert source(*given, "train.batch_size=8") == "all training settings given"
    assert source("task=text", "train.epochs=3").startswith("train.epochs as given; the rest: gelora's own, SST-2's")
    assert source("task=squad", *given[1:], "train.batch_size=8") == (
        "train.learning_rate, train.epochs, train.batch_size as given; method.modules=all method.scaling=4 of "
        "presets.gelora.minilm of the task"
    )


def test_defaults_that_a_method_leaves_open_change_no_identity() -> None:
    config = complete(composed("task=cola", "model=minilm", "budget=0.1M"))
    assert identity_values(config)["method"] == {
        "name": "gelora",
        "modules": "attention",
        "scaling": 32.0,
        "dropout": 0.0,
    }


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"modules": "mlp"}, "preset.modules=mlp: not known"),
        ({"scaling": 0}, "preset.scaling=0: accepted is a number"),
        ({"scaling": "four"}, "preset.scaling=four: accepted is a number"),
        ({"learning_rate": "fast"}, "preset.learning_rate=fast: accepted is a number"),
        ({"epochs": 2.5}, "preset.epochs=2.5: accepted is a whole number"),
        ({"batch_size": True}, "preset.batch_size=True: accepted is a whole number"),
        ({"alpha": 3}, "alpha is unknown"),
    ],
)
def test_a_presets_values_are_checked(values: dict[str, Any], said: str) -> None:
    config = composed("task=cola", "model=minilm")
    config.task.presets["gelora"]["minilm"] = {"learning_rate": 1e-3, "epochs": 3, "source": "mine", **values}
    with pytest.raises(GeloraError, match=re.escape(said)):
        complete(config)


def saved_plan(directory: Path, method: str = "gelora", **rules: Any) -> Path:
    """Make a run directory with nothing but a plan in it."""
    from tests.helpers.rank_profiles import MINILM

    directory.mkdir(exist_ok=True)
    write_artifact(plan_ranks(MINILM, parse_budget("rank:4"), method=method, **rules), directory)
    return directory


@pytest.mark.parametrize(
    "given",
    [
        "budget=0.1M",
        "budget=rank:5",
        "method=lora",
        "method.scaling=4",
        "method.modules=all",
        "method.variant=dora",
        "ranks.rule=growth",
        "ranks.rounding=down",
        "ranks.on_deficit=shrink",
        "profile.pooling=cls",
        "profile.max_examples=100",
    ],
)
def test_a_saved_plan_and_a_key_that_it_overrules_are_refused(tmp_path: Path, given: str) -> None:
    place = saved_plan(tmp_path / "run")
    words = ("task=cola", "model=minilm", f"ranks.path={place}")
    complete(composed(*words))
    with pytest.raises(GeloraError, match=f"beside it {re.escape(given.replace('rank:', 'rank'))}") as caught:
        complete(composed(*words, given))
    assert "budget=rank4 method.modules=attention method.scaling=32" in str(caught.value)
    assert "leave ranks.path out to plan again" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_all_keys_that_a_saved_plan_overrules_are_named_at_once(tmp_path: Path) -> None:
    words = ("task=cola", "model=minilm", f"ranks.path={saved_plan(tmp_path / 'run')}")
    with pytest.raises(GeloraError, match=r"method\.scaling=4\.0 budget=0\.1M"):
        complete(composed(*words, "budget=100_000", "method.scaling=4"))


def test_what_a_saved_plan_brings_is_in_the_configuration(tmp_path: Path) -> None:
    place = saved_plan(tmp_path / "run", "lora", scaling=8.0, rule="growth")
    found = complete(composed("task=squad", "model=minilm", f"ranks.path={place}"))
    assert (found.budget, found.method.name, found.method.modules, scaling_of(found.method)) == (
        "rank4",
        "lora",
        "attention",
        8.0,
    )
    assert found.ranks.rule == "growth"
    assert complete(found) == found
    words = ("task=squad", "model=minilm", f"ranks.path={place}")
    same = ("budget=rank:4", "method=lora", "method.scaling=8", "method.modules=attention", "ranks.rule=growth")
    assert complete(composed(*words, *same)) == found
    tracked = complete(composed(*words, "profile.track=true", "profile.pooling=cls"))  # which tracking looks at
    assert tracked.profile.pooling == "cls"


def test_a_saved_plan_brings_its_variant(tmp_path: Path) -> None:
    place = saved_plan(tmp_path / "run", variant="dora")
    words = ("task=cola", "model=minilm", f"ranks.path={place}")
    assert variant_of(complete(composed(*words)).method) == "dora"
    assert complete(composed(*words, "method.variant=dora")) == complete(composed(*words))
    with pytest.raises(GeloraError, match=r"method\.variant=dora\); beside it method\.variant=rslora would change"):
        complete(composed(*words, "method.variant=rslora"))


def test_a_method_without_variants_refuses_one() -> None:
    with pytest.raises(GeloraError, match=r"method\.variant=dora: method=adalora has no such setting; those that have"):
        complete(composed("task=cola", "model=minilm", "method=adalora", "method.variant=dora"))


def test_a_plan_that_is_none_of_lora_is_refused(tmp_path: Path) -> None:
    from tests.helpers.planned import plan_of

    write_artifact(plan_of("adalora", parse_budget("0.01M")), tmp_path)
    with pytest.raises(GeloraError, match="holds a plan of method=adalora"):
        complete(composed("task=cola", "model=minilm", f"ranks.path={tmp_path}"))
    with pytest.raises(GeloraError, match="can't be read as RankPlan"):
        complete(composed("task=cola", "model=minilm", f"ranks.path={tmp_path / 'nowhere'}"))


def test_a_short_trial_takes_a_saved_plan(tmp_path: Path) -> None:
    words = ("task=cola", "model=minilm", f"ranks.path={saved_plan(tmp_path / 'run')}", "smoke=true")
    found = complete(composed(*words))
    assert found.budget == "rank4"
    assert complete(found) == found
