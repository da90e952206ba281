"""What the log says of a run before its model is loaded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gelora_cli.allocation.formatting import EXEMPT_BUDGET
from gelora_cli.config.schema import ModelConfig
from gelora_cli.core.artifacts.result import SMOKE_REMARK
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.data.completions import CompletionSplit
from gelora_cli.data.sources import Split
from gelora_cli.data.splits import TextSplit
from gelora_cli.pipeline.accepted_map import describe_names
from gelora_cli.pipeline.inputs import ResolvedInputs
from gelora_cli.pipeline.locations import budget_name

if TYPE_CHECKING:
    from accelerate import Accelerator


def describe_run(inputs: ResolvedInputs) -> str:
    """Return task, model, method, budget and seed of a run on a line."""
    config = inputs.config
    about_run = (
        f"task {config.task.name}",
        f"model {inputs.model_name}",
        f"method {config.method.name}",
        f"budget {budget_name(config) or EXEMPT_BUDGET}",
        f"seed {config.seed}",
    )
    return ", ".join(about_run)


def busy_cores(device: str) -> str:
    """Return what to try where other processes keep the CPU's cores busy; empty where they don't."""
    import torch

    # The load is that of the whole machine, of which a container may have a few cores.
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores = os.cpu_count() or 1
    if device != "cpu" or torch.get_num_threads() == 1 or load <= cores:
        return ""
    return (
        f"other work keeps this machine busy (load {load:.1f}, {cores} cores), and threads wait for each other: "
        "OMP_NUM_THREADS=1 may be faster. It changes last digits: set it before a run begins"
    )


def log_start(inputs: ResolvedInputs, accelerator: Accelerator) -> None:
    """Log what will be run, where, and on which rows."""
    from gelora_cli.core.devices import device_name, unusable_gpu

    config = inputs.config
    LOGGER.info("%s", describe_run(inputs))
    if config.smoke:
        LOGGER.warning("%s", SMOKE_REMARK)
    device = device_name(accelerator.device)
    LOGGER.info("device %s, precision %s, processes %d", device, inputs.precision, accelerator.num_processes)
    if hint := busy_cores(accelerator.device.type):
        LOGGER.info("%s", hint)
    if config.model.dtype != ModelConfig().dtype:
        LOGGER.info("model.dtype=%s: the frozen weights are stored so; the adapter is in float32", config.model.dtype)
    if reason := unusable_gpu():
        LOGGER.warning("this machine has an NVIDIA GPU that is not used: %s; see gelora doctor", reason)
    _log_splits(inputs)
    if config.model.accept_map:
        LOGGER.info("model map: found in the model itself and accepted: %s", describe_names(config.model))


def _log_splits(inputs: ResolvedInputs) -> None:
    """Log rows, labels and notes of every split, and warn of rows that are trained on and evaluated."""
    config = inputs.config
    has_labels = TASK_KINDS.get(config.task.kind).target in ("labels", "label_sets")
    for split in inputs.splits.values():
        parts = []
        if isinstance(split, TextSplit) and split.labels is not None and has_labels:
            parts.append(f"{len(split):,} rows, {split.label_counts(config.task.labels)}")
        if split.note:
            parts.append(split.note)
        if parts:
            LOGGER.info("%s: %s", split.name, "; ".join(parts))
    if config.task.source in ("text", "instruct"):
        _warn_of_shared_texts(inputs)


def _warn_of_shared_texts(inputs: ResolvedInputs) -> None:
    """Warn of evaluated rows whose texts are trained on, too: values on them are too high."""
    train = inputs.splits.get("train")
    for name, split in inputs.splits.items():
        if name == "train" or train is None:
            continue
        if shared := _count_shared(split, train):
            LOGGER.warning(
                "%s: %s of %s rows have texts that are trained on, too; values on them say little about new texts",
                name,
                f"{shared:,}",
                f"{len(split):,}",
            )


def _count_shared(split: Split, train: Split) -> int:
    """Return how many rows have the texts, or the prompt, of a training row."""
    if isinstance(split, TextSplit) and isinstance(train, TextSplit):
        return split.count_rows_in(train)
    if isinstance(split, CompletionSplit) and isinstance(train, CompletionSplit):
        return split.count_rows_in(train)
    return 0
