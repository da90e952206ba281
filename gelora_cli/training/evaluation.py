"""Predictions on a split, each example exactly once on any number of processes, and their metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.core.distributed import gather_rows
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.data.batches import sorted_batches
from gelora_cli.data.collate import collate
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.tasks.base import Floats, Row

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Evaluation:
    """What the evaluation of a split gives.

    Attributes:
        result: the metrics.
        rows: a line of `predictions.jsonl` per example, in the order of the split.
        files: the files that only this kind of task has, by name.
    """

    result: EvalResult
    rows: list[Row]
    files: dict[str, dict[str, Any]]


def forward(
    model: nn.Module,
    split: EncodedSplit,
    task: TaskConfig,
    *,
    batch_size: int,
    pad_token_id: int,
    accelerator: Accelerator,
    compared: bool = False,
) -> Floats:
    """Return the task's reduced outputs, (n, W), of every row of the split in its order, on every process.

    Those by which two models are compared if `compared` is true.

    Raises:
        GeloraError: a row came back twice or not at all.
    """
    kind = TASK_KINDS.get(task.kind)
    read, width = (kind.compared, kind.compared_width) if compared else (kind.outputs, kind.width)
    model.eval()
    device = accelerator.device
    # The empty first parts let a process without any batch take part in the gather.
    rows: list[torch.Tensor] = [torch.zeros(0, dtype=torch.long, device=device)]
    parts: list[torch.Tensor] = [torch.zeros(0, width(task), device=device)]
    with torch.inference_mode():
        batches = sorted_batches(split.lengths, batch_size)
        # Each process takes every n-th batch. Row numbers travel with the outputs, so that the order can be restored.
        for batch_rows in batches[accelerator.process_index :: accelerator.num_processes]:
            batch = collate(split, batch_rows, pad_token_id, device)
            parts.append(read(model, batch, split, task))  # (B, W)
            rows.append(torch.from_numpy(batch_rows).to(device))
        gathered = gather_rows(accelerator, torch.cat(parts)).cpu().numpy()  # (n, W)
        order = gather_rows(accelerator, torch.cat(rows)).cpu().numpy()  # (n,)
    if not np.array_equal(np.sort(order), np.arange(len(split))):
        raise GeloraError(f"{split.name}: {len(order)} predictions for {len(split)} rows, or some twice")
    return gathered[np.argsort(order)]


def evaluate(task: TaskConfig, split: EncodedSplit, values: Floats, started: float) -> Evaluation:
    """Return the metrics, rows and files of a split from its reduced outputs.

    Args:
        task: the task.
        split: the split, with labels.
        values: what `forward` returned, (n, W).
        started: `time.perf_counter()` before the forward pass, which counts towards the seconds of the evaluation.

    Raises:
        GeloraError: the split has no labels.
    """
    if not split.has_labels:
        raise GeloraError(f"{split.name} has no labels: use gelora predict for it")
    kind = TASK_KINDS.get(task.kind)
    decoded = kind.decode(split, values, task)
    metrics, verdict = kind.evaluate(task, split, decoded)
    result = EvalResult(
        split=split.name,
        examples=split.examples,
        metrics=metrics,
        reported=task.reported,
        collapsed=verdict.collapsed,
        seconds=time.perf_counter() - started,
        remark=verdict.remark,
    )
    rows = kind.rows(task, split, decoded)
    if split.group_names is not None:  # differences between runs are tested by group
        rows = [row | {"group": name} for row, name in zip(rows, split.group_names, strict=True)]
    return Evaluation(result, rows, kind.files(task, decoded))


def prediction_rows(task: TaskConfig, split: EncodedSplit, values: Floats) -> list[Row]:
    """Return one row per example for `predictions.jsonl`: id, split, prediction, label if known, and the scores."""
    kind = TASK_KINDS.get(task.kind)
    return kind.rows(task, split, kind.decode(split, values, task))
