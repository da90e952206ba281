"""Refuse a head that transformers does not have for a type of model, before any weights are read."""

from __future__ import annotations

from typing import Any

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.heavy_imports import import_heavy
from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.files import read_config_json
from gelora_cli.models.heads import HeadSpec, LabelHead, LabelSetHead, ScoreHead, SpanHead
from gelora_cli.models.locate import ResolvedModel

HEADS: tuple[type[HeadSpec], ...] = (LabelHead, LabelSetHead, ScoreHead, SpanHead)
"""The heads that a message tells of."""
MOST_EXAMPLES = 4
"""Model types that a message gives as examples."""


def check_head(resolved: ResolvedModel, head: HeadSpec | type[HeadSpec]) -> None:
    """Refuse a type of model for which transformers has no class with a head.

    A type that transformers doesn't know is refused where the model is loaded.

    Raises:
        GeloraError: there is no such class; the message says which heads there are.
    """
    import_heavy("torch", "transformers")
    import transformers

    model_type = str(read_config_json(resolved.directory, resolved.source).get("model_type"))
    if model_type not in transformers.CONFIG_MAPPING or _has_class(model_type, head):
        return
    heads = ", ".join(other.model_type for other in HEADS if _has_class(model_type, other))
    types = [name for name in MODEL_KINDS.names() if _has_class(name, head)]
    instead = "Take a task of such a kind, or a model" if heads else "Take a model"
    raise GeloraError(
        f"{resolved.source} is of type {model_type}, for which transformers {transformers.__version__} has no head "
        f"for {head.model_type}; it has {f'one for {heads}' if heads else 'none for any kind of task'}. {instead} of "
        f"another type, such as {', '.join(types[:MOST_EXAMPLES])}."
    )


def _has_class(model_type: str, head: HeadSpec | type[HeadSpec]) -> bool:
    """Return whether transformers has a class for models of a type with a head, by its own mappings."""
    import transformers

    factory: Any = getattr(transformers, head.auto_class)
    is_known = model_type in transformers.CONFIG_MAPPING
    return is_known and transformers.CONFIG_MAPPING[model_type] in factory._model_mapping
