"""Predictions on a split, each example exactly once on any number of processes, and their metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gelora_cli.artifacts import EvalResult, GeloraError
from gelora_cli.data.collate import collate
from gelora_cli.data.splits import EncodedSplit, sorted_batches
from gelora_cli.metrics import load_metric
from gelora_cli.runtime import gather_rows

if TYPE_CHECKING:
    from accelerate import Accelerator

Floats = NDArray[np.float32]


def predict(
    model: nn.Module, split: EncodedSplit, *, batch_size: int, pad_token_id: int, accelerator: Accelerator
) -> Floats:
    """Logits (n, C) float32 of every row of the split, in its order, on every process.

    Raises:
        GeloraError: a row came back twice or not at all.
    """
    model.eval()
    batches = sorted_batches(split.lengths, batch_size)
    rows: list[torch.Tensor] = [torch.zeros(0, dtype=torch.long, device=accelerator.device)]
    parts: list[torch.Tensor] = []
    with torch.inference_mode():
        for batch_rows in batches[accelerator.process_index :: accelerator.num_processes]:
            batch = collate(split, batch_rows, pad_token_id, accelerator.device)
            parts.append(model(**batch.inputs).logits.float())
            rows.append(torch.from_numpy(batch_rows).to(accelerator.device))
        width = int(model.config.num_labels)  # type: ignore[union-attr, arg-type]
        logits = torch.cat(parts) if parts else torch.zeros(0, width, device=accelerator.device)
        gathered = gather_rows(accelerator, logits).cpu().numpy()
        order = gather_rows(accelerator, torch.cat(rows)).cpu().numpy()
    if not np.array_equal(np.sort(order), np.arange(len(split))):
        raise GeloraError(f"{split.name}: {len(order)} predictions for {len(split)} examples, or some twice")
    return gathered[np.argsort(order)]


def score(task: Any, split: EncodedSplit, logits: Floats, started: float) -> EvalResult:
    """The task's metrics of these logits; `started` is the clock's reading before the forward pass."""
    if split.labels is None:
        raise GeloraError(f"{split.name} has no labels: use gelora predict for it")
    predictions = decide(task, logits)
    metric = load_metric(task.metric)
    metric.add_batch(predictions=predictions, references=split.labels)
    values = {name: float(value) for name, value in metric.compute().items()}
    return EvalResult(
        split=split.name,
        examples=len(split),
        metrics=values,
        reported=task.reported,
        collapsed=is_collapsed(predictions, split.labels),
        seconds=time.perf_counter() - started,
    )


def decide(task: Any, logits: Floats) -> NDArray[np.int64] | Floats:
    """The class with the largest logit, (n,) int64; for a score the value itself, (n,) float32."""
    return logits[:, 0] if task.kind == "regression" else logits.argmax(1)


def is_collapsed(predictions: NDArray[Any], labels: NDArray[Any]) -> bool:
    """One predicted value where the labels hold several, or a value that is not finite."""
    finite = bool(np.isfinite(predictions).all())
    return not finite or (len(np.unique(labels)) > 1 and len(np.unique(predictions)) == 1)


def prediction_rows(task: Any, split: EncodedSplit, logits: Floats) -> list[dict[str, Any]]:
    """One row per example for `predictions.jsonl`: id, split, prediction, label if known, and the scores (logits)."""
    decided = decide(task, logits).tolist()
    labels = [None] * len(split) if split.labels is None else split.labels.tolist()
    return [
        {"id": number, "split": split.name, "prediction": _shown(task, decision), "label": _shown(task, label)}
        | {"scores": scores}
        for number, decision, label, scores in zip(split.ids.tolist(), decided, labels, logits.tolist(), strict=True)
    ]


def _shown(task: Any, value: Any) -> Any:
    return task.labels[value] if task.labels and value is not None else value
