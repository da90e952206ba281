"""Small steps of the tests of models: heads, texts, damaged files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.automatic_map import find_map
from gelora_cli.models.files import read_config_json
from gelora_cli.models.heads import LabelHead, LanguageHead, ScoreHead, SpanHead
from gelora_cli.models.locate import ResolvedModel, resolve_model
from gelora_cli.models.pretrained import empty_backbone

LABELS = LabelHead(("unacceptable", "acceptable"))
SCORE = ScoreHead()
SPAN = SpanHead()
LANGUAGE = LanguageHead()
TEXTS = ["the cat sat on the mat", "a dog"]
ERNIE = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "down": "output.dense",
}
"""Linear layers of a kind that is not declared."""


def from_directory(directory: Path) -> ResolvedModel:
    return resolve_model(hub=None, path=str(directory))


def found_names(resolved: ResolvedModel) -> dict[str, Any]:
    """Return the names of blocks and linears that are found in a model without declaration; none of a declared kind."""
    if read_config_json(resolved.directory, resolved.source)["model_type"] in MODEL_KINDS:
        return {}
    found = find_map(empty_backbone(resolved))
    return {"blocks": found.blocks, "linears": found.names}


def refusal(call: Any, *arguments: Any, **options: Any) -> str:
    """Return the message with which a call is refused."""
    with pytest.raises(GeloraError) as refused:
        call(*arguments, **options)
    return str(refused.value)


def rewrite_json(file: Path, **values: Any) -> None:
    """Change values in a file as an edit by hand does, which leaves an artifact without a sha256 that holds."""
    found = json.loads(file.read_text(encoding="utf-8"))
    found.pop("sha256", None)
    file.write_text(json.dumps(found | values), encoding="utf-8")


def rewrite_weights(directory: Path, change: Any) -> None:
    tensors = load_file(directory / "model.safetensors")
    save_file(change(tensors), directory / "model.safetensors", metadata={"format": "pt"})
