"""What a signal measures, of a tiny model and a few texts, and two processes played by two threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from gelora_cli.config.schema import ProfileConfig, TaskConfig
from gelora_cli.core.distributed import Device
from gelora_cli.data.encoding import EncodedSplit, encode
from gelora_cli.data.splits import TextSplit
from gelora_cli.geometry.states import StateStore
from gelora_cli.models.heads import LabelHead
from gelora_cli.models.load import LoadedModel, load_model
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.tokenizer import load_tokenizer
from gelora_cli.signals.base import SignalContext

Result = TypeVar("Result")


def tiny_on_texts(
    directory: Path, kind: str, texts: Sequence[str]
) -> tuple[LoadedModel, PreTrainedTokenizerBase, EncodedSplit]:
    """Return a tiny model of this kind, its tokenizer, and these texts as rows of the train split."""
    resolved = resolve_model(hub=None, path=str(directory))
    tokenizer = load_tokenizer(resolved, kind)
    split = TextSplit("train", np.arange(len(texts)), (list(texts),), None)
    return load_model(resolved, LabelHead(("no", "yes")), seed=0), tokenizer, encode(split, tokenizer, 64)


def signal_context(
    directory: Path,
    kind: str,
    texts: Sequence[str],
    *,
    batch_size: int = 16,
    place: Path = Path("/nowhere"),
    accelerator: Device | None = None,
    encoded: EncodedSplit | None = None,
) -> SignalContext:
    """Return the context of a signal: a tiny model of this kind, and these texts as rows of the train split."""
    loaded, tokenizer, split = tiny_on_texts(directory, kind, texts)
    stand_in: Any = accelerator or Device(torch.device("cpu"))
    return SignalContext(
        model=loaded.model,
        model_map=loaded.map,
        model_name=kind,
        task=TaskConfig(name="cola", max_length=64),
        profile=ProfileConfig(batch_size=batch_size),
        fingerprints={"model": "m" * 64, "train": "t" * 64},
        rows=len(texts),
        examples=lambda: encoded or split,
        pad_token_id=int(tokenizer.pad_token_id or 0),
        accelerator=stand_in,
        store=StateStore(place),
    )


def on_two_threads(
    monkeypatch: pytest.MonkeyPatch, gathers: Sequence[str], work: Callable[[Device], Result]
) -> list[Result]:
    """Return what two processes get from this work, played by two threads that meet wherever objects are gathered.

    `gathers` names each module that calls `gather_objects`. `work` must load no model: meanwhile transformers replaces
    `PreTrainedModel.tie_weights` for all threads, and two that overlap leave it replaced.
    """
    barrier = threading.Barrier(2, timeout=60)
    items: list[Any] = [None, None]
    results: list[Any] = [None, None]

    def gather(accelerator: Device, item: Any) -> list[Any]:
        items[accelerator.process_index] = item
        barrier.wait()
        gathered = list(items)
        barrier.wait()  # both have read before either writes again
        return gathered

    def run(rank: int) -> None:
        try:
            results[rank] = work(Device(torch.device("cpu"), rank, 2, rank == 0))
        finally:
            barrier.abort() if results[rank] is None else None

    for module in gathers:
        monkeypatch.setattr(f"{module}.gather_objects", gather)
    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
