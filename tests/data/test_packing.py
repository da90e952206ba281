"""Rows that share a sequence: where they lie, and that nothing of them is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gelora_cli.core.errors import GeloraError
from gelora_cli.data.batches import pack_rows, packed_load, padded_load
from gelora_cli.data.collate import collate
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.data.packing import collate_packed
from gelora_cli.models.operations import Load
from tests.helpers.completion_rows import LENGTHS, completion_rows

CPU = torch.device("cpu")
ROWS = np.arange(len(LENGTHS))


def test_the_longest_rows_come_first_and_each_fills_the_first_gap() -> None:
    sequences, starts = pack_rows(np.array([5, 9, 4, 1, 3, 5]))
    # 9 alone; 5 and 4 fill the second sequence; 5, 3 and 1 the third one.
    assert sequences.tolist() == [1, 0, 1, 2, 2, 2]
    assert starts.tolist() == [0, 0, 5, 8, 5, 0]
    sequences, starts = pack_rows(np.array([2, 3]), width=5)
    assert (sequences.tolist(), starts.tolist()) == ([0, 0], [3, 0])


def test_packed_rows_never_overlap_nor_take_more_places_than_padded_ones() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        lengths = generator.integers(1, 30, generator.integers(1, 20))
        sequences, starts = pack_rows(lengths)
        places: set[tuple[int, int]] = set()
        for length, sequence, start in zip(lengths, sequences, starts, strict=True):
            places |= {(sequence, start + token) for token in range(length)}
        assert len(places) == lengths.sum()
        assert max(place for _, place in places) < lengths.max()
        rows = [np.arange(len(lengths))]
        packed = packed_load(lengths, rows)
        assert packed == Load.of_batch(sequences.max() + 1, lengths.max())
        assert lengths.sum() <= packed.tokens <= padded_load(lengths, rows).tokens


def test_a_packed_batch_holds_the_tokens_and_labels_of_a_padded_one() -> None:
    split = completion_rows()
    packed, padded = collate_packed(split, ROWS, 3, CPU), collate(split, ROWS, 3, CPU)
    assert set(packed.inputs) == {"input_ids", "position_ids"}  # with a mask, rows would attend to one another
    assert packed.inputs["input_ids"].shape == (5, 20)
    assert packed.labels is not None and padded.labels is not None and len(packed) == len(padded) == 11
    mask = padded.inputs["attention_mask"].bool()
    assert torch.equal(packed.present, mask)
    place = torch.arange(20).expand(11, 20)
    for values, wanted in (
        (packed.inputs["input_ids"], padded.inputs["input_ids"]),
        (packed.inputs["position_ids"], place),
        (packed.labels, padded.labels),
    ):
        assert torch.equal(values.flatten()[packed.places][mask], wanted[mask])
    assert len(set(packed.places[mask].tolist())) == len(split.tokens)
    free = torch.ones(100, dtype=torch.bool)
    free[packed.places[mask]] = False
    assert free.sum() == 100 - len(split.tokens)
    assert (packed.inputs["input_ids"].flatten()[free] == 3).all()
    assert not packed.inputs["position_ids"].flatten()[free].any()
    assert (packed.labels.flatten()[free] == -100).all()
    # The token before the first one of a row is of another row, and does not predict it.
    assert (packed.labels[packed.inputs["position_ids"] == 0] == -100).all()
    assert (packed.labels != -100).sum() == split.loss_divisor(ROWS)


def test_sums_of_packed_rows_are_those_of_their_own_tokens() -> None:
    split = completion_rows()
    packed = collate_packed(split, ROWS, 0, CPU)
    values = torch.randn(5, 20, dtype=torch.float64, requires_grad=True)
    sums = packed.sum_rows(values)
    by_hand = [values.flatten()[places[:length]].sum() for places, length in zip(packed.places, LENGTHS, strict=True)]
    torch.testing.assert_close(sums, torch.stack(by_hand))
    # The loss has no value for the first token of a sequence, and none for those before the first that is learned.
    without_first = packed.sum_rows(values[:, 6:])
    shorter = torch.where(torch.arange(20) < 6, 0.0, values)
    torch.testing.assert_close(without_first, packed.sum_rows(shorter))
    (gradient,) = torch.autograd.grad(sums.sum(), values)
    assert gradient.sum() == len(split.tokens)


def test_rows_without_labels_of_tokens_are_not_packed() -> None:
    split = completion_rows()
    classes = EncodedSplit("train", split.ids, np.zeros(11, np.int64), split.tokens, split.offsets, None)
    for unfit in (classes, replace(split, labels=None)):
        with pytest.raises(GeloraError, match="train: rows are packed only where each token has a label"):
            collate_packed(unfit, ROWS, 0, CPU)
