"""Refuse a head that a type of model can't have, before any weights are read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.heavy_imports import import_heavy
from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.files import read_config_json
from gelora_cli.models.heads import HeadSpec, LabelHead, LabelSetHead, LanguageHead, ScoreHead, SpanHead
from gelora_cli.models.kinds.base import is_causal
from gelora_cli.models.locate import ResolvedModel

HEADS: tuple[type[HeadSpec], ...] = (LabelHead, LabelSetHead, ScoreHead, SpanHead, LanguageHead)
"""The heads that a message tells of."""
MOST_EXAMPLES = 4
"""Model types that a message gives as examples."""


def check_head(resolved: ResolvedModel, head: HeadSpec | type[HeadSpec]) -> None:
    """Refuse a type of model for which transformers has no class with a head, and an encoder where a decoder is needed.

    A type that transformers doesn't know is refused where the model is loaded.

    Raises:
        GeloraError: there is no such class; the message says which heads there are.
    """
    import_heavy("torch", "transformers")
    import transformers

    config = read_config_json(resolved.directory, resolved.source)
    model_type = str(config.get("model_type"))
    if model_type not in transformers.CONFIG_MAPPING:
        return
    if can_have(config, head):
        _check_cache(resolved, model_type, head)
        return
    types = [name for name in MODEL_KINDS.names() if can_have({"model_type": name}, head)]
    examples = f"another type, such as {', '.join(types[:MOST_EXAMPLES])}"
    if head.needs_decoder and not is_causal(config):
        raise GeloraError(
            f"{resolved.source} is of type {model_type}, an encoder: its tokens see those after them, so it can't be "
            f"used for {head.model_type}. Take a decoder, which is a model of {examples}."
        )
    heads = ", ".join(other.model_type for other in HEADS if can_have(config, other))
    instead = "Take a task of such a kind, or a model" if heads else "Take a model"
    raise GeloraError(
        f"{resolved.source} is of type {model_type}, for which transformers {transformers.__version__} has no head "
        f"for {head.model_type}; it has {f'one for {heads}' if heads else 'none for any kind of task'}. {instead} of "
        f"{examples}."
    )


def _check_cache(resolved: ResolvedModel, model_type: str, head: HeadSpec | type[HeadSpec]) -> None:
    """Refuse a model that keeps no keys and values where texts are generated.

    Raises:
        GeloraError: its class takes no `past_key_values`.
    """
    import transformers

    if not head.needs_cache:
        return
    factory: Any = getattr(transformers, head.auto_class)
    model_class = factory._model_mapping[transformers.CONFIG_MAPPING[model_type]]
    if "past_key_values" not in inspect.signature(model_class.forward).parameters:
        raise GeloraError(
            f"{resolved.source} is of type {model_type}, which keeps no keys and values of earlier tokens "
            "(past_key_values), as recurrent models don't; gelora generates text with such a cache alone. Take a model "
            "with attention, such as one of type llama or qwen2."
        )


def can_have(config: Mapping[str, Any], head: HeadSpec | type[HeadSpec]) -> bool:
    """Return whether a model with this content of config.json can have a head, by transformers' own mappings.

    transformers has a class that scores the next token for encoders, too: BERT has one, for example.
    """
    import transformers

    model_type = str(config.get("model_type"))
    factory: Any = getattr(transformers, head.auto_class)
    if model_type not in transformers.CONFIG_MAPPING:
        return False
    if transformers.CONFIG_MAPPING[model_type] not in factory._model_mapping:
        return False
    return is_causal(config) or not head.needs_decoder
