"""Text generation: continue a prompt with the completion that a model learned to write.

Letters: B rows of a batch, T tokens of its longest row, K positions whose logits are kept, V vocabulary, N the most new
tokens of a row (`task.max_new_tokens`), W numbers kept of each row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_names, markdown_code
from gelora_cli.core.registries import METRICS, TASK_KINDS
from gelora_cli.data.encoded_completions import EncodedCompletions
from gelora_cli.metrics.completions import AnswerFormat, CompletionMetric, finite_sums
from gelora_cli.metrics.definitions import Array
from gelora_cli.models.files import GENERATION_FILES
from gelora_cli.models.heads import HeadSpec, LanguageHead
from gelora_cli.tasks.base import Floats, Row, TaskKind, Verdict, describe_columns

if TYPE_CHECKING:
    import torch
    from torch import nn

    from gelora_cli.data.collate import Batch

ENDED = -2
"""Takes the place of the end token in the kept numbers: a text may end with the last token that is allowed."""


class CausalOutput(Protocol):
    """The output of a decoder with a language head."""

    logits: torch.Tensor  # (B, K, V), of the last K positions


@dataclass(frozen=True)
class Continuation:
    """What a model makes of one prompt.

    Attributes:
        text: the generated text, without special tokens.
        log_likelihood: the sum of log p over the tokens of the reference completion, in nats; 0 without a reference.
        tokens: the tokens of the reference completion; 0 without one.
        new_tokens: generated tokens, with the end token.
        at_limit: whether `task.max_new_tokens` was reached without an end token.
    """

    text: str
    log_likelihood: float
    tokens: int
    new_tokens: int
    at_limit: bool


@TASK_KINDS.register
class Generation(TaskKind[CausalOutput, EncodedCompletions, list[Continuation]]):
    """Write the completion of a prompt: the next token's logits (B, K, V) of a decoder with its language head."""

    name = "generation"
    target = "completions"
    packs_rows = True
    peft_type = "CAUSAL_LM"
    hub_task = "text-generation"
    example_file = "prompts.jsonl"
    model_files = GENERATION_FILES

    def setting_problems(self, task: TaskConfig) -> list[str]:
        """Return that a number is looked for behind no marker, or that the marker is empty."""
        if task.answer_marker is not None and not task.answer_marker.strip():
            return ["task.answer_marker is empty; give the text before an answer, such as '####', or null"]
        if task.answer_form == "number" and task.answer_marker is None:
            return ["task.answer_form=number needs task.answer_marker, the text before the number, such as '####'"]
        return []

    def column_problem(self, task: TaskConfig) -> str | None:
        """Accept no columns, or one of conversations; prompts are named by `task.prompt` and `task.completion`."""
        has_templates = task.prompt is not None or task.completion is not None
        if not task.columns or (len(task.columns) == 1 and not has_templates):
            return None
        return (
            f"{describe_columns(task)}: task.kind={task.kind} takes one column of conversations, or task.prompt and "
            "task.completion instead"
        )

    def label_problem(self, task: TaskConfig) -> str | None:
        """Accept no labels."""
        if not task.labels:
            return None
        return f"task.labels=[{join_names(task.labels)}]: task.kind={task.kind} has no labels; leave it out"

    def new_tokens(self, task: TaskConfig) -> int:
        """Return `task.max_new_tokens`."""
        return task.max_new_tokens

    def head(self, task: TaskConfig) -> HeadSpec:
        """Return the language head of the pretrained model."""
        return LanguageHead()

    def model_inputs(self, batch: Batch) -> dict[str, Any]:
        """Return the inputs, and how many positions at the end of the rows need logits: from the first label's on.

        The logits of a large vocabulary are the largest tensor of a forward pass.
        """
        if batch.labels is None or batch.first_label < 1:
            return batch.inputs
        # The token at place t is predicted by the logits at t - 1.
        return batch.inputs | {"logits_to_keep": batch.labels.shape[1] - batch.first_label + 1}

    def loss(self, output: CausalOutput, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
        """Return the sum of -log p over the learned tokens of each row, (B,), in nats.

        The sum over a global batch is divided by all its learned tokens (`EncodedSplit.loss_divisor`), so that each
        token counts the same: L = sum_r sum_t -log p(x_rt | x_r,<t) / number of learned tokens.
        """
        return batch.sum_rows(_token_losses(output.logits, labels))

    def width(self, task: TaskConfig) -> int:
        """Return 2 + N: the loss, the learned tokens, and the generated ones."""
        return 2 + task.max_new_tokens

    def reduce(self, output: CausalOutput, batch: Batch, split: EncodedCompletions, task: TaskConfig) -> torch.Tensor:
        """Return the loss of each row and its learned tokens, (B, 2) float32; the rest of W needs more passes."""
        import torch

        if batch.labels is None:
            return torch.zeros(len(batch), 2, device=output.logits.device)
        learned = (batch.labels[:, 1:] >= 0).sum(1)  # (B,)
        return torch.stack([self.loss(output, batch, batch.labels), learned.float()], dim=1)

    def outputs(self, model: nn.Module, batch: Batch, split: EncodedCompletions, task: TaskConfig) -> torch.Tensor:
        """Return loss and learned tokens of each row, and the tokens generated from its prompt, (B, 2 + N) float32.

        Ids of tokens below 2^24 are exact in float32. Behind the end stands -1.
        """
        import torch

        from gelora_cli.models.generation import declared_ends, greedy, pad_left

        device = batch.inputs["input_ids"].device
        likelihoods = []  # (B of a part, 2) each
        if batch.labels is None:
            likelihoods.append(torch.zeros(len(batch), 2, device=device))
        else:
            for part in self._parts(model, batch):
                likelihoods.append(self.reduce(model(**self.model_inputs(part)), part, split, task))
        pad = int(split.tokenizer.pad_token_id or 0)  # any id will do, since padding is masked
        prompts, mask = pad_left([split.prompt(row) for row in batch.rows], pad, device)
        ends = {*split.end_ids, *declared_ends(model)}
        generated = greedy(model, prompts, mask, end_ids=ends, limit=task.max_new_tokens, pad=pad)  # (B, N)
        is_end = torch.isin(generated, torch.tensor(sorted(ends), device=device))
        return torch.cat([torch.cat(likelihoods), generated.masked_fill(is_end, ENDED).float()], dim=1)

    def compared_width(self, task: TaskConfig) -> int:
        """Return 1."""
        return 1

    def compared(self, model: nn.Module, batch: Batch, split: EncodedCompletions, task: TaskConfig) -> torch.Tensor:
        """Return the mean log p of all tokens of a row but the first, prompt and completion alike, (B, 1)."""
        import torch

        means = []
        for part in self._parts(model, replace(batch, labels=None)):
            tokens = part.inputs["input_ids"].masked_fill(part.inputs["attention_mask"] == 0, -1)  # (B, T)
            sums = part.sum_rows(_token_losses(model(**part.inputs).logits, tokens))  # (B,)
            means.append(-sums / (tokens[:, 1:] >= 0).sum(1).clamp(min=1))
        return torch.cat(means)[:, None]

    def _parts(self, model: nn.Module, batch: Batch) -> Iterator[Batch]:
        """Yield parts of a batch whose scores over the vocabulary fit into memory together, where nothing trains."""
        from gelora_cli.models.generation import rows_scored_at_once

        vocabulary: int = model.config.get_text_config().vocab_size  # type: ignore[operator,union-attr]
        positions = self.model_inputs(batch).get("logits_to_keep", batch.inputs["input_ids"].shape[1])
        return batch.parts(rows_scored_at_once(positions, vocabulary))

    def decode(self, split: EncodedCompletions, values: Floats, task: TaskConfig) -> list[Continuation]:
        """Return the text of each row's generated tokens, and the likelihood of its completion."""
        continuations = []
        for loss, learned, *generated in values.tolist():
            ids = [int(token) for token in generated if token >= 0]
            ended = ENDED in generated
            continuations.append(
                Continuation(
                    text=str(split.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)),
                    log_likelihood=0.0 - loss,  # not -0.0
                    tokens=int(learned),
                    new_tokens=len(ids) + ended,
                    at_limit=not ended,
                )
            )
        return continuations

    def evaluate(
        self, task: TaskConfig, split: EncodedCompletions, decoded: list[Continuation]
    ) -> tuple[dict[str, float], Verdict]:
        """Return exact match, log-likelihood, loss and perplexity; one text for all prompts is a collapse.

        Raises:
            GeloraError: no row has a token of its completion.
        """
        references = split.references
        assert references is not None
        tokens = np.array([row.tokens for row in decoded])
        if not tokens.any():
            raise GeloraError(
                f"{split.name}: no token of any completion is left within task.max_length={task.max_length}; raise it, "
                "or shorten the prompts"
            )
        texts, sums = [row.text for row in decoded], np.array([row.log_likelihood for row in decoded])
        values = _metric(task).of_texts(texts, references, sums, tokens, _answer_format(task))
        return values, _verdict(task, texts, references, sums, decoded)

    def rows(self, task: TaskConfig, split: EncodedCompletions, decoded: list[Continuation]) -> list[Row]:
        """Return the generated text and the reference of each row; with a marker also the answer in the text."""
        references: Sequence[str | None] = split.references or [None] * len(decoded)
        ids = np.asarray(split.ids).tolist()
        lines = []
        for number, reference, row in zip(ids, references, decoded, strict=True):
            line = {"id": number, "split": split.name, "prediction": row.text, "label": reference}
            if task.answer_marker is not None:
                line["answer"] = _answer_format(task).find(row.text)
            known = {"log_likelihood": row.log_likelihood, "tokens": row.tokens} if split.has_labels else {}
            lines.append(line | {"scores": known | {"new_tokens": row.new_tokens, "at_limit": row.at_limit}})
        return lines

    def arrays(self, task: TaskConfig, reported: str, rows: Sequence[Row]) -> tuple[Array, Array]:
        """Return points and zeros, or sums of log-likelihoods and the numbers of their tokens, (n,) each."""
        tokens = np.array([row["scores"]["tokens"] for row in rows])
        if reported == "log_likelihood":
            return finite_sums([row["scores"]["log_likelihood"] for row in rows], tokens), tokens
        texts, references = [row["prediction"] for row in rows], [row["label"] for row in rows]
        return _answer_format(task).points(texts, references), np.zeros(len(rows))

    def packed(self, task: TaskConfig, row: Row) -> object:
        """Return the text, and the log-likelihood and tokens of the reference; without a reference null for them."""
        return [row["prediction"], row["scores"].get("log_likelihood"), row["scores"].get("tokens")]

    def unpacked(self, task: TaskConfig, value: Any) -> Row:
        """Return the text, and the log-likelihood and tokens of the reference where it has one."""
        text, log_likelihood, tokens = value
        known = {} if tokens is None else {"log_likelihood": log_likelihood, "tokens": tokens}
        return {"prediction": text, "scores": known}

    def card_lines(self, task: TaskConfig) -> list[str]:
        """Return how texts are generated, and what the metrics mean."""
        answer = "the whole text"
        if task.answer_marker is not None:
            what = "the number behind" if task.answer_form == "number" else "the rest of the line behind"
            answer = f"{what} {markdown_code(task.answer_marker)}"
        return [
            f"texts are generated greedily, of at most {task.max_new_tokens} new tokens; {answer} is compared by "
            "exact_match",
            "log_likelihood is the mean over all tokens of the completions, with their end tokens, in nats; perplexity "
            "is exp(-log_likelihood), comparable for one tokenizer alone",
        ]

    def probabilities(self, task: TaskConfig, row: Row) -> dict[str, Any]:
        """Return whether the limit was reached and, of a row with a completion, its log-likelihood and tokens."""
        scores: dict[str, Any] = row["scores"]
        return {key: scores[key] for key in ("log_likelihood", "tokens", "at_limit") if key in scores}


