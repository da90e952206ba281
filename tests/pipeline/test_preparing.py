"""What a run's identity holds beside its settings, and what stops a run before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gelora_cli.config.complete import complete
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.artifacts.profile import FEWEST_POINTS, IdProfile
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METHODS, SIGNALS
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.splits import TextSplit
from gelora_cli.models.locate import ResolvedModel
from gelora_cli.pipeline import inputs
from gelora_cli.pipeline.inputs import ResolvedInputs
from gelora_cli.pipeline.locations import check_measured, run_fingerprints, signal_directory
from tests.helpers.composed import composed
from tests.helpers.planned import plan_of
from tests.helpers.tiny_completions import completion_split


def inputs_of(config: RunConfig, **splits: QuestionSplit) -> ResolvedInputs:
    return ResolvedInputs(config, ResolvedModel("a model", Path("nowhere"), "m"), dict(splits), "float32")


def test_of_a_saved_plan_all_that_training_takes_is_in_the_identity(tmp_path: Path) -> None:
    plan = plan_of("pfeiffer", parse_budget("rank:2"))
    config = complete(composed("model=minilm"))
    config = replace(config, ranks=replace(config.ranks, path=str(tmp_path)))
    others = [plan_of("pfeiffer", parse_budget("rank:3")), replace(plan, scaling=8.0), replace(plan, modules="all")]
    found = []
    for row in (plan, *others, replace(plan, note="other words", gelora_ranks=(1, 1, 1))):
        write_artifact(row, tmp_path)
        found.append(run_fingerprints(inputs_of(config))["plan"])
    assert found[0] == found[-1]
    assert len(set(found)) == 1 + len(others)


def test_articles_are_in_the_identity_of_a_run_that_is_parted_by_them() -> None:
    split = QuestionSplit("train", list("abc"), list("xyz"), ["c"] * 3, None, ["one", "one", "two"])
    other = replace(split, titles=["one", "two", "two"])
    for protocol, same in (("split", False), ("last", True)):
        config = complete(composed("model=minilm", "task=squad", f"protocol={protocol}"))
        runs = [inputs_of(config, train=rows) for rows in (split, other)]
        assert (run_fingerprints(runs[0]) == run_fingerprints(runs[1])) is same
        assert len({signal_directory(SIGNALS.get("idim"), run, run.fingerprints) for run in runs}) == 1


def test_a_damaged_profile_is_none(tmp_path: Path) -> None:
    (tmp_path / IdProfile.FILE).write_text("{")
    with pytest.raises(GeloraError, match="gelora train measures none"):
        check_measured(SIGNALS.get("idim"), tmp_path)


def test_fewer_different_texts_than_a_profile_needs_are_refused_before_work() -> None:
    few = TextSplit("train", np.arange(40), ([f"text {i % 19}" for i in range(40)],), None)
    with pytest.raises(GeloraError, match=r"19 different texts: .*at least 20"):
        inputs._check_distinct_texts(few, 20)
    with pytest.raises(GeloraError, match=r"12 different texts"):
        inputs._check_distinct_texts(completion_split(), 20)
    inputs._check_distinct_texts(TextSplit("train", np.arange(20), ([f"text {i}" for i in range(20)],), None), 20)
    assert SIGNALS.get("idim").fewest_texts == FEWEST_POINTS
    assert METHODS.get("adalora").signals(parse_budget("rank:4")) == (), "which the message advises"
