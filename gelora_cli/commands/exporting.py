"""`gelora export`: a finished run as a whole Hugging Face model with the adapter merged, or its adapter alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gelora_cli.core import run_files
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import RunResult, ScoreScale
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.directories import new_directory
from gelora_cli.core.errors import GeloraError, RunError
from gelora_cli.core.files import apply_umask, translate_write_errors, write_atomic
from gelora_cli.core.memory import translate_oom
from gelora_cli.core.registries import METHODS
from gelora_cli.data.scale import standardize
from gelora_cli.data.sources import Split, load_unlabelled_split
from gelora_cli.data.splits import draw_rows
from gelora_cli.models.head_weights import modules_outside_backbone
from gelora_cli.models.load import LoadedModel, load_exported, save_exported
from gelora_cli.pipeline.card import model_card
from gelora_cli.pipeline.card_facts import Export, StorageDifference
from gelora_cli.pipeline.description import card_facts, describe_adapter
from gelora_cli.pipeline.finished import reopen_run
from gelora_cli.pipeline.inputs import ResolvedInputs
from gelora_cli.pipeline.lineage import head_of
from gelora_cli.pipeline.session import open_quiet_session

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Floats = NDArray[np.float32]

EXAMPLES = 256
"""Rows whose scores are compared."""
TOLERANCE = 1e-4
"""Accepted difference of scores, relative to the largest score or to 1: merging sums in another order than LoRA."""
FIX = "free space there, or take another output=DIR"


def export(directory: Path, target: Path, form: str = "merged") -> Export:
    """Write a finished run to `target`, whole or not at all, with a model card.

    `merged`: the model in float32 with the adapter in its weights and the head, and the tokenizer, as transformers
    alone loads them. They are read back, and their scores (logits; of question answering those of the best spans) on
    256 rows of the first evaluated split compared with the unmerged adapter's, in float32: the largest difference must
    be within 1e-4 of the largest score, or of 1 where that is less. Where a run trained on standardised scores,
    their mean and standard deviation are folded into the head, and differences count in standard deviations. A run with
    `model.dtype=4bit` or `bf16` is merged into the weights in float32, since merging into quantised ones would round
    again; how far its own scores are from these is measured on the same rows.
    `adapter`: what PEFT, or `gelora_cli.methods.load_adapter`, puts on the base model; its outputs stay standardised.

    Raises:
        GeloraError: an unfinished or damaged run, a method that can't be merged, a head that can't hold the mean of
            the scores, or a target that is not empty.
        RunError: the merged model gives other scores.
    """
    inputs = reopen_run(directory)
    _check_form(inputs, form)
    with translate_oom(), new_directory(target) as unfinished:
        write = _export_merged if form == "merged" else _export_adapter
        exported, loaded = write(directory, inputs, unfinished)
        facts = card_facts(directory, inputs, loaded, unfinished)
        result = read_artifact(RunResult, directory / RunResult.FILE)
        plan = read_artifact(RankPlan, directory / RankPlan.FILE)
        write_atomic(unfinished / run_files.CARD, model_card(result, plan, facts, exported), setting="output=DIR")
    return exported


def _check_form(inputs: ResolvedInputs, form: str) -> None:
    method = METHODS.get(inputs.config.method.name)
    if form == "merged" and method.unmergeable:
        why = f"method={method.name} can't be merged: {method.unmergeable}"
        raise GeloraError(f"form=merged: {why}. Take form=adapter.")
    if form == "adapter" and inputs.ancestors:
        raise GeloraError(
            "form=adapter: this adapter belongs on a model into which those of earlier runs are merged (init_from), "
            "and on no other. Take form=merged."
        )


def _export_merged(directory: Path, inputs: ResolvedInputs, target: Path) -> tuple[Export, LoadedModel]:
    """Merge the adapter into the model, write both with the tokenizer, read them back, and compare scores."""
    from gelora_cli.methods.updates.merging import merge_adapter

    task = inputs.config.task
    # A run with data.holdout has read no evaluated split. Any rows do, since scores are only compared.
    name = "train" if inputs.config.data.holdout else task.eval_splits[0]
    rows = load_unlabelled_split(task, inputs.config.data, name)
    rows = rows.take(draw_rows(len(rows), EXAMPLES, 0))
    inputs = replace(inputs, precision="float32")
    trained = None if inputs.config.model.dtype == "float32" else _adapter_scores(directory, inputs, rows)
    # In float32, whatever the run trained in: merging in bf16 would round the weights.
    session = open_quiet_session(with_float32_weights(inputs))
    encoded = session.encode(rows)
    expected = session.scores(session.with_adapter(session.loaded, directory), encoded)
    merged = merge_adapter(session.fresh_model().model, directory / run_files.ADAPTER)
    scale = read_artifact(RunResult, directory / RunResult.FILE).scale
    if scale is not None:
        fold_scale(merged, scale)
    with translate_write_errors(target, FIX):
        save_exported(merged, session.tokenizer, target)
        for path in target.iterdir():
            apply_umask(path)  # safetensors writes files that only their owner can read
    # From here on only what was written is used: it is what others will load.
    model, tokenizer = load_exported(target, head_of(inputs.config))
    again = rows.encode(tokenizer, task)
    if not np.array_equal(again.tokens, encoded.tokens):
        raise RunError("the tokenizer reads texts otherwise after it was written; nothing was exported")
    scores = session.scores(model.to(session.accelerator.device), again)
    unit = 1.0
    if scale is not None:
        # Compared in standard deviations, as the adapter gives them, and reported on the scale of the data.
        scores, unit = standardize(scores, scale), scale.sd
    difference, tolerance = (unit * value for value in _difference(scores, expected))
    exported = Export("merged", directory.name, len(rows), difference, tolerance)
    if trained is not None:
        dtype = inputs.config.model.dtype
        exported = replace(exported, storage=_storage_difference(dtype, unit * trained, unit * scores))
    return exported, session.loaded


def with_float32_weights(inputs: ResolvedInputs) -> ResolvedInputs:
    """Return a run's inputs with its frozen weights in float32, whatever it trained with."""
    return replace(inputs, config=replace(inputs.config, model=replace(inputs.config.model, dtype="float32")))


