"""The metrics as subclasses of `evaluate.Metric` that need no network, script, lock or file."""

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
    from gelora_cli.metrics.completions import CompletionMetric

Rows: TypeAlias = Sequence[Mapping[str, Any]]
"""One mapping for each question, in the form of `evaluate`."""

CHOSEN = "chosen_on_eval"
LONGEST_TEXT = 1_000_000
"""The most words of a prediction and its gold answer together, and so the largest denominator of an F1."""


class _LocalMetric(evaluate.Metric):  # type: ignore[misc]
    """A metric that collects predictions and references in memory.

    `add_batch(predictions=, references=)` adds a batch, and `compute()` returns the values over all of them and forgets
    them. Instances share nothing, neither in a process nor between processes.
    """

    def __init__(self, entry: Metric) -> None:
        self.entry = entry
        # A fixed seed keeps evaluate from reading numpy's global random state; no metric here draws anything.
        super().__init__(keep_in_memory=True, experiment_id=f"{os.getpid()}-{uuid.uuid4().hex}", seed=0)

    def _build_data_dir(self) -> str:
        # evaluate makes this directory even for a metric in memory, which fails in a read-only home.
        return os.path.join(self._data_dir_root, self.name)  # noqa: PTH118

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(description=self.entry.__doc__ or "", citation="", features=self.features_of_a_row())

    def features_of_a_row(self) -> datasets.Features:
        """Return the types of `predictions` and `references`."""
        raise NotImplementedError

    def compute(self, **arguments: object) -> dict[str, float]:
        """Return the metric's values over everything added, and over `predictions=` and `references=` if given.

        Raises:
            GeloraError: nothing was added.
        """
        if not arguments and self.writer is None:
            raise self._no_predictions()
        values: dict[str, float] = super().compute(**arguments)
        return values

    def _no_predictions(self) -> GeloraError:
        return GeloraError(f"{self.title}: no predictions were added. Evaluate at least one example.")

    @property
    def title(self) -> str:
        """Return the name of the metric in messages."""
        return type(self.entry).__name__


