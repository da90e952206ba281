"""Metrics of generated texts: exact match of the answer in a text, and the likelihood of the reference completion.

Letters: R runs, n examples, B resamples, as in `definitions`. No torch here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gelora_cli.core.registries import METRICS
from gelora_cli.metrics.base import Metric
from gelora_cli.metrics.definitions import Array, of_all, ratio, weighted_sums

if TYPE_CHECKING:
    import evaluate

NUMBER = r"(-?[0-9.,]+)"
"""What counts as a number behind a marker, as in lm-evaluation-harness (`gsm8k.yaml`, filter `strict-match`)."""
NOT_FINITE = -100.0
"""Log-likelihood of each token, in nats, of a completion whose likelihood is no finite number.

So a diverged run stays in a mean, and is the worst of it.
"""
LARGEST_EXPONENT = 700.0
"""The largest x for which exp(x) is sure to be a finite float64."""


@dataclass(frozen=True)
class AnswerFormat:
    """Where the answer stands in a text, and how two answers are compared.

    Attributes:
        marker: the answer follows its first place in the text; None: the whole text is the answer.
        form: `number` takes the number that follows the marker; `text` takes the rest of the marker's line.
    """

    marker: str | None = None
    form: str = "text"

    def find(self, text: str) -> str | None:
        """Return the answer in a text in the form in which it is compared, or None for a text without one.

        A number loses `,` and a final `.`, so that `1,000.` equals `1000`. It stays a text: `18.0` differs from `18`.
        """
        if self.marker is None:
            return text.strip()
        if self.form == "number":
            match = re.search(re.escape(self.marker) + r"\s*\$?" + NUMBER, text)
            return match[1].replace(",", "").removesuffix(".") if match else None
        _, marker, rest = text.partition(self.marker)
        return rest.partition("\n")[0].strip() if marker else None

    def points(self, texts: Sequence[str], references: Sequence[str]) -> Array:
        """Return 1 for each text with the answer of its reference, else 0, (n,); no answer is a wrong one."""
        points = []
        for text, reference in zip(texts, references, strict=True):
            answer = self.find(text)
            points.append(float(answer is not None and answer == self.find(reference)))
        return np.array(points)


def share_of_points(predicted: Array, true: Array, weights: Array) -> Array:
    """Return the mean of the points, 0 to 1: `predicted` (R, n), `weights` (B, n) to (B, R). `true` is ignored."""
    return np.asarray(weighted_sums(predicted, weights) / weights.sum(1, keepdims=True))


def mean_log_likelihood(predicted: Array, true: Array, weights: Array) -> Array:
    """Return the mean log-likelihood of a token in nats, (B, R): sum of all rows' sums / sum of all rows' tokens.

    Args:
        predicted: the sum over each row's completion tokens of log p(token | tokens before it), (R, n).
        true: the number of those tokens in each row, (n,).
        weights: how often each row is in each resample, (B, n).
    """
    tokens = weighted_sums(true[None], weights)  # (B, 1)
    return ratio(weighted_sums(predicted, weights), np.broadcast_to(tokens, (len(weights), len(predicted))))


def perplexity(log_likelihood: float) -> float:
    """Return exp(-log_likelihood), from the mean of a token in nats; lower is better, and 1 the least."""
    return math.exp(min(-log_likelihood, LARGEST_EXPONENT))


def finite_sums(sums: Sequence[float | None] | Array, tokens: Array) -> Array:
    """Return the sums of rows (n,) with `NOT_FINITE` for each token of a row whose sum is no finite number, or None."""
    values = np.array(sums, np.float64)  # None becomes nan
    return np.where(np.isfinite(values), values, NOT_FINITE * tokens)


@METRICS.register
class CompletionMetric(Metric):
    """Exact match of the generated answer, 0 to 1, and the log-likelihood of the reference in nats per token.

    Values of different tokenizers can't be compared by the log-likelihood, since their tokens are others.
    """

    name = "completions"
    target = "completions"
    reported = "log_likelihood"
    scores: ClassVar = {"exact_match": share_of_points, "log_likelihood": mean_log_likelihood}
    hub_types: ClassVar = {"exact_match": "exact_match"}

    def points_factor(self, value: str) -> float | None:
        """Return 100 for the exact match; nats have no scale from 0 to 100."""
        return 100.0 if value == "exact_match" else None

    def of_texts(
        self,
        texts: Sequence[str],
        references: Sequence[str],
        sums: Array,
        tokens: Array,
        answer: AnswerFormat | None = None,
    ) -> dict[str, float]:
        """Return all values of a split, and beside them two of which less is better: the loss, and the perplexity.

        Args:
            texts: the generated texts, (n,).
            references: the completions, (n,).
            sums: the log-likelihood of each completion, (n,); one that is not finite counts as `NOT_FINITE` per token.
            tokens: the tokens of each completion, (n,).
            answer: where the answer stands in a text; None: the whole text is the answer.
        """
        points = (answer or AnswerFormat()).points(texts, references)
        exact_match = float(of_all(share_of_points, points, tokens)[0])
        log_likelihood = float(of_all(mean_log_likelihood, finite_sums(sums, tokens), tokens)[0])
        values = {"exact_match": exact_match, "log_likelihood": log_likelihood}
        # Not `loss`, by which metrics.jsonl and the log mean the training loss.
        return values | {"completion_loss": -log_likelihood, "perplexity": perplexity(log_likelihood)}

    def evaluate_metric(self) -> evaluate.Metric:
        """Return a fresh metric of rows with a text and a log-likelihood, and references with a text and its tokens."""
        from gelora_cli.metrics.evaluate_metrics import CompletionRows

        return CompletionRows(self)
