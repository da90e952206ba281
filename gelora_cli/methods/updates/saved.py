"""Adapters of methods that PEFT does not have: trained tensors in safetensors beside a small JSON."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from gelora_cli.core.artifacts.adapter import SavedAdapter
from gelora_cli.core.codec import read_artifact, to_json
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import apply_umask, write_atomic
from gelora_cli.core.registries import METHODS
from gelora_cli.core.run_files import PEFT_CONFIG, PEFT_WEIGHTS, STAGING_PREFIX
from gelora_cli.models.conv1d import convert_conv1d


@contextmanager
def staged(directory: Path, names: Sequence[str]) -> Iterator[Path]:
    """Give a temporary directory; at the end its files of these names move to `directory`, complete or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    # Beside the directory and so on the same file system, where a file moves at once.
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=STAGING_PREFIX) as temporary:
        yield Path(temporary)
        for name in names:
            apply_umask(Path(temporary) / name)
            (Path(temporary) / name).replace(directory / name)


def describe_peft(directory: Path, *, base: str, task_type: str) -> None:
    """Note the base model and the kind of the task in an adapter of PEFT's; one in our own format has no place for it.

    PEFT itself writes the place of the base on this machine, and no kind, since it wraps the model without one.
    """
    path = directory / PEFT_CONFIG
    if not path.exists():
        return
    values = json.loads(path.read_text(encoding="utf-8"))
    values |= {"base_model_name_or_path": base, "task_type": task_type}
    write_atomic(path, json.dumps(values, indent=2, sort_keys=True) + "\n")


def save_own(
    directory: Path, method: str, base: str, tensors: Mapping[str, torch.Tensor], sizes: dict[str, int], scaling: float
) -> None:
    """Write `gelora_adapter.json` and `adapter_model.safetensors`, whole or not at all (terms: `SavedAdapter`)."""
    from safetensors.torch import save_file

    saved = SavedAdapter(method, sizes, scaling, base, len(tensors))

    with staged(directory, (PEFT_WEIGHTS, SavedAdapter.FILE)) as temporary:
        # safetensors refuses views such as transposes, whose memory has another order.
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(on_cpu, temporary / PEFT_WEIGHTS, metadata={"format": "pt"})
        (temporary / SavedAdapter.FILE).write_text(to_json(saved), encoding="utf-8")


def check_safetensors(directory: Path) -> None:
    """Refuse an adapter without safetensors, in whose place a library could unpickle another file.

    Raises:
        GeloraError: naming what is there instead.
    """
    if (directory / PEFT_WEIGHTS).is_file():
        return
    pickles = sorted(path.name for path in directory.glob("adapter_model.*") if path.name != PEFT_WEIGHTS)
    instead = f", only {', '.join(pickles)}: pickled weights are never loaded" if pickles else ""
    raise GeloraError(
        f"{directory} has no file {PEFT_WEIGHTS}{instead}. Restore that file, or do the run again with force=true."
    )


def load_own(model: nn.Module, directory: Path) -> nn.Module:
    """Return a fresh base model with the saved adapter and head, for inference; its method puts its modules in place.

    Raises:
        GeloraError: the files are damaged, or the adapter is of another model or of a method that is not known.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_safetensors(directory)
    saved = read_artifact(SavedAdapter, directory / SavedAdapter.FILE)
    if saved.method not in METHODS:
        raise GeloraError(f"{directory}: an adapter of method {saved.method}; known: {', '.join(METHODS.names())}")
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind != saved.base:
        raise GeloraError(f"{directory} holds an adapter of another model: of a {saved.base} model, this is {kind}")
    convert_conv1d(model)
    try:
        tensors = load_file(directory / PEFT_WEIGHTS)
        METHODS.get(saved.method).rebuild(model, saved)
    except (OSError, SafetensorError, AttributeError) as error:
        raise GeloraError(f"{directory} can't be loaded: {error}. Restore it, or run again with force=true.") from error
    if len(tensors) != saved.tensors:
        raise GeloraError(
            f"{directory / PEFT_WEIGHTS} holds {len(tensors)} tensors, expected {saved.tensors}. Restore it, or run "
            "again with force=true."
        )
    parameters = dict(model.named_parameters())  # after `rebuild`, which adds the method's own
    for name, tensor in tensors.items():
        if name not in parameters or parameters[name].shape != tensor.shape:
            raise GeloraError(
                f"{directory} holds {name} {tuple(tensor.shape)}, which this model has not: another model"
            )
        with torch.no_grad():
            parameters[name].copy_(tensor)
    return model.eval()


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of the one of this name."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
