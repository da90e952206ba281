"""Question answering: the span of a context that answers a question, if there is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.registries import METRICS, TASK_KINDS
from gelora_cli.data.windows import EncodedWindows
from gelora_cli.metrics.base import AnswerMetric, load_metric
from gelora_cli.metrics.definitions import Array, points_at_zero
from gelora_cli.models.heads import HeadSpec, SpanHead
from gelora_cli.tasks import answers
from gelora_cli.tasks.answers import PredictedAnswer, SpanOutput
from gelora_cli.tasks.base import Floats, Row, TaskKind, Verdict, describe_columns, is_constant

if TYPE_CHECKING:
    import torch

    from gelora_cli.data.collate import Batch

MOST_SPECIAL_TOKENS = 4
"""As many as the known tokenizers put around a question and a context."""


@TASK_KINDS.register
class QuestionAnswering(TaskKind[SpanOutput, EncodedWindows, list[PredictedAnswer]]):
    """Predict where the answer begins and ends: start and end logits (B, T) over the windows of a context."""

    name = "question_answering"
    target = "answers"
    peft_type = "QUESTION_ANS"
    hub_task = "question-answering"
    example_file = "questions.json"
    has_windows = True

    def setting_problems(self, task: TaskConfig) -> list[str]:
        """Return that windows have no room for context, or that the metric is not for such questions."""
        problems = (self._window_problem(task), self._metric_problem(task))
        return [problem for problem in problems if problem]

    def _window_problem(self, task: TaskConfig) -> str | None:
        """Return that a window is too short for a question, the overlap with the next window, and one token more."""
        room = task.max_length - task.max_question_length - MOST_SPECIAL_TOKENS
        if room > task.stride:  # else a window would begin where the one before it began
            return None
        shortest = task.max_question_length + MOST_SPECIAL_TOKENS + task.stride + 1
        return (
            f"task.max_length={task.max_length} leaves {max(room, 0)} tokens of context beside "
            f"task.max_question_length={task.max_question_length} and {MOST_SPECIAL_TOKENS} special tokens, which must "
            f"be more than task.stride={task.stride}: take task.max_length={shortest} or more, or lower the others"
        )

    def _metric_problem(self, task: TaskConfig) -> str | None:
        """Return that the metric is not made for questions that may have no answer, or only for such."""
        unanswerable = {name: cast(AnswerMetric, METRICS.get(name)).unanswerable for name in self.metrics}
        metric = task.metric or self.metrics[0]
        if unanswerable.get(metric, task.unanswerable) is task.unanswerable:  # an unknown metric has a check of its own
            return None
        fitting = next(name for name in self.metrics if unanswerable[name] is task.unanswerable)
        return (
            f"task.unanswerable={str(task.unanswerable).lower()} does not go with task.metric={metric}; take "
            f"task.metric={fitting}"
        )

    def column_problem(self, task: TaskConfig) -> str | None:
        """Accept two different columns, and no table of the user's own."""
        if task.source == "text":
            return f"task.kind={task.kind} needs task=squad data.squad=FILE.json; task=text takes labels or scores"
        if len(task.columns) == 2 and len(set(task.columns)) == 2:
            return None
        return f"{describe_columns(task)}: two different columns are accepted, one of questions and one of contexts"

    def head(self, task: TaskConfig) -> HeadSpec:
        """Return two outputs per token."""
        return SpanHead()

    def loss(self, output: SpanOutput, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean cross entropy of the start and end logits (B, T) and tokens (B, 2), without padding."""
        from torch.nn.functional import cross_entropy

        # Without padding, so that the loss of a row doesn't depend on how long the other rows of its batch are.
        padding = batch.inputs["attention_mask"] == 0  # (B, T)
        start_logits = output.start_logits.float().masked_fill(padding, -math.inf)  # (B, T)
        end_logits = output.end_logits.float().masked_fill(padding, -math.inf)  # (B, T)
        start = cross_entropy(start_logits, labels[:, 0], reduction="none")  # (B,)
        end = cross_entropy(end_logits, labels[:, 1], reduction="none")  # (B,)
        return (start + end) / 2

    def width(self, task: TaskConfig) -> int:
        """Return the count of null score, and of scores, first and last tokens of the n best spans."""
        return answers.reduced_width(task)

    def reduce(self, output: SpanOutput, batch: Batch, split: EncodedWindows, task: TaskConfig) -> torch.Tensor:
        """Return the exact n best spans of each window, (B, 1 + 3 n) float32."""
        return answers.reduce_windows(output, batch, split, task)

    def comparison_scores(self, values: Floats, task: TaskConfig) -> Floats:
        """Return the scores alone, (n, 1 + n_best)."""
        return answers.comparable_scores(values, task)

    def decode(self, split: EncodedWindows, values: Floats, task: TaskConfig) -> list[PredictedAnswer]:
        """Return every question's answer from the numbers of its windows."""
        return answers.decode_answers(split, values, task)

    def evaluate(
        self, task: TaskConfig, split: EncodedWindows, decoded: list[PredictedAnswer]
    ) -> tuple[dict[str, float], Verdict]:
        """Return the values of the task's metric over the questions; one answer to all of them is a collapse."""
        gold = answers.gold_references(split.source)
        metric = load_metric(task.metric)
        metric.add_batch(predictions=[answers.metric_row(row, task) for row in decoded], references=gold)
        values: dict[str, float] = metric.compute()
        not_finite = sum(not math.isfinite(row.null) for row in decoded)
        if not_finite:
            return values, Verdict(True, f"collapsed: the scores of {not_finite:,} questions are not finite numbers")
        texts = np.array([row.text(unanswerable=task.unanswerable) for row in decoded])
        gold_texts = np.array([" / ".join(row["answers"]["text"]) for row in gold])
        if is_constant(texts, gold_texts):
            if texts[0]:
                remark = f"one answer, {str(texts[0])[:40]!r}, for all {len(texts):,} questions"
            else:
                share = sum(not row["answers"]["text"] for row in gold) / len(gold)
                remark = f'"no answer" for all {len(texts):,} questions ({share:.4f} of them have none)'
            return values, Verdict(True, f"collapsed: {remark}")
        return values, Verdict()

    def rows(self, task: TaskConfig, split: EncodedWindows, decoded: list[PredictedAnswer]) -> list[Row]:
        """Return the answer and the gold answers of each question."""
        return [answers.prediction_row(split, row, answered, task) for row, answered in enumerate(decoded)]

    def files(self, task: TaskConfig, decoded: list[PredictedAnswer]) -> dict[str, dict[str, Any]]:
        """Return the files of SQuAD's official script."""
        return answers.official_files(decoded, task)

    def arrays(self, task: TaskConfig, reported: str, rows: Sequence[Row]) -> tuple[Array, Array]:
        """Return each question's points, (n,), and zeros, since the points already compare with the gold answers."""
        metric = cast(AnswerMetric, METRICS.get(task.metric))
        points = metric.points(reported, [row["prediction"] for row in rows], [row["label"] for row in rows])
        if task.unanswerable:
            null = np.array([row["scores"]["null"] for row in rows], np.float64)
            span = np.array([row["scores"]["span"] for row in rows], np.float64)
            points = points_at_zero(points, np.array([bool(row["label"]) for row in rows]), null - span)
        return points, np.zeros(len(rows))

    def packed(self, task: TaskConfig, row: Row) -> object:
        """Return the answer; where there may be none also the scores that decide it, of "no answer" and of the span."""
        if not task.unanswerable:
            return row["prediction"]
        return [row["prediction"], row["scores"]["null"], row["scores"]["span"]]

    def unpacked(self, task: TaskConfig, value: Any) -> Row:
        """Return the answer, and the two scores where there may be no answer."""
        if not task.unanswerable:
            return {"prediction": value}
        answer, null, span = value
        return {"prediction": answer, "scores": {"null": null, "span": span}}

    def probabilities(self, task: TaskConfig, row: Row) -> dict[str, Any]:
        """Return the probability of the answer, and of "no answer" if there may be none."""
        scores: dict[str, float] = row["scores"]
        return {key: scores[key] for key in ("probability", "no_answer_probability") if key in scores}
