"""What no contrast answers: a plan's agreement and its gain, the cost of allocating; no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy import stats

from gelora_cli.allocation.stability import verdict_word
from gelora_cli.metrics.definitions import Array
from gelora_cli.report.answers import contrast_across
from gelora_cli.report.comparison import Comparison
from gelora_cli.report.groups import RowGroup, rows_by_name
from gelora_cli.report.questions import Contrast
from gelora_cli.report.rows import Row
from gelora_cli.report.runs import UNIFORM, RowKey
from gelora_cli.report.settings import VARIANT

PERMUTATIONS = 10_000
FEWEST_PLANS = 3


@dataclass(frozen=True, kw_only=True)
class PlanGain:
    """A plan on a task.

    Attributes:
        task: the task.
        board: model, budget, modules and protocol, in words.
        method: the method, with what sets its row apart on this task.
        agreement: the share of its ranks above one that another sample keeps, the mean over seeds.
        gain: its difference from uniform ranks over the seeds that both have, in points.
        low: the lower end of the 95 % interval of the gain; None without a test.
        high: the upper end.
        verdict: what is said of its plans, such as `stable`; several where seeds differ.
    """

    task: str
    method: str
    agreement: float
    gain: float
    low: float | None = None
    high: float | None = None
    board: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Relation:
    """How two numbers of the same plans go together.

    Attributes:
        rho: Spearman's correlation within tasks.
        p: the share of permutations of the methods with one at least as large, either way.
        count: the number of plans.
        methods: whose they are.
    """

    rho: float
    p: float
    count: int
    methods: int


@dataclass(frozen=True, kw_only=True)
class SignalCost:
    """What a method takes before its first step, over one training; operations are None where they are not recorded."""

    method: str
    flops: float | None
    seconds: float


def plan_gains(groups: Sequence[RowGroup], comparisons: Sequence[Comparison]) -> list[PlanGain]:
    """Return every plan whose agreement was measured, with its gain over uniform ranks of the same group.

    Where uniform ranks are the plan, the gain is 0. Rows of another form of the update are left out: their difference
    from plain LoRA is that of the form, too.

    Args:
        groups: the rows that were compared.
        comparisons: the tested pairs of these groups, which must hold those with uniform LoRA.
    """
    gains = []
    for group in groups:
        names: dict[RowKey, str] = {}
        for name, row in rows_by_name(group.rows).items():  # alike on every task, whatever controls a row shows
            names.setdefault(row.key, name)
        for row in group.rows:
            agreement = mean_agreement(row)
            if agreement is None or VARIANT in dict(row.key.settings):
                continue
            result = contrast_across(Contrast(row.names[0], UNIFORM), [group], comparisons, ignore_trials=True)
            across = result.across
            if across is not None:
                gains.append(
                    PlanGain(
                        task=row.task,
                        method=names[row.key],
                        agreement=agreement,
                        gain=across.difference,
                        low=across.low,
                        high=across.high,
                        board=across.board,
                        verdict=_verdict_words(row),
                    )
                )
    return gains


def mean_agreement(row: Row) -> float | None:
    """Return the mean agreement of a row's plans; None where a plan has none."""
    agreements = [run.plan.stability.agreement for run in row.runs if run.plan.stability is not None]
    known = [agreement for agreement in agreements if agreement is not None]
    return fmean(known) if known and len(known) == len(row.runs) else None


def _verdict_words(row: Row) -> str:
    """Return the verdicts on a row's plans, each once."""
    words = [verdict_word(run.plan.stability) for run in row.runs if run.plan.stability is not None]
    return ", ".join(dict.fromkeys(words))