def _adapter_scores(directory: Path, inputs: ResolvedInputs, rows: Split) -> Floats:
    """Return the scores of a run on rows, with its weights as it stored them."""
    session = open_quiet_session(inputs)
    scores: Floats = session.scores(session.with_adapter(session.loaded, directory), session.encode(rows))
    return scores


def _storage_difference(dtype: str, trained: Floats, merged: Floats) -> StorageDifference:
    differences = abs(trained - merged)
    return StorageDifference(dtype, float(differences.max()), float(differences.mean()), float(abs(merged).max()))


def fold_scale(model: PreTrainedModel, scale: ScoreScale) -> None:
    """Let a model of standardised scores give scores on the scale of the data: its last linear times sd, plus mean.

    Raises:
        GeloraError: that linear has no bias to hold the mean, or is not found.
    """
    import torch
    from torch import nn

    linears = []
    for path in modules_outside_backbone(model):
        for name, module in model.get_submodule(path).named_modules():
            if isinstance(module, nn.Linear) and module.out_features == 1:
                linears.append((f"{path}.{name}".rstrip("."), module))
    if len(linears) != 1 or linears[0][1].bias is None:
        what = f"the head {linears[0][0]} has no bias" if len(linears) == 1 else "no single last linear layer is found"
        raise GeloraError(
            f"form=merged: the run trained on standardised scores (mean {scale.mean:.6g}), and {what} to hold the "
            "mean. Take form=adapter, whose card says how its outputs become scores, or train again with "
            "task.standardize=false."
        )
    head = linears[0][1]
    with torch.no_grad():
        head.weight.mul_(scale.sd)
        head.bias.mul_(scale.sd).add_(scale.mean)


def _difference(scores: Floats, expected: Floats) -> tuple[float, float]:
    """Return the largest difference of two models' scores, and the largest that is accepted.

    Raises:
        RunError: it is larger than that, or not a number.
    """
    difference = float(abs(scores - expected).max())
    tolerance = TOLERANCE * max(1.0, float(abs(expected).max()))
    if not difference <= tolerance:  # a NaN is refused, too
        raise RunError(
            f"the merged model's scores differ from the adapter's by {difference:.3g}, {tolerance:.3g} is accepted; "
            "nothing was exported. Take form=adapter."
        )
    return difference, tolerance


def _export_adapter(directory: Path, inputs: ResolvedInputs, target: Path) -> tuple[Export, LoadedModel]:
    """Copy the adapter's files; PEFT's names the base model as it is seen from the new directory."""
    with translate_write_errors(target, FIX):
        for path in sorted((directory / run_files.ADAPTER).iterdir()):
            shutil.copyfile(path, target / path.name)
        describe_adapter(target, inputs, target)
    return Export("adapter", directory.name), open_quiet_session(inputs).loaded
