"""Points of a profile: pooled texts, drawn tokens, and the controls that a profile is compared with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gelora_cli.core.artifacts.profile import ProfileSettings
from gelora_cli.core.distributed import Device
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.geometry.controls import control_inputs
from gelora_cli.geometry.pooling import Pooling, make_pooling, pool
from gelora_cli.geometry.profiling import measure, pooled_states
from gelora_cli.geometry.tokens import draw_tokens, shuffle_tokens
from gelora_cli.models.block_map import block_modules
from gelora_cli.models.heads import LabelHead
from gelora_cli.models.load import LoadedModel, load_model
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.tokenizer import special_ids
from tests.helpers.rows import rows
from tests.helpers.signal_contexts import tiny_on_texts
from tests.helpers.tiny import DECODERS, KINDS

CPU = Device(torch.device("cpu"))
CLS, SEP = 1, 2
SPECIAL = (0, CLS, SEP)


def split_of(*texts: list[int]) -> EncodedSplit:
    """Return token sequences as a split."""
    tokens = np.array([token for text in texts for token in text], np.int32)
    offsets = np.cumsum([0, *map(len, texts)])
    return EncodedSplit("train", np.arange(len(texts)), None, tokens, offsets, None)


def text(length: int, first: int = 10) -> list[int]:
    return [CLS, *range(first, first + length), SEP]


def drawn_of(split: EncodedSplit, row: int, count: int = 3, seed: int = 0) -> list[int]:
    positions, offsets = draw_tokens(split, count, seed=seed, special_ids=SPECIAL)
    return [int(position) for position in positions[offsets[row] : offsets[row + 1]]]


def test_pooling() -> None:
    hidden = torch.arange(2 * 3 * 2.0).reshape(2, 3, 2)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert pool(hidden, mask, "mean").tolist() == [[1.0, 2.0], [8.0, 9.0]]
    assert pool(hidden, mask, "cls").tolist() == [[0.0, 1.0], [6.0, 7.0]]
    assert pool(hidden, mask, "last").tolist() == [[2.0, 3.0], [10.0, 11.0]]


def test_a_draw_depends_on_the_text_and_the_seed_alone() -> None:
    split = split_of(text(20), text(2), text(0), text(20), text(20, first=50))
    assert drawn_of(split, 0) == drawn_of(split, 3) == drawn_of(split_of(text(20)), 0)
    assert drawn_of(split, 0) != drawn_of(split, 4)
    assert drawn_of(split, 0) != drawn_of(split, 0, seed=1)
    assert len(set(drawn_of(split, 0))) == 3
    assert drawn_of(split, 1) == [1, 2]  # a short text gives all its tokens
    assert drawn_of(split, 2) == []
    every = drawn_of(split, 0, count=99)
    assert every == list(range(1, 21))  # neither [CLS] nor [SEP]


def test_draws_reach_every_token_of_a_text() -> None:
    hits = np.zeros(12, int)
    for seed in range(300):
        hits[drawn_of(split_of(text(10)), 0, seed=seed)] += 1
    assert hits[[0, 11]].sum() == 0
    assert hits[1:11] == pytest.approx(90, abs=40)  # 300 * 3 / 10, five standard deviations


def test_shuffled_texts_keep_their_words_and_special_tokens() -> None:
    pair = [CLS, 10, 11, 12, 13, SEP, 20, 21, 22, 23, SEP]
    split = split_of(pair, text(9), pair)
    shuffled = shuffle_tokens(split, seed=0, special_ids=SPECIAL)
    found = shuffled.sequence(0).tolist()
    assert found != pair
    assert [found[0], found[5], found[10]] == [CLS, SEP, SEP]
    assert sorted(found[1:5]) == [10, 11, 12, 13]
    assert sorted(found[6:10]) == [20, 21, 22, 23]
    assert found == shuffled.sequence(2).tolist()  # equal texts stay equal
    assert found == shuffle_tokens(split_of(pair), seed=0, special_ids=SPECIAL).sequence(0).tolist()
    assert found != shuffle_tokens(split_of(pair), seed=1, special_ids=SPECIAL).sequence(0).tolist()
    assert split.sequence(0).tolist() == pair
    assert np.array_equal(shuffled.offsets, split.offsets)


def loaded(directory: Path, kind: str) -> tuple[LoadedModel, EncodedSplit, tuple[int, ...]]:
    """Return a tiny model, texts of several lengths with a copy among them, and the special tokens."""
    texts = [row["sentence"] for row in rows("cola", 40, seed=1)]
    model, tokenizer, split = tiny_on_texts(directory, kind, [*texts, texts[3]])
    return model, split, special_ids(tokenizer)


def states(model: LoadedModel, split: EncodedSplit, pooling: Pooling, batch_size: int = 16) -> list[np.ndarray]:
    blocks = block_modules(model.model, model.map)
    return pooled_states(model.model, blocks, split, pooling, batch_size=batch_size, pad_token_id=0, accelerator=CPU)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_the_same_positions_in_every_layer_whatever_the_batches(
    tiny_models: dict[str, Path], kind: str
) -> None:
    model, split, special = loaded(tiny_models[kind], kind)
    pooling = make_pooling("tokens", split, tokens=3, seed=5, special_ids=special)
    positions, offsets = draw_tokens(split, 3, seed=5, special_ids=special)
    expected = []
    for row in range(len(split)):
        tokens = torch.from_numpy(split.sequence(row).astype(np.int64))[None]
        with torch.no_grad():
            hidden = model.model.base_model(input_ids=tokens, output_hidden_states=True).hidden_states
        stacked = torch.stack(hidden)[:, 0]  # (L + 1, T, D)
        expected.append(stacked[:, positions[offsets[row] : offsets[row + 1]]])
    points = torch.cat(expected, 1).numpy()  # (L + 1, P, D)
    compared = len(points) - (kind in DECODERS)  # the last entry comes after a decoder's final norm
    for batch_size in (7, 64):
        found = states(model, split, pooling, batch_size)
        for layer in range(compared):
            np.testing.assert_allclose(found[layer], points[layer], atol=1e-5)


def test_places_of_tokens_are_found_once_a_batch(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, split, special = loaded(tiny_models["bert"], "bert")
    pooling = make_pooling("tokens", split, tokens=3, seed=5, special_ids=special)
    asked: list[int] = []
    counts = pooling.counts

    def counted(rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return counts(rows)

    monkeypatch.setattr(pooling, "counts", counted)
    states(model, split, pooling, 16)
    assert sorted(asked) == [9, 16, 16, 41]  # each batch, whatever the layers, and all texts for their order


def test_a_profile_of_tokens_counts_points_and_texts(tiny_models: dict[str, Path]) -> None:
    model, split, special = loaded(tiny_models["bert"], "bert")
    settings = ProfileSettings("tokens", "fit", 0.1, 10_000, 64, 0, tokens=3)
    arguments = {"pad_token_id": 0, "accelerator": CPU, "special_ids": special}
    blocks = block_modules(model.model, model.map)
    found = measure(model.model, blocks, split, settings, batch_size=16, **arguments)  # type: ignore[arg-type]
    _, offsets = draw_tokens(split.take(split.distinct_rows()), 3, seed=0, special_ids=special)
    assert (found.drawn, found.duplicates, found.used) == (41, 1, 40)
    assert {layer.points for layer in found.layers} == {offsets[-1]}
    assert offsets[-1] > 100


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_model_has_other_weights_and_the_model_keeps_its_own(
    tiny_models: dict[str, Path], kind: str
) -> None:
    model, split, special = loaded(tiny_models[kind], kind)
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    random_state = torch.random.get_rng_state()
    first, second, other = (
        control_inputs(model.model, split, "untrained", seed=seed, special_ids=special)[0] for seed in (3, 3, 4)
    )
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.model.state_dict().items())
    assert first.state_dict().keys() == before.keys()
    three = load_model(resolve_model(hub=None, path=str(tiny_models[kind])), LabelHead(("a", "b", "c")), seed=9)
    under_another_head, _ = control_inputs(three.model, split, "untrained", seed=3, special_ids=special)
    backbone = under_another_head.base_model.state_dict()
    assert all(torch.equal(tensor, backbone[name]) for name, tensor in first.base_model.state_dict().items())
    points = states(model, split, Pooling("mean"))
    untrained = [states(replace(model, model=drawn), split, Pooling("mean")) for drawn in (first, second, other)]
    for layer, pretrained in enumerate(points):
        assert np.array_equal(untrained[0][layer], untrained[1][layer])
        for different in (pretrained, untrained[2][layer]):
            assert np.abs(untrained[0][layer] - different).max() > 1e-3


def test_without_a_control_nothing_changes(tiny_models: dict[str, Path]) -> None:
    model, split, special = loaded(tiny_models["bert"], "bert")
    assert control_inputs(model.model, split, None, seed=0, special_ids=special) == (model.model, split)
    same, shuffled = control_inputs(model.model, split, "shuffled", seed=0, special_ids=special)
    assert same is model.model
    assert sorted(shuffled.tokens) == sorted(split.tokens)
    assert not np.array_equal(shuffled.tokens, split.tokens)
