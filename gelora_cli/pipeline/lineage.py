"""Intermediate-task tuning: a run that starts from an earlier run's adapter, merged into the base model in float32.

So it is also where that run stored its weights in another type; `stored_start` says how far it was from what is merged.

`init_from=RUN` names a finished run on the same base model. Its backbone is taken over as fine-tuning left it; what the
new task initialises itself (the head, and a pooler that the base's weights lack) is drawn from the new run's seed.
RUN may have started from another run: then all of them are merged, the oldest first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli.config.schema import ModelConfig, RunConfig, TaskConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.done import is_done, read_checksums, verify_checksums
from gelora_cli.core.errors import GeloraError, RunError
from gelora_cli.core.files import file_sha256
from gelora_cli.core.registries import METHODS, TASK_KINDS
from gelora_cli.models.block_map import is_inside
from gelora_cli.models.heads import HeadSpec
from gelora_cli.models.load import LoadedModel, load_model
from gelora_cli.models.locate import ResolvedModel, with_files
from gelora_cli.pipeline.run_config import open_config

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

UNUSED_WITHOUT_A_HEAD = "pooler."
"""Prefix of the parameters that models of question answering leave out of the backbone."""
PRETRAINED_HEAD = "pretrained head: "
"""Stands before the names of a pretrained head's tensors, among those of the backbone. `full` trains them."""


@dataclass(frozen=True)
class Ancestor:
    """An earlier run whose adapter is merged: its directory and its frozen configuration."""

    directory: Path
    config: RunConfig

    @property
    def adapter(self) -> Path:
        """Return the directory of its adapter."""
        return self.directory / run_files.ADAPTER


def find_lineage(base: ResolvedModel, init_from: str | None) -> tuple[ResolvedModel, tuple[Ancestor, ...]]:
    """Return the model that a run starts from, and the runs whose adapters are merged into `base` for it, oldest first.

    Its fingerprint is the base's, combined with the content of each adapter in turn: another path to the same adapter
    is the same model.

    Raises:
        GeloraError: a run that is missing, unfinished or damaged, whose adapter can't be merged, or on another model.
    """
    ancestors = tuple(_ancestors(init_from))
    start = base
    for ancestor in ancestors:
        trained = read_artifact(RunManifest, ancestor.directory / RunManifest.FILE).fingerprints.get("model")
        if trained != for_task(start, ancestor.config.task).fingerprint:
            raise GeloraError(
                f"init_from={init_from}: {ancestor.directory} was trained on {ancestor.config.model.name} with other "
                f"weights than {start.source}; a run on the same base model is accepted. Take its model, "
                "or another run."
            )
        # A chain: the order of the ancestors counts, as it does for the weights.
        text = f"{start.fingerprint} {adapter_digest(ancestor.directory)}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        start = replace(start, source=f"{start.source} + {ancestor.adapter}", fingerprint=digest)
    return start, ancestors


def for_task(start: ResolvedModel, task: TaskConfig) -> ResolvedModel:
    """Return a model with the fingerprint that it has for a task, whose kind may read more of its files than others."""
    return with_files(start, TASK_KINDS.get(task.kind).model_files)


def _ancestors(init_from: str | None) -> list[Ancestor]:
    """Return the runs from the oldest to `init_from`, each checked before it is used."""
    if init_from is None:
        return []
    directory = Path(init_from)
    if not is_done(directory):
        how = "is not a finished run (no DONE in it)" if directory.is_dir() else "is not there"
        raise GeloraError(
            f"init_from={init_from}: {directory} {how}; a finished run directory is accepted (gelora ls shows them). "
            "End that run first, or bring it back."
        )
    verify_checksums(directory)  # before its configuration or its plug-ins are used
    config = open_config(directory)
    method = METHODS.get(config.method.name)
    if method.unmergeable:
        raise GeloraError(f"init_from={init_from}: method={method.name} can't be merged: {method.unmergeable}.")
    return [*_ancestors(config.init_from), Ancestor(directory, config)]


def adapter_digest(directory: Path) -> str:
    """Return the sha256 over the files of a run's adapter that its DONE names.

    The path of the base model, which PEFT notes there, is left out, and so is what somebody adds later.
    """
    digest = hashlib.sha256()
    names = sorted(name for name in read_checksums(directory) if name.startswith(f"{run_files.ADAPTER}/"))
    for path in (directory / name for name in names):
        content = file_sha256(path)
        if path.name == run_files.PEFT_CONFIG:  # JSON with sorted keys, so that PEFT's order doesn't count either
            values = json.loads(path.read_text(encoding="utf-8")) | {"base_model_name_or_path": None}
            content = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
        digest.update(f"{path.name} {content}\n".encode())
    return digest.hexdigest()


