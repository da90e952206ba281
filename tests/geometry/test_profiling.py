"""Hidden states read by hooks, their pooling, and the profile of every model kind."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gelora_cli.core.artifacts.profile import ProfileSettings
from gelora_cli.core.distributed import make_accelerator
from gelora_cli.core.logs import LOGGER
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.geometry import states
from gelora_cli.geometry.profiling import Measurement, measure
from gelora_cli.geometry.states import StateStore
from gelora_cli.geometry.twonn import estimate_idim
from gelora_cli.models.block_map import block_modules
from gelora_cli.models.load import LoadedModel
from tests.helpers.rows import rows
from tests.helpers.signal_contexts import tiny_on_texts
from tests.helpers.tiny import DECODERS, KINDS

SETTINGS = ProfileSettings("mean", "fit", 0.1, 10_000, 64, 0)


def session(directory: Path, kind: str, texts: list[str]) -> tuple[LoadedModel, EncodedSplit, int]:
    loaded, tokenizer, encoded = tiny_on_texts(directory, kind, texts)
    return loaded, encoded, int(tokenizer.pad_token_id)


def measured(
    loaded: LoadedModel,
    encoded: EncodedSplit,
    pad: int,
    batch_size: int = 16,
    place: Path = Path("/nowhere"),
    settings: ProfileSettings = SETTINGS,
) -> Measurement:
    return measure(
        loaded.model,
        block_modules(loaded.model, loaded.map),
        encoded,
        settings,
        batch_size=batch_size,
        pad_token_id=pad,
        accelerator=make_accelerator("float32"),
        store=StateStore(place),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_profile_is_that_of_the_blocks_hidden_states(tiny_models: dict[str, Path], kind: str) -> None:
    texts = [row["sentence"] for row in rows("cola", 60, seed=1)]
    loaded, encoded, pad = session(tiny_models[kind], kind, [*texts, texts[3]])
    found = measured(loaded, encoded, pad)
    assert (found.drawn, found.duplicates, found.used) == (61, 1, 60)
    found_states = []
    for row in range(60):
        tokens = torch.from_numpy(encoded.sequence(row).astype(np.int64))[None]
        with torch.no_grad():
            output = loaded.model.base_model(input_ids=tokens, output_hidden_states=True)
        found_states.append(torch.stack([hidden[0].mean(0) for hidden in output.hidden_states]))
    points = torch.stack(found_states).numpy()  # (60, L + 1, d)
    compared = points.shape[1] - (kind in DECODERS)  # the last entry comes after a decoder's final norm
    for layer in range(compared):
        assert found.layers[layer].idim == pytest.approx(estimate_idim(points[:, layer]).idim, rel=1e-4)
    assert len(found.layers) == points.shape[1]


def test_a_forward_pass_in_bf16_gives_nearly_the_same_idims(tiny_models: dict[str, Path]) -> None:
    loaded, encoded, pad = session(tiny_models["bert"], "bert", [row["sentence"] for row in rows("cola", 60, seed=1)])
    full = measured(loaded, encoded, pad)
    rough = measured(loaded, encoded, pad, settings=replace(SETTINGS, precision="bf16"))
    assert not torch.is_autocast_enabled("cpu")
    for layer, other in zip(full.layers[1:], rough.layers[1:], strict=True):
        assert other.idim != layer.idim
        assert other.idim == pytest.approx(layer.idim, rel=0.2)


def test_the_size_of_batches_does_not_matter(tiny_models: dict[str, Path]) -> None:
    texts = [row["sentence"] for row in rows("cola", 80, seed=1)]
    loaded, encoded, pad = session(tiny_models["bert"], "bert", texts)
    one, other = (measured(loaded, encoded, pad, size) for size in (7, 64))
    for first, second in zip(one.layers, other.layers, strict=True):
        assert first.idim == pytest.approx(second.idim, rel=1e-5)


@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, pooling="tokens", tokens=2)], ids=["mean", "tokens"])
def test_an_interrupted_profile_keeps_what_it_has_measured(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: ProfileSettings
) -> None:
    texts = [row["sentence"] for row in rows("cola", 80, seed=1)]
    loaded, encoded, pad = session(tiny_models["bert"], "bert", texts)
    whole = measured(loaded, encoded, pad, settings=settings)
    monkeypatch.setattr(states, "FLUSH_SECONDS", 0.0)
    calls: list[None] = []

    def count(*_: object) -> None:
        calls.append(None)
        if len(calls) == 4:
            raise KeyboardInterrupt

    loaded.model.base_model.register_forward_pre_hook(count)
    with pytest.raises(KeyboardInterrupt):
        measured(loaded, encoded, pad, place=tmp_path, settings=settings)
    files = sorted((tmp_path / "states").glob("*.safetensors"))
    assert len(files) == 3
    files[0].write_bytes(files[0].read_bytes()[:-9])  # a damaged one is measured again
    calls[:] = [None] * 10
    again = measured(loaded, encoded, pad, place=tmp_path, settings=settings)
    assert again.layers == whole.layers
    assert len(calls) - 10 == 5 - 2
    StateStore(tmp_path).clear()
    assert not (tmp_path / "states").exists()


def test_a_profile_counts_the_seconds_of_its_earlier_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    for started, spent in ((100.0, 30.0), (1_000.0, 25.0)):
        clock[0] = started
        store = StateStore(tmp_path)
        clock[0] += spent
        store.add(int(started), [torch.zeros(2, 3)])
    clock[0] = 5_000.0
    again = StateStore(tmp_path)
    clock[0] += 5.0
    assert again.seconds == 30.0 + 25.0 + 5.0


def test_a_profile_that_is_resumed_with_other_threads_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(LOGGER, "warning", lambda text, *values: said.append(text % values))
    store = StateStore(tmp_path)
    store.add(0, [torch.zeros(2, 3)])
    store.flush(0)
    StateStore(tmp_path)
    assert not said
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert StateStore(tmp_path).load(0) is not None
    assert len(said) == 1
    assert "resumed with 77" in said[0]
