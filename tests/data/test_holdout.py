"""Training rows that are scored on in place of the task's own evaluated splits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.holdout import hold_out_rows
from gelora_cli.data.protocol import protocol_splits
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.splits import TextSplit

SELECTED_BY_TRAINING_ROWS = TaskConfig(eval_splits=["validation"], split="held_out")


def texts(count: int, *, distinct: int | None = None, groups: list[str] | None = None) -> TextSplit:
    """Make training rows with two labels; text i is that of row i modulo `distinct`."""
    column = [f"text {row % (distinct or count)}" for row in range(count)]
    return TextSplit("train", 100 + np.arange(count), (column,), np.arange(count) % 2, "a note", groups)


def questions(count: int, articles: int) -> QuestionSplit:
    ids = [f"q{row}" for row in range(count)]
    return QuestionSplit(
        "train", ids, ids, ids, [() for _ in ids], [f"article {row % articles}" for row in range(count)]
    )


def selected_ids(train: TextSplit | QuestionSplit) -> set[object]:
    """Return the ids of the rows that protocol=split selects by with task.split=held_out."""
    parts = protocol_splits(SELECTED_BY_TRAINING_ROWS, "split", {"train": train, "validation": train})
    return set(parts.evaluated[0].ids)


@pytest.mark.parametrize("train", [texts(400), texts(20_000), texts(300, distinct=250), questions(300, 30)])
def test_rows_are_scored_or_trained_on_and_no_protocol_selects_by_them(train: TextSplit | QuestionSplit) -> None:
    rest, held = hold_out_rows(train, 0.1)
    assert held.name == "train (holdout)"
    assert (rest.name, rest.note) == ("train", train.note)
    assert not set(held.ids) & set(rest.ids)
    assert sorted([*held.ids, *rest.ids]) == sorted(train.ids)
    assert abs(len(held) - 0.1 * len(train)) <= 10
    assert not set(held.ids) & selected_ids(train)


def test_the_rows_are_the_same_whatever_the_global_seed() -> None:
    import torch

    first = hold_out_rows(texts(300), 0.2)[1]
    torch.manual_seed(7)
    assert hold_out_rows(texts(300), 0.2)[1].fingerprint() == first.fingerprint()


def test_equal_texts_and_groups_stay_on_one_side() -> None:
    rest, held = hold_out_rows(texts(300, distinct=200), 0.1)
    assert isinstance(rest, TextSplit)
    assert isinstance(held, TextSplit)
    assert not held.distinct_texts() & rest.distinct_texts()
    # Group 0 and group 1 share a text, so they are one.
    names = [str(row // 5) for row in range(300)]
    grouped = texts(300, groups=names)
    shared = replace(grouped, columns=(["text 0" if row in (0, 5) else f"text {row}" for row in range(300)],))
    for share in (0.05, 0.1, 0.2, 0.3, 0.4):
        rest, held = hold_out_rows(shared, share)
        sides = [set(side.group_names or ()) for side in (rest, held)]
        assert not sides[0] & sides[1]
        assert len({"0", "1"} & sides[0]) in (0, 2)


def test_questions_of_one_article_stay_on_one_side() -> None:
    rest, held = hold_out_rows(questions(120, 12), 0.2)
    assert not set(rest.group_names or ()) & set(held.group_names or ())


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (texts(3), r"data\.holdout=0\.1: 3 training rows are of too few rows"),
        (texts(40, groups=["one"] * 40), "too few groups"),
        (questions(40, 1), "too few articles"),
        (texts(40, groups=["few" if row < 4 else "many" for row in range(40)]), "too few groups"),
    ],
)
def test_too_few_rows_or_groups_are_refused(train: TextSplit | QuestionSplit, message: str) -> None:
    with pytest.raises(GeloraError, match=message):
        hold_out_rows(train, 0.1)


def test_rows_with_one_label_left_are_refused() -> None:
    train = texts(40)
    _, held = hold_out_rows(train, 0.1)
    labels = np.isin(train.ids, np.asarray(held.ids)).astype(np.int64)
    with pytest.raises(GeloraError, match="left to train on have one label"):
        hold_out_rows(replace(train, labels=labels), 0.1)
    rest, _ = hold_out_rows(replace(train, labels=None), 0.1)  # without labels the rows are only profiled
    assert isinstance(rest, TextSplit)
    assert rest.labels is None


def test_a_protocol_on_held_out_rows_keeps_apart_what_it_selects_by() -> None:
    rest, held = hold_out_rows(texts(400), 0.1)
    splits = {"train": rest, held.name: held}
    halves = protocol_splits(TaskConfig(), "split", splits)
    assert halves.reported == ("train (holdout) (reported half)",)
    more = protocol_splits(SELECTED_BY_TRAINING_ROWS, "split", splits)
    assert [split.name for split in more.evaluated] == ["train (held out)", "train (holdout)"]
    assert more.reported == ("train (holdout)",)
    assert not set(more.evaluated[0].ids) & (set(held.ids) | set(more.train.ids))