def head_of(config: RunConfig) -> HeadSpec:
    """Return the head of a run's task; one output where no labels are known, which is enough for a profile."""
    return TASK_KINDS.get(config.task.kind).head(config.task)


def load_start(resolved: ResolvedModel, config: RunConfig, ancestors: Sequence[Ancestor]) -> LoadedModel:
    """Load the task model that a run starts from: the base model, or the base with its ancestors' adapters merged.

    Raises:
        GeloraError: weights that can't be read or don't fit.
    """
    body: dict[str, torch.Tensor] = {}
    for ancestor in ancestors:
        body = _merged_body(resolved, ancestor, body)
    loaded = _load(resolved, config, as_published=not ancestors and config.model.dtype != ModelConfig().dtype)
    _copy_backbone(loaded, body)
    if ancestors:  # what PEFT notes beside the new adapter, so that nobody puts it on the bare base unawares
        loaded.model.name_or_path = resolved.source
    return loaded


def stored_ancestors(
    resolved: ResolvedModel, ancestors: Sequence[Ancestor], device: torch.device
) -> Iterator[tuple[Ancestor, PreTrainedModel, PreTrainedModel]]:
    """Yield the earlier runs that stored their weights in another type than float32, each as two models.

    The first is what that run trained, on this device. The second is what later runs start from, with the adapter
    merged into weights in float32, on the CPU.
    """
    from gelora_cli.methods import load_adapter
    from gelora_cli.methods.updates.checks import plain_model
    from gelora_cli.models.quantized import store_weights

    body: dict[str, torch.Tensor] = {}
    for ancestor in ancestors:
        before, body = body, _merged_body(resolved, ancestor, body)
        if (dtype := ancestor.config.model.dtype) == ModelConfig().dtype:
            continue
        trained, merged = _load(resolved, ancestor.config), _load(resolved, ancestor.config)
        _copy_backbone(trained, before)
        _copy_backbone(merged, body)
        adapted = load_adapter(store_weights(trained, dtype, device).model, ancestor.adapter).to(device)
        yield ancestor, plain_model(adapted), merged.model


def _load(resolved: ResolvedModel, config: RunConfig, *, as_published: bool = False) -> LoadedModel:
    model = config.model
    options: dict[str, Any] = {"dropout": model.dropout, "blocks": model.blocks, "linears": model.linears or None}
    options |= {"positional": model.head == "positional", "as_published": as_published}
    return load_model(resolved, head_of(config), seed=config.seed, **options)


def _merged_body(
    resolved: ResolvedModel, ancestor: Ancestor, body: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the backbone's tensors after an ancestor's training, which began with `body` (empty: the base model's).

    With them are those of a pretrained head, or of the last ancestor that had one.
    """
    # A function of its own, so that each ancestor's model is freed before the next one is loaded.
    from gelora_cli.methods.updates.merging import merge_adapter

    loaded = _load(resolved, ancestor.config)
    _copy_backbone(loaded, body)
    merged = merge_adapter(loaded.model, ancestor.adapter)
    heads = {name: tensor for name, tensor in body.items() if name.startswith(PRETRAINED_HEAD)}
    if head_of(ancestor.config).is_pretrained:
        prefix = f"{merged.base_model_prefix}."
        for name, tensor in merged.state_dict().items():
            if not name.startswith(prefix):
                heads[PRETRAINED_HEAD + name] = tensor
    return {**merged.base_model.state_dict(), **heads}


def _copy_backbone(loaded: LoadedModel, body: Mapping[str, torch.Tensor]) -> None:
    """Copy a backbone's tensors, by their names below the base model, but for what the task initialises itself.

    A pretrained head is copied, too, into a model that has it.

    Raises:
        RunError: the backbones differ by more than a pooler.
    """
    if not body:  # no ancestors: the base model's own weights stay
        return
    prefix = f"{loaded.model.base_model_prefix}."
    heads = {name: tensor for name, tensor in body.items() if name.startswith(PRETRAINED_HEAD)}
    names = {
        name for name in loaded.model.base_model.state_dict() if not is_inside(prefix + name, loaded.map.head_modules)
    }
    differing = [name for name in names ^ (body.keys() - heads.keys()) if not name.startswith(UNUSED_WITHOUT_A_HEAD)]
    if differing:
        raise RunError(f"the earlier run's backbone is another one: {min(differing)} is in only one of the two")
    # Not strict: the head's modules and a pooler keep what this run's seed gave them.
    loaded.model.base_model.load_state_dict({name: body[name] for name in names & body.keys()}, strict=False)
    if not loaded.map.head_modules:
        pretrained = {name.removeprefix(PRETRAINED_HEAD): tensor for name, tensor in heads.items()}
        loaded.model.load_state_dict(pretrained, strict=False)
