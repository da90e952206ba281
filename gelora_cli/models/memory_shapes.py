"""Read from a model without weights what decides how much memory it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gelora_cli.core.artifacts.model_map import BlockMap, LinearShape, ModelMap
from gelora_cli.models.block_map import count_params
from gelora_cli.models.memory import BlockValues, MemoryShapes
from gelora_cli.models.shapes import read_shapes

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

ACTIVATION_KEYS = ("hidden_act", "hidden_activation", "activation_function", "activation")
DROPOUT_KEYS = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
COMPOSED_ACTIVATIONS = ("gelu_new", "gelu_fast")
"""Activations that transformers writes out in steps of their own, of which four are kept."""
STEPS_OF_COMPOSED = 4


def memory_shapes(model: PreTrainedModel, model_map: ModelMap, *, scores_vocabulary: bool) -> MemoryShapes:
    """Return what of a model decides how much memory it takes.

    Args:
        model: the task model without an adapter; its weights are not read, so they may be on the device `meta`.
        model_map: its blocks.
        scores_vocabulary: whether the task has a score of every token of the vocabulary.
    """
    shapes = read_shapes(model, model_map)
    config: Any = model.config
    block = shapes.blocks[0]  # blocks are alike (`models.structure`)
    linear_params = sum(
        linear.in_features * linear.out_features for mapped in shapes.blocks for linear in mapped.linears
    )
    task_model: Any = model
    output = task_model.get_output_embeddings() if scores_vocabulary else None
    output_params = 0 if output is None else int(output.weight.numel())
    tokens = task_model.get_input_embeddings().weight
    is_untied = output is not None and output.weight is not tokens
    is_eager = getattr(config, "_attn_implementation", None) == "eager"
    return MemoryShapes(
        model=shapes,
        block=_block_values(model.get_submodule(block.name), block, config),
        width=_width(block),
        heads=int(config.num_attention_heads),
        linear_params=linear_params,
        other_params=count_params(model) - linear_params,
        embedding_params=int(tokens.numel()) + output_params * is_untied,
        head_params=model_map.head_params,
        vocabulary=int(output.weight.shape[0]) if output is not None else 0,
        output_params=output_params,
        is_eager=is_eager,
        attention_dropout=any((getattr(config, key, None) or 0) > 0 for key in DROPOUT_KEYS),
    )


def _width(block: BlockMap) -> int:
    """Return the width of the hidden states, which the first linear of the attention reads."""
    return next(linear.in_features for linear in block.linears if linear.role in ("query", "key", "value", "qkv"))


def _block_values(module: nn.Module, block: BlockMap, config: Any) -> BlockValues:
    by_role = {linear.role: linear for linear in block.linears}
    width = _width(block)
    if "output" in by_role:
        query = by_role["output"].in_features
    else:
        query = by_role["query"].out_features if "query" in by_role else width
    if "key" in by_role:
        key = by_role["key"].out_features
    else:
        key = (by_role["qkv"].out_features - query) // 2 if "qkv" in by_role else query
    return BlockValues(
        norms=sum(_norm_values(name, width, query, key) for name in _norm_names(module)),
        query=query,
        key=key,
        feed_forward=_feed_forward_values(by_role, config),
        dropout=width * _hidden_dropouts(module),
    )


def _norm_names(module: nn.Module) -> list[str]:
    return [name for name, inner in module.named_modules() if "norm" in type(inner).__name__.lower()]


def _norm_values(name: str, width: int, query: int, key: int) -> int:
    """Return the numbers for each token that a norm reads: the hidden state, or all queries or keys."""
    last = name.rpartition(".")[2].lower()
    if last.startswith(("q_", "query")):
        return query
    if last.startswith(("k_", "key")):
        return key
    return width


def _feed_forward_values(by_role: dict[str, LinearShape], config: Any) -> int:
    """Return what the feed-forward keeps beside the inputs of its linears, in numbers for each token."""
    inner = by_role.get("down") or by_role.get("up")
    if inner is None:
        return 0
    size = inner.in_features if inner.role == "down" else inner.out_features
    names = [getattr(config, key, None) for key in ACTIVATION_KEYS]
    steps = STEPS_OF_COMPOSED if any(name in COMPOSED_ACTIVATIONS for name in names) else 1
    is_gated = "gate" in by_role or "gate_up" in by_role
    return (steps + 2 * is_gated) * size  # a product keeps both its factors


def _hidden_dropouts(module: nn.Module) -> int:
    """Return how many dropouts on hidden states a block has; that of the attention's probabilities is none of them."""
    from torch import nn

    active = [inner for inner in module.modules() if isinstance(inner, nn.Dropout) and inner.p > 0]
    return max(0, len(active) - 1)
