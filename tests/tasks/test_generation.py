"""What a task of generation keeps of a batch: losses of the completions' tokens, and texts with where they ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.collate import Batch, collate
from gelora_cli.data.encoded_completions import EncodedCompletions
from gelora_cli.metrics.completions import perplexity
from gelora_cli.tasks.generation import Generation
from tests.helpers.tiny import make_tokenizer, tiny_config
from tests.helpers.tiny_completions import TASK as ROWS
from tests.helpers.tiny_completions import completion_split

LIMIT = 6
TASK = replace(ROWS, metric="completions", reported="log_likelihood", max_new_tokens=LIMIT)
KIND = Generation()


@pytest.fixture(scope="module")
def model() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        decoder: Any = transformers.LlamaForCausalLM(tiny_config("llama", make_tokenizer("llama"), 1))  # type: ignore[arg-type]
    return decoder.eval()


@pytest.fixture(scope="module")
def split() -> EncodedCompletions:
    return completion_split().encode(make_tokenizer("llama"), TASK)


def batch_of(split: EncodedCompletions, *rows: int) -> Batch:
    return collate(split, np.array(rows), 0, torch.device("cpu"))


def test_a_row_loses_the_sum_over_its_completion(model: Any, split: EncodedCompletions) -> None:
    batch = batch_of(split, 4, 1, 7)
    inputs = KIND.model_inputs(batch)
    assert 1 < inputs["logits_to_keep"] < batch.inputs["input_ids"].shape[1]
    with torch.inference_mode():
        losses = KIND.loss(model(**inputs), batch, batch.labels)  # type: ignore[arg-type]
        for loss, row in zip(losses, batch.rows, strict=True):  # each row alone, from all of its logits
            tokens, first = torch.from_numpy(split.sequence(row).astype(np.int64)), int(split.prompt_lengths[row])
            logits = model(input_ids=tokens[None]).logits[0]
            alone = cross_entropy(logits[first - 1 : -1], tokens[first:], reduction="sum")
            torch.testing.assert_close(loss, alone, rtol=1e-5, atol=1e-5)


def test_scores_of_a_large_vocabulary_are_computed_in_parts(
    model: Any, split: EncodedCompletions, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batch_of(split, 4, 1, 7)
    with torch.inference_mode():
        whole = KIND.outputs(model, batch, split, TASK), KIND.compared(model, batch, split, TASK)
        monkeypatch.setattr("gelora_cli.models.generation.SCORES_AT_ONCE", 1)
        scored: list[int] = []
        handle = model.lm_head.register_forward_hook(lambda layer, inputs, output: scored.append(len(output)))
        in_parts = KIND.outputs(model, batch, split, TASK), KIND.compared(model, batch, split, TASK)
        handle.remove()
    assert scored[:3] == scored[-3:] == [1, 1, 1]
    for one, other in zip(whole, in_parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_comparison_reads_all_tokens_and_needs_no_completion(model: Any, split: EncodedCompletions) -> None:
    rows = np.array([4, 1, 7])
    batch = collate(split.take(rows), np.arange(3), 0, torch.device("cpu"))
    assert batch.labels is None
    with torch.inference_mode():
        compared = KIND.compared(model, batch, split, TASK)
        assert compared.shape == (3, KIND.compared_width(TASK))
        for value, row in zip(compared[:, 0], rows, strict=True):
            tokens = torch.from_numpy(split.sequence(row).astype(np.int64))
            alone = -cross_entropy(model(input_ids=tokens[None]).logits[0, :-1], tokens[1:])
            torch.testing.assert_close(value, alone, rtol=1e-5, atol=1e-5)


def test_outputs_become_texts_with_their_ends(model: Any, split: EncodedCompletions) -> None:
    with torch.inference_mode():
        values = KIND.outputs(model, batch_of(split, *range(12)), split, TASK).numpy()
    assert values.shape == (12, KIND.width(TASK))
    assert values[:, 1].tolist() == split.labels.tolist()  # type: ignore[union-attr]
    tokenizer, (end, *_) = split.tokenizer, split.end_ids
    word = tokenizer(" cat", add_special_tokens=False)["input_ids"]
    assert len(word) < LIMIT - 1
    values[0, 2:] = [*word, *[-1] * (LIMIT - len(word))]
    values[0, 2 + len(word)] = -2  # in place of the end token
    values[1, 2:] = [*word * LIMIT][:LIMIT]
    values[2, 2:] = [*[*word * LIMIT][: LIMIT - 1], -2]  # it ends with the last token that is allowed
    ended, cut, just = KIND.decode(split, values, TASK)[:3]
    assert (ended.text, ended.new_tokens, ended.at_limit) == (" cat", len(word) + 1, False)
    assert (cut.new_tokens, cut.at_limit) == (LIMIT, True)
    assert (just.new_tokens, just.at_limit) == (LIMIT, False)
    rows = KIND.rows(TASK, split, KIND.decode(split, values, TASK))
    assert rows[0]["label"] == split.source.completions[0]  # type: ignore[index]
    for reported in ("log_likelihood", "exact_match"):
        predicted, true = KIND.arrays(TASK, reported, rows)
        assert predicted.shape == true.shape == (12,)
    assert end not in values[:, 2:]


def evaluated(split: EncodedCompletions, texts: list[str], task: TaskConfig = TASK, loss: float = 2.0) -> Any:
    """Evaluate the split as if a model had written these texts."""
    values = np.full((len(split), 2 + task.max_new_tokens), -1, np.float32)
    values[:, 0] = loss
    values[:, 1] = split.labels
    for row, text in enumerate(texts):
        ids = split.tokenizer(text, add_special_tokens=False)["input_ids"]
        values[row, 2 : 3 + len(ids)] = [*ids, -2]
    return KIND.evaluate(task, split, KIND.decode(split, values, task))


def test_values_and_verdicts(split: EncodedCompletions) -> None:
    task, right = replace(TASK, max_new_tokens=60), list(split.source.completions or [])
    values, verdict = evaluated(split, right, task)
    assert (values["exact_match"], verdict.collapsed, verdict.remark) == (1, False, "")
    mean = -2.0 * len(split) / split.loss_divisor(np.arange(len(split)))
    assert values["log_likelihood"] == pytest.approx(mean)
    assert values["perplexity"] == pytest.approx(perplexity(mean))
    assert values["completion_loss"] == -values["log_likelihood"]
    values, verdict = evaluated(split, right[:-1], task)  # the last one does not end
    assert verdict.remark == "1 of 12 generations reached task.max_new_tokens=60 without an end token"
    assert not verdict.collapsed
    values, verdict = evaluated(split, ["cat"] * 12, task)
    assert verdict.collapsed and "one text, 'cat', for all 12 prompts" in verdict.remark
    values, verdict = evaluated(split, right, task, loss=float("nan"))
    assert verdict.collapsed and "the likelihood of 12 completions is not a finite number" in verdict.remark
    assert values["log_likelihood"] == -100
    values, verdict = evaluated(split, right, replace(task, answer_marker="####", answer_form="number"))
    assert values["exact_match"] == 0
    assert "12 of 12 references hold no number behind '####'" in verdict.remark


def test_completions_without_tokens_are_refused() -> None:
    short = replace(TASK, max_length=2)
    with pytest.raises(GeloraError, match=r"no token of any completion is left within task\.max_length=2"):
        evaluated(completion_split().encode(make_tokenizer("llama"), short), [], short)


def test_settings_that_belong_together() -> None:
    assert not KIND.setting_problems(replace(TASK, answer_marker="####", answer_form="number"))
    assert "needs task.answer_marker" in KIND.setting_problems(replace(TASK, answer_form="number"))[0]
    assert "task.answer_marker is empty" in KIND.setting_problems(replace(TASK, answer_marker=" "))[0]
    assert KIND.column_problem(TASK) is KIND.label_problem(TASK) is None
    assert "has no labels" in str(KIND.label_problem(replace(TASK, labels=["a", "b"])))
    assert KIND.column_problem(replace(TASK, columns=["messages"])) is None
    assert "task.prompt" in str(KIND.column_problem(replace(TASK, columns=["sentence", "other"])))
