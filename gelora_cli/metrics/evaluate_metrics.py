"""The metrics as `evaluate.Metric` classes of our own: no network, no script, no lock, no file."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike

from gelora_cli.core.errors import GeloraError
from gelora_cli.metrics.definitions import Array, points_at_zero

if TYPE_CHECKING:
    from gelora_cli.metrics.base import AnswerMetric, Metric

Rows: TypeAlias = Sequence[Mapping[str, Any]]
"""One mapping for each question, as `evaluate` has them."""

CHOSEN = "chosen_on_eval"
LONGEST_TEXT = 1_000_000
"""Words of a prediction and its gold answer together, at most: an F1 is a share with no larger denominator."""


class _LocalMetric(evaluate.Metric):  # type: ignore[misc]
    """Predictions and references, collected in memory.

    Batches come by `add_batch(predictions=, references=)`, `compute()` gives the values over all of them and forgets
    them. An instance shares nothing with another one, in this process or in any other.
    """

    def __init__(self, entry: Metric) -> None:
        self.entry = entry
        # A fixed seed keeps evaluate from reading numpy's global random state; no metric here draws anything.
        super().__init__(keep_in_memory=True, experiment_id=f"{os.getpid()}-{uuid.uuid4().hex}", seed=0)

    def _build_data_dir(self) -> str:
        # evaluate makes this directory even for a metric in memory, which a read-only home refuses.
        return os.path.join(self._data_dir_root, self.name)  # noqa: PTH118

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(description=self.entry.__doc__ or "", citation="", features=self.features_of_a_row())

    def features_of_a_row(self) -> datasets.Features:
        """The types of `predictions` and `references`."""
        raise NotImplementedError

    def compute(self, **given: object) -> dict[str, float]:
        """The metric's values over everything added, and over `predictions=` and `references=` if given.

        Raises:
            GeloraError: nothing was added.
        """
        if not given and self.writer is None:
            raise self._nothing()
        values: dict[str, float] = super().compute(**given)
        return values

    def _nothing(self) -> GeloraError:
        return GeloraError(f"{self.title}: no predictions were added. Evaluate at least one example.")

    @property
    def title(self) -> str:
        """What messages call it."""
        return type(self.entry).__name__


class NumberMetric(_LocalMetric):
    """A metric of one number per example, of the values that its entry in the registry defines."""

    @property
    def dtype(self) -> str:
        """The type of a prediction and of a reference."""
        return "float64" if self.entry.target == "scores" else "int64"

    def features_of_a_row(self) -> datasets.Features:
        """One number each."""
        return datasets.Features({name: datasets.Value(self.dtype) for name in ("predictions", "references")})

    def add_batch(
        self, *, predictions: ArrayLike | None = None, references: ArrayLike | None = None, **other: object
    ) -> None:
        """Add predictions and references, (n,) each.

        Raises:
            GeloraError: values with a fraction where labels are expected: evaluate would cut it off.
        """
        for name, values in (("predictions", predictions), ("references", references)):
            numbers = np.asarray(values)
            if self.dtype == "int64" and numbers.dtype.kind == "f" and numbers.size:
                raise GeloraError(f"{self.title}: {name} are fractions, labels are accepted; take the argmax.")
        super().add_batch(predictions=predictions, references=references, **other)

    def _compute(self, predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
        predicted = np.asarray(predictions)
        if not predicted.size:
            raise self._nothing()
        return self.entry.compute(predicted, np.asarray(references))


class SquadMetric(_LocalMetric):
    """SQuAD v1.1: exact match and F1 of the words, of each question the best over its gold answers, 0 to 100.

    A text is compared in lower case, without punctuation, articles and extra blanks. F1 = 2 P R / (P + R), with P and
    R the shares of common words (as a multiset) among those of the prediction and of the gold answer
    (Rajpurkar et al., EMNLP 2016). A question's row is {"id", "prediction_text"} and
    {"id", "answers": {"text", "answer_start"}}.
    """

    entry: AnswerMetric

    def features_of_a_row(self) -> datasets.Features:
        """As `evaluate` has them for its own SQuAD metrics."""
        answers = datasets.Features({"text": datasets.Value("string"), "answer_start": datasets.Value("int32")})
        return datasets.Features(
            {
                "predictions": self._prediction(),
                "references": {"id": datasets.Value("string"), "answers": datasets.Sequence(answers)},
            }
        )

    def _prediction(self) -> dict[str, datasets.Value]:
        return {"id": datasets.Value("string"), "prediction_text": datasets.Value("string")}

    def _compute(self, predictions: Rows, references: Rows) -> dict[str, float]:
        given = self._by_id(predictions, references)
        golds = [row["answers"]["text"] for row in references]
        if without := [row["id"] for row, gold in zip(references, golds, strict=True) if not gold]:
            raise GeloraError(f"squad: question {without[0]} has no gold answer; squad_v2 takes such questions.")
        texts = [given[row["id"]]["prediction_text"] for row in references]
        return {name: 100 * float(self.entry.points(name, texts, golds).mean()) for name in self.entry.scores}

    def _by_id(self, predictions: Rows, references: Rows) -> dict[str, Any]:
        """Predictions by question.

        Raises:
            GeloraError: no questions, one without a prediction or twice, or a prediction for none of them.
        """
        if not len(references):
            raise self._nothing()
        given = {row["id"]: row for row in predictions}
        asked = [row["id"] for row in references]
        if len(set(asked)) < len(asked) or len(given) < len(predictions):
            raise GeloraError(f"{self.title}: an id comes twice; each question counts once.")
        if odd := sorted(given.keys() ^ set(asked)):
            what = "a prediction" if odd[0] in given else "a question"
            raise GeloraError(
                f"{self.title}: {len(odd)} ids are not on both sides, the first, {odd[0]}, is only {what}; "
                "every question needs its prediction."
            )
        return given


class SquadV2Metric(SquadMetric):
    """SQuAD v2.0: exact match and F1 where a question may have no answer, 0 to 100.

    A prediction is its best span and a score for "no answer"; above the threshold 0 it counts as no answer. An
    unanswerable question is worth 100 if nothing is predicted, else 0. `best_..._chosen_on_eval` is the highest over
    all thresholds, `..._threshold` that threshold: chosen on the evaluated data itself, so never to be compared with
    a fixed one (Rajpurkar, Jia, Liang, ACL 2018). Rows as for `SquadMetric`, with `no_answer_score` in the prediction.
    """

    def _prediction(self) -> dict[str, datasets.Value]:
        return super()._prediction() | {"no_answer_score": datasets.Value("float64")}

    def _compute(self, predictions: Rows, references: Rows) -> dict[str, float]:
        given = self._by_id(predictions, references)
        rows = [given[row["id"]] for row in references]
        texts, golds = [row["prediction_text"] for row in rows], [row["answers"]["text"] for row in references]
        answerable = np.array([bool(gold) for gold in golds])
        no_answer = np.array([row["no_answer_score"] for row in rows])
        empty = np.array([not text for text in texts])
        values: dict[str, float] = {}
        best: dict[str, float] = {}
        for name in self.entry.scores:
            raw = self.entry.points(name, texts, golds)
            at_zero = points_at_zero(raw, answerable, no_answer)
            values |= {name: 100 * float(at_zero.mean())}
            for part, chosen in (("HasAns", answerable), ("NoAns", ~answerable)):
                values |= {f"{part}_{name}": 100 * float(at_zero[chosen].mean())} if chosen.any() else {}
            value, threshold = best_threshold(raw, answerable, no_answer, empty)
            best |= {f"best_{name}_{CHOSEN}": 100 * value, f"best_{name}_{CHOSEN}_threshold": threshold}
        return values | best


def best_threshold(raw: Array, answerable: Array, no_answer: Array, empty: Array) -> tuple[float, float]:
    """The highest mean score over all thresholds on the no-answer score, and the lowest threshold that gives it.

    `raw` (n,) are the scores of the best spans, `answerable` (n,) whether there is an answer, `no_answer` (n,) the
    scores of "no answer", `empty` (n,) whether the best span itself is empty. A question counts as answered if its
    no-answer score is at most the threshold, or no number; below all of them nothing is answered. An answered question
    without an answer loses its point unless the span is empty. Totals are exact: two thresholds that give the same F1
    tie, whatever floats would make of their sums. (The official script sums floats, so that such a tie may go to the
    higher threshold. It calls the threshold below all scores 0.0, its scores being probabilities, and may cut between
    equal scores, which no threshold does.)
    """
    no_answer = np.where(np.isnan(no_answer), -np.inf, no_answer)
    order = np.argsort(no_answer, kind="stable")
    scores = no_answer[order]
    gains, unit = _whole_numbers(np.where(answerable, raw, np.where(empty, 0.0, -1.0))[order])
    totals = list(accumulate(gains, initial=unit * int((~answerable).sum())))
    reachable = [bool(scores[0] > -np.inf), *(scores[1:] > scores[:-1]).tolist(), True]
    best = max(total for total, can_be in zip(totals, reachable, strict=True) if can_be)
    index = next(i for i, total in enumerate(totals) if reachable[i] and total == best)
    threshold = float(scores[index - 1] if index else np.nextafter(scores[0], -np.inf))
    return float(Fraction(best, unit * len(raw))), threshold


def _whole_numbers(shares: Array) -> tuple[list[int], int]:
    """Shares (n,) of small whole numbers, such as 2/3, in multiples of one unit: numerators and their denominator."""
    values, place = np.unique(shares, return_inverse=True)
    exact = [Fraction(float(value)).limit_denominator(LONGEST_TEXT) for value in values]
    unit = math.lcm(*(share.denominator for share in exact))
    numerators = [share.numerator * (unit // share.denominator) for share in exact]
    return [numerators[index] for index in place.tolist()], unit
