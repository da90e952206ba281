"""Which rows a protocol trains on, selects by and reports."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.protocol import protocol_splits
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.splits import TextSplit

HALVES = TaskConfig(eval_splits=["a", "b"], split="halves")
HELD_OUT = TaskConfig(eval_splits=["a"], split="held_out")


def texts(name: str, count: int) -> TextSplit:
    return TextSplit(name, 100 + np.arange(count), ([f"{name} {i}" for i in range(count)],), np.arange(count) % 2)


def questions(titles: list[str] | None, contexts: list[str]) -> QuestionSplit:
    ids = [f"q{i}" for i in range(len(contexts))]
    return QuestionSplit("a", ids, ids, contexts, [() for _ in ids], titles)


def test_halves_are_disjoint_and_together_the_whole() -> None:
    splits = {"train": texts("train", 20), "a": texts("a", 41), "b": texts("b", 30)}
    parts = protocol_splits(HALVES, "split", splits)
    assert parts.train is splits["train"]
    assert [split.name for split in parts.evaluated] == ["a (selecting half)", "a (reported half)", "b (reported half)"]
    assert parts.reported == ("a (reported half)", "b (reported half)")
    assert [len(split) for split in parts.evaluated] == [20, 21, 15]
    selecting, reported = (set(split.ids) for split in parts.evaluated[:2])
    assert not selecting & reported
    assert selecting | reported == set(splits["a"].ids)


def test_the_rows_are_those_of_the_permutation_with_seed_42() -> None:
    parts = protocol_splits(HALVES, "split", {"train": texts("train", 5), "a": texts("a", 41), "b": texts("b", 2)})
    order = torch.randperm(41, generator=torch.Generator().manual_seed(42)).numpy()
    assert list(parts.evaluated[0].ids) == sorted((100 + order[:20]).tolist())
    torch.manual_seed(7)
    again = protocol_splits(HALVES, "split", {"train": texts("train", 9), "a": texts("a", 41), "b": texts("b", 2)})
    assert [split.fingerprint() for split in again.evaluated] == [split.fingerprint() for split in parts.evaluated]


@pytest.mark.parametrize(("rows", "held"), [(20_000, 1_000), (3_000, 300), (11, 2)])
def test_rows_that_are_held_out_are_not_trained_on(rows: int, held: int) -> None:
    train, dev = texts("train", rows), texts("a", 7)
    parts = protocol_splits(HELD_OUT, "split", {"train": train, "a": dev})
    assert [split.name for split in parts.evaluated] == ["train (held out)", "a"]
    assert parts.reported == ("a",)
    assert parts.evaluated[1].fingerprint() == dev.fingerprint()
    out, kept = set(parts.evaluated[0].ids), set(parts.train.ids)
    assert len(out) == held
    assert not out & kept
    assert out | kept == set(train.ids)


@pytest.mark.parametrize("titled", [True, False])
def test_questions_of_one_article_stay_on_one_side(titled: bool) -> None:
    names = [f"name {index % 9}" for index in range(70)]
    split = questions(names, ["text"] * 70) if titled else questions(None, names)
    task = TaskConfig(eval_splits=["a"], split="halves")
    selecting, reported = protocol_splits(task, "split", {"train": split, "a": split}).evaluated
    assert isinstance(selecting, QuestionSplit)
    assert isinstance(reported, QuestionSplit)
    sides = [set(side.titles or side.contexts) for side in (selecting, reported)]
    assert not sides[0] & sides[1]
    assert sorted([*selecting.ids, *reported.ids]) == sorted(split.ids)
    assert abs(len(selecting) - 35) <= 4


@pytest.mark.parametrize("protocol", ["last", "dev"])
def test_the_other_protocols_take_the_splits_as_they_are(protocol: str) -> None:
    splits = {"train": texts("train", 5), "a": texts("a", 3), "b": texts("b", 1)}
    parts = protocol_splits(HALVES, protocol, splits)
    assert (parts.train, *parts.evaluated) == (splits["train"], splits["a"], splits["b"])
    assert parts.reported == ("a", "b")


@pytest.mark.parametrize("name", ["a", "train"])
def test_what_cannot_be_parted_is_refused(name: str) -> None:
    task = HALVES if name == "a" else HELD_OUT
    splits = {"train": texts("train", 1 if name == "train" else 9), "a": texts("a", 1), "b": texts("b", 9)}
    with pytest.raises(GeloraError, match=f"protocol=split: .*1 rows of {name} .*protocol=last"):
        protocol_splits(task, "split", splits)
    alone = questions(["one"] * 9, ["text"] * 9)
    with pytest.raises(GeloraError, match="too few articles"):
        protocol_splits(TaskConfig(eval_splits=["a"], split="halves"), "split", {"train": alone, "a": alone})
