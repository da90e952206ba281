"""Refuse a head that transformers does not have for a kind of model; no torch."""

from __future__ import annotations

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.models.files import read_config_json
from gelora_cli.models.heads import HeadSpec, SpanHead
from gelora_cli.models.kinds.base import kind_of
from gelora_cli.models.locate import ResolvedModel


def check_head(resolved: ResolvedModel, head: HeadSpec) -> None:
    """Refuse a question-answering head for a declared kind that has none, before anything is loaded.

    Raises:
        GeloraError: with the kinds that have one.
    """
    kind = kind_of(read_config_json(resolved.directory, resolved.source).get("model_type"))
    if isinstance(head, SpanHead) and not kind.answers_questions:
        raise GeloraError(explain_missing_head(kind.name, head, resolved.source))


def explain_missing_head(model_type: str, head: HeadSpec, source: str) -> str:
    """Return the error message of a model type for which transformers has no such head."""
    text = f"{source}: transformers has no {head.model_type} head for model_type={model_type}"
    if isinstance(head, SpanHead):
        accepted = [name for name in MODEL_KINDS.names() if MODEL_KINDS.get(name).answers_questions]
        return f"{text}; of the known kinds it has one for {', '.join(accepted)}."
    return f"{text}. Use a model of another kind."
