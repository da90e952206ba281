"""A saved adapter folded into the weights of its base model."""

from __future__ import annotations

from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel

from gelora_cli.core.artifacts.adapter import SavedAdapter
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METHODS
from gelora_cli.core.run_files import PEFT_CONFIG
from gelora_cli.methods import load_adapter


def merge_adapter(model: PreTrainedModel, directory: Path) -> PreTrainedModel:
    """Merge the adapter and head saved in a directory into a fresh base model in float32: `W + scaling * B A`.

    AdaLoRA's and SoRA's updates are added in the same way; trained biases, weights and heads replace the base's. The
    model given is changed, and has its own modules again.

    Raises:
        GeloraError: bottleneck adapters, which can't be merged; a damaged adapter, or one of another model.
    """
    if not (directory / PEFT_CONFIG).exists():
        method = METHODS.get(read_artifact(SavedAdapter, directory / SavedAdapter.FILE).method)
        if method.unmergeable:
            raise GeloraError(f"{directory} can't be merged: method={method.name}, {method.unmergeable}.")
        load_adapter(model, directory)
        method.merge(model)
        return model
    loaded = load_adapter(model, directory)
    assert isinstance(loaded, PeftModel)
    merged: PreTrainedModel = loaded.merge_and_unload()
    return merged.eval()  # type: ignore[no-untyped-call, no-any-return]
