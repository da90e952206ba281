"""Encoding, batches and their padding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gelora_cli.core.errors import GeloraError
from gelora_cli.data.batches import epoch_batches, sorted_batches
from gelora_cli.data.collate import collate
from gelora_cli.data.encoding import encode
from gelora_cli.data.splits import TextSplit, draw_rows
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.tokenizer import load_tokenizer
from tests.helpers.tiny import KINDS, SENTENCES, make_tokenizer


def split_of(*columns: tuple[str, ...]) -> TextSplit:
    return TextSplit("train", np.arange(len(columns[0])), columns, np.zeros(len(columns[0]), np.int64))


@pytest.mark.parametrize("kind", KINDS)
def test_collating_gives_what_the_tokenizer_pads(tiny_models: dict[str, Path], kind: str) -> None:
    tokenizer = load_tokenizer(resolve_model(hub=None, path=str(tiny_models[kind])), kind)
    encoded = encode(split_of(SENTENCES, SENTENCES[::-1]), tokenizer, 12)
    rows = np.array([3, 0, 5])
    batch = collate(encoded, rows, int(tokenizer.pad_token_id), torch.device("cpu"))
    pairs = [[texts[row] for row in rows] for texts in (SENTENCES, SENTENCES[::-1])]
    cut = {"truncation": True, "max_length": 12, "padding": True, "padding_side": "right"}
    expected = tokenizer(*pairs, **cut, return_tensors="pt")
    assert batch.inputs.keys() == expected.keys()
    assert all(torch.equal(batch.inputs[name], expected[name]) for name in expected)


def test_equal_sequences_are_found(tiny_models: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(resolve_model(hub=None, path=str(tiny_models["bert"])), "bert")
    encoded = encode(split_of((*SENTENCES[:3], SENTENCES[1], SENTENCES[0].upper())), tokenizer, 64)
    assert encoded.distinct_rows().tolist() in ([0, 1, 2], [0, 1, 2, 4])
    assert encoded.sequence(1).tolist() == encoded.sequence(3).tolist()


LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=300).map(np.array)


@settings(max_examples=50, deadline=None)
@given(LENGTHS, st.integers(1, 40), st.integers(0, 5), st.integers(1, 5))
def test_an_epoch_holds_each_row_once(lengths: np.ndarray, size: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(lengths, size, seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert sum(len(batch) != size for batch in batches) <= 1
    again = epoch_batches(lengths, size, seed, epoch)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_epochs_and_seeds_differ_and_batches_are_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(4, 64, 4_000)
    first = np.concatenate(epoch_batches(lengths, 32, 0, 1))
    assert not np.array_equal(first, np.concatenate(epoch_batches(lengths, 32, 0, 2)))
    assert not np.array_equal(first, np.concatenate(epoch_batches(lengths, 32, 1, 1)))
    unsorted = np.random.default_rng(1).permutation(len(lengths)).reshape(-1, 32)
    assert padding(lengths, epoch_batches(lengths, 32, 0, 1)) < 0.1 * padding(lengths, list(unsorted))


def padding(lengths: np.ndarray, batches: list[np.ndarray]) -> float:
    """Return the mean share of a padded batch that is padding."""
    return float(np.mean([1 - lengths[rows].sum() / (len(rows) * lengths[rows].max()) for rows in batches]))


def test_sorted_batches_hold_each_row_once_longest_first() -> None:
    lengths = np.array([3, 9, 1, 9, 4])
    assert [batch.tolist() for batch in sorted_batches(lengths, 2)] == [[1, 3], [4, 0], [2]]


def test_drawn_rows_are_ordered_and_of_the_seed() -> None:
    rows = draw_rows(1_000, 50, 3)
    assert np.array_equal(rows, draw_rows(1_000, 50, 3))
    assert len(np.unique(rows)) == 50
    assert np.all(np.diff(rows) > 0)
    assert not np.array_equal(rows, draw_rows(1_000, 50, 4))
    assert draw_rows(10, 50, 0).tolist() == list(range(10))


def tokens_of(text: str, kind: str = "bert") -> int:
    return len(make_tokenizer(kind)(text)["input_ids"])


def test_what_cutting_loses_is_counted() -> None:
    texts = ("the cat sat", *["the dog ran after the small bird in the city"] * 3)
    whole = [tokens_of(text) for text in texts]
    lost = encode(split_of(texts), make_tokenizer("bert"), 8).truncation
    assert lost is not None
    assert (lost.texts, lost.cut, lost.needed) == (4, 3, max(whole))
    assert (lost.tokens, lost.lost) == (sum(whole), sum(max(length - 8, 0) for length in whole))
    share = f"{100 * lost.lost / lost.tokens:.2g} % of all tokens"
    message = lost.describe()
    assert message.startswith("3 of 4 texts are longer")
    assert "task.max_length=8" in message
    assert "their end is cut off" in message
    assert share in message
    assert "cut off, 100 % of all" in replace(lost, lost=lost.tokens).describe()
    exact = encode(split_of(texts), make_tokenizer("bert"), max(whole)).truncation
    assert exact is not None
    assert (exact.cut, exact.describe()) == (0, "")


def test_the_lost_part_is_the_side_that_the_tokenizer_cuts() -> None:
    tokenizer = make_tokenizer("roberta")
    tokenizer.truncation_side = "left"
    lost = encode(split_of(SENTENCES, SENTENCES), tokenizer, 10).truncation
    assert lost is not None
    assert "their start is cut off" in lost.describe()


def test_a_text_without_tokens_becomes_an_end_token() -> None:
    tokenizer = make_tokenizer("qwen2")
    assert tokenizer("")["input_ids"] == []
    encoded = encode(split_of(("the cat", "", "a dog")), tokenizer, 16)
    assert encoded.sequence(1).tolist() == [tokenizer.eos_token_id]
    assert encoded.lengths.min() == 1
    pairs = encode(split_of(("", "a dog"), ("", "")), tokenizer, 16)
    assert pairs.sequence(0).tolist() == [tokenizer.eos_token_id]
    tokenizer.eos_token = None
    with pytest.raises(GeloraError, match=r"train, row 1: .*no token"):
        encode(split_of(("the cat", "")), tokenizer, 16)