def relate(gains: Sequence[PlanGain]) -> Relation | None:
    """Return how agreement and gain go together; None below three plans, or where one of both never differs.

    Both become ranks within their task (of one board), less the mean of these, so that an easy task or a large budget
    makes no relation. rho is the correlation of all.

    p is the share of permutations of the methods, each with its gains on all of its tasks, whose |rho| is at least as
    large. A method that gains on one task often gains on the others, and its plans agree alike: its tasks are no
    independent plans. Permuted within each task alone, unrelated numbers of four or eight methods on four tasks were
    called related at p < 0.05 in 20 and 24 % of 200 simulations. Methods are permuted among those of the same tasks.
    """
    cells: dict[tuple[str, str], list[PlanGain]] = {}
    for gain in gains:
        cells.setdefault((gain.board, gain.task), []).append(gain)
    ranks: dict[str, dict[tuple[str, str], tuple[float, float]]] = {}  # by method, then by task: agreement and gain
    for cell, members in cells.items():
        agreements = _centred_ranks([gain.agreement for gain in members])
        values = _centred_ranks([gain.gain for gain in members])
        for gain, agreement, value in zip(members, agreements, values, strict=True):
            ranks.setdefault(gain.method, {})[cell] = float(agreement), float(value)
    pairs = [pair for of_method in ranks.values() for pair in of_method.values()]
    norm = math.sqrt(sum(agreement**2 for agreement, _ in pairs) * sum(value**2 for _, value in pairs))
    if len(gains) < FEWEST_PLANS or norm == 0:
        return None
    observed = sum(agreement * value for agreement, value in pairs)
    permuted = _permuted_products(list(ranks.values()))
    as_large = int((np.abs(permuted) >= abs(observed) - 1e-9).sum())
    return Relation(observed / norm, (as_large + 1) / (PERMUTATIONS + 1), len(gains), len(ranks))


def _permuted_products(methods: Sequence[Mapping[tuple[str, str], tuple[float, float]]]) -> Array:
    """Return sums of agreement times gain over all tasks, the gains those of a permuted method, (P,)."""
    by_cells: dict[frozenset[tuple[str, str]], list[Mapping[tuple[str, str], tuple[float, float]]]] = {}
    for method in methods:
        by_cells.setdefault(frozenset(method), []).append(method)
    generator = np.random.default_rng(0)
    sums: Array = np.zeros(PERMUTATIONS)
    for members in by_cells.values():
        lines = []
        for method in members:
            lines.append([method[cell] for cell in members[0]])
        table = np.array(lines)  # (methods, tasks, 2)
        products = table[:, :, 0] @ table[:, :, 1].T  # (methods, methods): the agreements of one, the gains of another
        places = np.arange(len(members))
        orders = generator.permuted(np.broadcast_to(places, (PERMUTATIONS, len(members))), axis=1)  # (P, methods)
        sums += products[places, orders].sum(axis=1)
    return sums


def _centred_ranks(values: Sequence[float]) -> Array:
    """Return the ranks of some values, ties sharing theirs, less their mean, (n,)."""
    ranks: Array = stats.rankdata(values)
    centred: Array = ranks - ranks.mean()
    return centred


def signal_costs(groups: Iterable[RowGroup]) -> list[SignalCost]:
    """Return what each method that measures takes before its first step, the mean over its rows, the dearest first."""
    seconds: dict[str, list[float]] = {}
    flops: dict[str, list[float | None]] = {}
    for row in _distinct_rows(groups):
        costs = row.costs
        if row.train_seconds <= 0 or (costs is not None and costs.allocation_flops == 0):
            continue
        measured = None if costs is None else costs.allocation_flops
        share = None if costs is None or measured is None else measured / costs.training_flops
        seconds.setdefault(row.method, []).append(row.start_seconds / row.train_seconds)
        flops.setdefault(row.method, []).append(share)
    shares = []
    for method, of_method in flops.items():
        known = [share for share in of_method if share is not None]
        mean = fmean(known) if len(known) == len(of_method) else None
        shares.append(SignalCost(method=method, flops=mean, seconds=fmean(seconds[method])))
    return sorted(shares, key=lambda cost: -cost.seconds)


def _distinct_rows(groups: Iterable[RowGroup]) -> Iterator[Row]:
    """Yield each row once; exempt rows stand in the groups of several budgets."""
    seen: set[tuple[object, ...]] = set()
    for group in groups:
        for row in group.rows:
            if row.key not in seen:
                seen.add(row.key)
                yield row
