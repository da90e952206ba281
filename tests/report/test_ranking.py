"""Mean ranks over tasks, the critical difference, and whether the order is the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gelora_cli.report.ranking import critical_difference, kendall_w, rank_methods

ORDER = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}


@pytest.mark.parametrize(("methods", "blocks", "ranks"), [(2, 10, 0.62), (5, 10, 1.93), (10, 10, 4.28), (8, 4, 5.25)])
def test_critical_difference(methods: int, blocks: int, ranks: float) -> None:
    # Demsar's q are 1.960, 2.728 and 3.164 for 2, 5 and 10 methods (JMLR 7, 2006, table 5a).
    assert critical_difference(methods, blocks) == pytest.approx(ranks, abs=0.01)


def test_one_order_everywhere_is_full_concordance() -> None:
    ranking = rank_methods({f"task {number}": ORDER for number in range(8)})
    assert ranking.mean_ranks == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert ranking.concordance == pytest.approx(1)
    assert ranking.p is not None and ranking.p < 0.001
    assert ranking.critical_difference == pytest.approx(1.66, abs=0.01)
    assert ranking.shown_pairs == [("a", "c"), ("a", "d"), ("b", "d")]
    assert "3 of 6 pairs exceed it" in ranking.describe()


def test_few_tasks_show_nothing() -> None:
    ranking = rank_methods({"cola": ORDER, "rte": ORDER})
    assert ranking.shown_pairs == [] and ranking.critical_difference > 3


def test_concordance_is_friedmans_statistic() -> None:
    values = np.round(np.random.default_rng(0).normal(size=(6, 5)), 0)  # with ties
    ranks = stats.rankdata(-values, axis=1)
    expected, p = stats.friedmanchisquare(*values.T)
    concordance = kendall_w(ranks)
    assert concordance is not None and 6 * 4 * concordance == pytest.approx(expected)
    tasks = {f"task {number}": dict(zip("abcde", row.tolist(), strict=True)) for number, row in enumerate(values)}
    ranking = rank_methods(tasks)
    assert ranking.p == pytest.approx(float(p), abs=0.05)


def test_equal_methods_have_no_concordance() -> None:
    ranking = rank_methods({"cola": dict.fromkeys("abc", 0.5), "rte": dict.fromkeys("abc", 0.7)})
    assert (ranking.concordance, ranking.p, set(ranking.mean_ranks.values())) == (None, None, {2.0})
    assert ranking.describe().endswith("All methods are equal.")


def test_methods_that_lack_a_block_are_left_out_and_named() -> None:
    ranking = rank_methods({"cola": ORDER, "rte": {"b": 0.3, "a": 0.2, "e": 0.1}})
    assert (set(ranking.mean_ranks), ranking.left_out) == ({"a", "b"}, ("c", "d", "e"))
    with pytest.raises(ValueError, match="1 methods in all of 2 blocks"):
        rank_methods({"cola": ORDER, "rte": {"a": 0.2}})