def _token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return -log p of the token that follows each of the last K positions, 0 where it does not count: (B, K).

    Args:
        logits: (B, K, V); those of place t are for the token at t + 1.
        labels: a token, or below 0 where none counts, (B, T); none counts before the last K - 1 places.
    """
    from torch.nn.functional import cross_entropy

    rows, kept, _ = logits.shape
    # The labels are moved rather than the logits cut, which would copy them.
    moved = labels.new_full((rows, kept), -100)  # (B, K)
    moved[:, :-1] = labels[:, labels.shape[1] - kept + 1 :]
    moved = moved.masked_fill(moved < 0, -100)
    losses = cross_entropy(logits.float().flatten(0, 1), moved.flatten(), ignore_index=-100, reduction="none")
    return losses.view(rows, kept)


def _answer_format(task: TaskConfig) -> AnswerFormat:
    return AnswerFormat(task.answer_marker, task.answer_form)


def _metric(task: TaskConfig) -> CompletionMetric:
    metric = METRICS.get(task.metric)
    assert isinstance(metric, CompletionMetric)
    return metric


def _verdict(
    task: TaskConfig, texts: list[str], references: Sequence[str], sums: Array, decoded: list[Continuation]
) -> Verdict:
    """Return whether the generated texts say nothing, and how many were cut at the limit or lack a reference answer."""
    if not_finite := int((~np.isfinite(sums)).sum()):
        return Verdict(True, f"collapsed: the likelihood of {not_finite:,} completions is not a finite number")
    if len(set(texts)) == 1 and len(set(references)) > 1:
        return Verdict(True, f"collapsed: one text, {texts[0][:40]!r}, for all {len(texts):,} prompts")
    remarks = []
    if at_limit := sum(row.at_limit for row in decoded):
        remarks.append(
            f"{at_limit:,} of {len(decoded):,} generations reached task.max_new_tokens={task.max_new_tokens} without "
            "an end token"
        )
    answers = [_answer_format(task).find(reference) for reference in references]
    if without := answers.count(None):
        remarks.append(
            f"{without:,} of {len(answers):,} references hold no {task.answer_form} behind {task.answer_marker!r}, so "
            "their rows count as wrong"
        )
    return Verdict(remark="; ".join(remarks))
