"""Whole groups are held out: about a tenth of each label, and never all rows of one."""

from __future__ import annotations

import numpy as np
import pytest

from gelora_cli.data.held_out import choose_held_out_groups, merge_groups_by_text


@pytest.mark.parametrize(("groups", "rows"), [(20, 400), (48, 2000), (300, 900)])
@pytest.mark.parametrize("kind", ["labels", "scores"])
def test_about_a_tenth_in_whole_groups(groups: int, rows: int, kind: str) -> None:
    generator = np.random.default_rng(groups)
    member = np.concatenate([np.arange(groups), generator.integers(0, groups, rows - groups)])
    labels = generator.integers(0, 3, rows) if kind == "labels" else generator.normal(size=rows).astype(np.float32)
    held = choose_held_out_groups(labels, member, seed=0)
    assert 0.05 <= held.mean() <= 0.15
    assert not set(member[held]) & set(member[~held])
    assert np.array_equal(held, choose_held_out_groups(labels, member, seed=0))
    assert not np.array_equal(held, choose_held_out_groups(labels, member, seed=1))
    if kind == "labels":
        assert all(0.02 <= held[labels == label].mean() <= 0.2 for label in range(3))


def test_of_few_large_groups_the_nearest_is_held_out() -> None:
    groups = np.repeat([0, 1, 2], [50, 20, 30])
    held = choose_held_out_groups(np.arange(100) % 2, groups, seed=0)
    assert set(groups[held]) == {1}


def test_a_label_is_never_held_out_whole() -> None:
    groups = np.repeat(np.arange(10), 10)
    labels = np.where(groups == 3, 1, 0)  # all rows of label 1 are group 3's
    for seed in range(20):
        held = choose_held_out_groups(labels, groups, seed=seed)
        assert held.any() and not held[groups == 3].any()
    assert not choose_held_out_groups(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), seed=0).any()
    assert not choose_held_out_groups(np.array([0, 1, 0, 1]), np.zeros(4, int), seed=0).any()


def test_a_label_without_rows_changes_nothing() -> None:
    groups, labels = np.arange(60) // 3, np.arange(60) % 2
    shifted = choose_held_out_groups(labels + 2, groups, seed=0)
    assert np.array_equal(shifted, choose_held_out_groups(labels, groups, seed=0))


def test_groups_that_share_a_text_are_joined() -> None:
    groups, first = np.array([0, 0, 1, 1, 2, 3]), np.array([0, 1, 1, 3, 4, 4])
    assert merge_groups_by_text(groups, first).tolist() == [0, 0, 0, 0, 1, 1]
