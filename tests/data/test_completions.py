"""Prompts and completions as rows and as tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gelora_cli.core.errors import GeloraError
from gelora_cli.data.completions import NOT_LEARNED, CompletionSplit, encode_completions
from tests.helpers.tiny import make_tokenizer
from tests.helpers.tiny_completions import TASK, completion_split

DECODERS = ("llama", "qwen2", "gpt2")


def one_row(prompt: str, completion: str) -> CompletionSplit:
    return CompletionSplit("train", np.arange(1), [prompt], [completion])


@pytest.mark.parametrize("kind", DECODERS)
def test_the_completion_and_its_end_are_learned(kind: str) -> None:
    tokenizer = make_tokenizer(kind)
    split = completion_split()
    encoded = split.encode(tokenizer, TASK)
    assert encoded.rejoined == 0
    rows = np.array([3, 0, 11])
    labels = encoded.batch_labels(rows)
    assert labels is not None
    assert labels.shape == (3, encoded.lengths[rows].max())
    assert split.completions is not None
    for line, row in enumerate(rows):
        learned = labels[line][labels[line] != NOT_LEARNED]
        assert learned[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(learned[:-1]) == split.completions[row]
        assert tokenizer.decode(encoded.prompt(row), skip_special_tokens=True) == split.prompts[row]
    assert encoded.weights(rows) == (labels != NOT_LEARNED).sum()
    assert encoded.learned.sum() == encoded.weights(np.arange(12))
    wider = encoded.batch_labels(rows, width=40)
    assert wider is not None
    assert wider.shape == (3, 40)


def test_where_tokens_diverge_the_completion_begins() -> None:
    tokenizer = make_tokenizer("llama")
    encoded = one_row("the cat ", "sat").encode(tokenizer, TASK)  # the space belongs to the token " sat"
    assert encoded.rejoined == 1
    assert tokenizer.decode(encoded.prompt(0), skip_special_tokens=True) == "the cat"
    assert tokenizer.decode(encoded.tokens[encoded.learned]) == " sat</s>"


def test_an_end_that_is_there_is_not_added_again() -> None:
    tokenizer = make_tokenizer("llama")
    encoded = one_row("the cat", " sat</s>").encode(tokenizer, TASK)
    assert list(encoded.tokens) == list(one_row("the cat", " sat").encode(tokenizer, TASK).tokens)


def test_long_rows_are_cut_at_their_end() -> None:
    tokenizer = make_tokenizer("llama")
    split = completion_split()
    whole = split.encode(tokenizer, TASK)
    cut = encode_completions(split, tokenizer, 4)
    for row in range(len(split)):
        assert list(cut.sequence(row)) == list(whole.sequence(row)[:4])
    assert cut.truncation is not None
    assert cut.truncation.cut == 12
    assert cut.labels is not None
    assert set(cut.labels.tolist()) == {0, 1}  # of prompts with two words one token is left, of longer ones none
    without = np.flatnonzero(cut.labels == 0)
    assert cut.weights(without) == 1


def test_the_first_token_of_a_row_is_never_learned() -> None:
    tokenizer = make_tokenizer("qwen2")  # puts no token in front
    encoded = one_row("", "the cat").encode(tokenizer, TASK)
    assert encoded.learned.tolist() == [False] + [True] * (len(encoded.tokens) - 1)
    assert encoded.labels is not None
    assert encoded.labels.tolist() == [len(encoded.tokens) - 1]


def test_prompts_alone_have_nothing_to_learn() -> None:
    tokenizer = make_tokenizer("llama")
    split = completion_split()
    alone = split.without_labels().encode(tokenizer, TASK)
    whole = split.encode(tokenizer, TASK)
    assert alone.labels is None
    assert alone.batch_labels(np.arange(2)) is None
    assert not alone.learned.any()
    for row in range(len(split)):
        assert list(alone.sequence(row)) == list(whole.prompt(row))


def test_selected_rows_keep_what_is_learned() -> None:
    encoded = completion_split().encode(make_tokenizer("llama"), TASK)
    rows = np.array([5, 1])
    selected = encoded.select(rows)
    assert selected.source.prompts == [encoded.source.prompts[row] for row in rows]
    np.testing.assert_array_equal(selected.batch_labels(np.arange(2)), encoded.batch_labels(rows))
    assert encoded.take(rows).labels is None


def test_rows_have_a_fingerprint_and_groups() -> None:
    split = completion_split()
    assert split.fingerprint() == completion_split().fingerprint()
    assert split.fingerprint() != split.without_labels().fingerprint()
    assert split.take(np.arange(3)).prompts == split.prompts[:3]
    grouped = replace(split, group_names=["a", "b", "a"] * 4)
    assert grouped.groups().tolist()[:3] == [0, 1, 0]
    assert grouped.take(np.array([1])).group_names == ["b"]
    assert completion_split(40).count_rows_in(split) >= 12


def test_a_tokenizer_without_an_end_token_is_refused() -> None:
    tokenizer = make_tokenizer("llama")
    tokenizer.eos_token = None
    with pytest.raises(GeloraError, match="no end token"):
        completion_split().encode(tokenizer, TASK)