class NumberMetric(_LocalMetric):
    """A metric of one number per example, whose values its entry in the registry defines."""

    remedy = "take the argmax"
    """What turns outputs into labels."""

    @property
    def dtype(self) -> str:
        """Return the type of a prediction and of a reference."""
        return "float64" if self.entry.target == "scores" else "int64"

    def features_of_a_row(self) -> datasets.Features:
        """Return one number each."""
        return datasets.Features({name: datasets.Value(self.dtype) for name in ("predictions", "references")})

    def add_batch(
        self, *, predictions: ArrayLike | None = None, references: ArrayLike | None = None, **other: object
    ) -> None:
        """Add predictions and references, (n,) each.

        Raises:
            GeloraError: fractions instead of labels, which evaluate would silently truncate.
        """
        for name, values in (("predictions", predictions), ("references", references)):
            numbers = np.asarray(values)
            if self.dtype == "int64" and numbers.dtype.kind == "f" and numbers.size:
                raise GeloraError(f"{self.title}: {name} are fractions, labels are accepted; {self.remedy}.")
        super().add_batch(predictions=predictions, references=references, **other)

    def _compute(self, predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
        predicted = np.asarray(predictions)
        if not predicted.size:
            raise self._no_predictions()
        return self.entry.compute(predicted, np.asarray(references))


class LabelSetMetric(NumberMetric):
    """A metric of several labels per example: predictions and references have a 0 or 1 for each label, (n, C)."""

    remedy = "say for each label whether its logit is above 0"

    def features_of_a_row(self) -> datasets.Features:
        """Return a list of whole numbers each."""
        row = datasets.Sequence(datasets.Value(self.dtype))
        return datasets.Features({"predictions": row, "references": row})


class CompletionRows(_LocalMetric):
    """Exact match of whole texts without blanks around them, and the likelihood of the references.

    A prediction is {"text", "log_likelihood"}: the generated text, and the sum over the reference's tokens of log p in
    nats. A reference is {"text", "tokens"}, with the number of those tokens.
    """

    entry: CompletionMetric

    def features_of_a_row(self) -> datasets.Features:
        """Return a text and a number each."""
        text = datasets.Value("string")
        return datasets.Features(
            {
                "predictions": {"text": text, "log_likelihood": datasets.Value("float64")},
                "references": {"text": text, "tokens": datasets.Value("int64")},
            }
        )

    def _compute(self, predictions: Rows, references: Rows) -> dict[str, float]:
        if not len(references):
            raise self._no_predictions()
        return self.entry.of_texts(
            [row["text"] for row in predictions],
            [row["text"] for row in references],
            np.array([row["log_likelihood"] for row in predictions]),
            np.array([row["tokens"] for row in references]),
        )


class SquadMetric(_LocalMetric):
    """SQuAD v1.1: exact match and F1 of the words, 0 to 100; each question counts its best gold answer.

    Texts are compared in lower case, without punctuation, articles and extra blanks. F1 = 2 P R / (P + R), with P and
    R the shares of common words (as a multiset) among those of the prediction and of the gold answer
    (Rajpurkar et al., EMNLP 2016). A question's row is {"id", "prediction_text"} and
    {"id", "answers": {"text", "answer_start"}}.
    """

    entry: AnswerMetric

    def features_of_a_row(self) -> datasets.Features:
        """Return the types that `evaluate` declares for its own SQuAD metrics."""
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
        by_id = self._by_id(predictions, references)
        golds = [row["answers"]["text"] for row in references]
        for row, gold in zip(references, golds, strict=True):
            if not gold:
                raise GeloraError(f"squad: question {row['id']} has no gold answer; squad_v2 takes such questions.")
        texts = [by_id[row["id"]]["prediction_text"] for row in references]
        return {name: 100 * float(self.entry.points(name, texts, golds).mean()) for name in self.entry.scores}

    def _by_id(self, predictions: Rows, references: Rows) -> dict[str, Any]:
        """Return the prediction of each question by its id.

        Raises:
            GeloraError: no questions, a question without a prediction, a prediction without a question, or an id twice.
        """
        if not len(references):
            raise self._no_predictions()
        by_id = {row["id"]: row for row in predictions}
        asked = [row["id"] for row in references]
        if len(set(asked)) < len(asked) or len(by_id) < len(predictions):
            raise GeloraError(f"{self.title}: an id comes twice; each question counts once.")
        unpaired = sorted(by_id.keys() ^ set(asked))
        if unpaired:
            what = "a prediction" if unpaired[0] in by_id else "a question"
            raise GeloraError(
                f"{self.title}: {len(unpaired)} ids are not on both sides, the first, {unpaired[0]}, is only {what}; "
                "every question needs its prediction."
            )
        return by_id


class SquadV2Metric(SquadMetric):
    """SQuAD v2.0: exact match and F1 where a question may have no answer, 0 to 100.

    A prediction is its best span and a score for "no answer", and counts as no answer if that score is above the
    threshold 0. An unanswerable question gives 100 if "no answer" is predicted, else 0. `best_..._chosen_on_eval` is
    the highest value over all thresholds, and `..._threshold` the threshold that gives it. It is chosen on the
    evaluated data itself, so it must not be compared with the value at a fixed threshold (Rajpurkar, Jia, Liang,
    ACL 2018). Rows are those of `SquadMetric`, with `no_answer_score` in the prediction.
    """

    def _prediction(self) -> dict[str, datasets.Value]:
        return super()._prediction() | {"no_answer_score": datasets.Value("float64")}

    def _compute(self, predictions: Rows, references: Rows) -> dict[str, float]:
        by_id = self._by_id(predictions, references)
        rows = [by_id[row["id"]] for row in references]
        texts = [row["prediction_text"] for row in rows]
        golds = [row["answers"]["text"] for row in references]
        answerable = np.array([bool(gold) for gold in golds])
        no_answer = np.array([row["no_answer_score"] for row in rows])
        empty = np.array([not text for text in texts])
        values: dict[str, float] = {}
        best: dict[str, float] = {}
        for name in self.entry.scores:
            raw = self.entry.points(name, texts, golds)
            at_zero = points_at_zero(raw, answerable, no_answer)
            values |= {name: 100 * float(at_zero.mean())}
            for part, is_part in (("HasAns", answerable), ("NoAns", ~answerable)):
                if is_part.any():
                    values[f"{part}_{name}"] = 100 * float(at_zero[is_part].mean())
            value, threshold = best_threshold(raw, answerable, no_answer, empty)
            best |= {f"best_{name}_{CHOSEN}": 100 * value, f"best_{name}_{CHOSEN}_threshold": threshold}
        return values | best


def best_threshold(raw: Array, answerable: Array, no_answer: Array, empty: Array) -> tuple[float, float]:
    """Return the highest mean score over all thresholds on the no-answer score, and the lowest threshold for it.

    Args:
        raw: the scores of the best spans, (n,).
        answerable: whether there is an answer, (n,).
        no_answer: the scores of "no answer", (n,).
        empty: whether the best span itself is empty, (n,).

    A question counts as answered if its no-answer score is at most the threshold, or nan; a threshold below all scores
    answers nothing. An answered question that has no answer loses its point, unless the span is empty. Totals are exact
    fractions, so that two thresholds with the same F1 tie. The official script differs in three points: it sums floats,
    so that such a tie may go to the higher threshold; it calls the threshold below all scores 0.0, since its scores are
    probabilities; and it may cut between equal scores, which no threshold can.
    """
    # No finite threshold turns a question into "no answer" whose score is nan, or as low as a finite number can be.
    has_threshold_below = no_answer > np.finfo(np.float64).min
    no_answer = np.where(has_threshold_below, no_answer, -np.inf)
    order = np.argsort(no_answer, kind="stable")
    scores = no_answer[order]
    # From the lowest threshold up, each step answers one question more: it gains the points of its span, or loses the
    # point of an unanswerable question. totals[i] is the total when the first i questions are answered.
    gains, unit = _to_common_denominator(np.where(answerable, raw, np.where(empty, 0.0, -1.0))[order])
    totals = list(accumulate(gains, initial=unit * int((~answerable).sum())))
    # Only between different scores is there a threshold, and no finite one above a score that is infinite.
    reachable = [bool(scores[0] > -np.inf), *(scores[1:] > scores[:-1]).tolist(), bool(scores[-1] < np.inf)]
    best = max(total for total, can_be in zip(totals, reachable, strict=True) if can_be)
    index = next(i for i, total in enumerate(totals) if reachable[i] and total == best)
    return float(Fraction(best, unit * len(raw))), _threshold_below(scores, index)


def _threshold_below(scores: Array, index: int) -> float:
    """Return the lowest finite threshold at which the first `index` of ascending scores (n,) are answered, no more."""
    if index and np.isfinite(scores[index - 1]):
        return float(scores[index - 1])
    # None is answered, or only those at -inf: the threshold lies just below the next score, if there is one.
    return float(np.nextafter(scores[index], -np.inf)) if index < len(scores) else 0.0


def _to_common_denominator(shares: Array) -> tuple[list[int], int]:
    """Return shares (n,) of small whole numbers, such as 2/3, as numerators of one common denominator."""
    values, position = np.unique(shares, return_inverse=True)
    exact = [Fraction(float(value)).limit_denominator(LONGEST_TEXT) for value in values]
    unit = math.lcm(*(share.denominator for share in exact))
    numerators = [share.numerator * (unit // share.denominator) for share in exact]
    return [numerators[index] for index in position.tolist()], unit
