"""Check whether a directory can be a model's, before anything of it is loaded; no torch.

Values of config.json are checked because transformers uses them without a check: some make it fail with an error that
names neither key nor file, and some make it fill the memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeGuard

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import quote
from gelora_cli.models.files import (
    CONFIG,
    TOKENIZER_CONFIG,
    WEIGHTS,
    WEIGHTS_INDEX,
    describe_missing_safetensors,
    has_weights,
    missing_weights,
    read_config_json,
    read_object,
    weight_files,
)

DISTRIBUTED_PARTS = "shard-*-model-*.safetensors"

# No published model comes near these bounds.
MOST_LAYERS = 1_000
MOST_UNITS = 10_000_000
MOST_ROWS = 1_000_000_000
"""Rows of the vocabulary, and positions."""

LAYER_COUNTS = ("num_hidden_layers", "n_layers", "n_layer", "num_hidden_groups", "inner_group_num")
HEAD_SIZES = ("num_attention_heads", "num_key_value_heads", "n_heads", "n_head", "head_dim")
WIDTHS = ("hidden_size", "embedding_size", "intermediate_size", "dim", "hidden_dim", "n_embd", "n_inner")
WIDTH_AND_HEADS = (("hidden_size", "num_attention_heads"), ("n_embd", "n_head"), ("dim", "n_heads"))
"""The width and the number of heads as most kinds call them, GPT-2, and DistilBERT."""
SIZES = {
    **dict.fromkeys(LAYER_COUNTS, (1, MOST_LAYERS)),
    **dict.fromkeys(HEAD_SIZES, (1, MOST_UNITS)),
    **dict.fromkeys(WIDTHS, (1, MOST_UNITS)),
    **dict.fromkeys(("vocab_size", "max_position_embeddings", "n_positions"), (1, MOST_ROWS)),
    "type_vocab_size": (0, MOST_UNITS),
    "num_labels": (1, MOST_UNITS),
}
"""Key of config.json -> the smallest and the largest whole number that is accepted; null is accepted, too."""

DTYPES = re.compile(r"(torch\.)?(auto|half|double|float(16|32|64)?|bfloat16|float8_\w+)")
TEXT_PARTS = ("text_config", "thinker_config", "llm_config", "language_config")
"""Keys under which the config.json of a model of text and images (or sound) holds that of its text part."""


def check_directory(directory: Path, source: str, *, needs_weights: bool = True) -> None:
    """Refuse a directory without config.json or safetensors, that of an adapter, and files that can't be a model's.

    Args:
        directory: where the model is.
        source: how the user named it, for messages.
        needs_weights: whether a directory without weights, or without some of them, is refused.

    Raises:
        GeloraError: something is missing or wrong.
    """
    files = {entry.name for entry in directory.iterdir()} if directory.is_dir() else set()
    # Asked first: an adapter's directory can hold safetensors and a tokenizer as well.
    if "adapter_config.json" in files:
        raise GeloraError(
            f"{source} holds an adapter (adapter_config.json), and a complete model is accepted. Give the directory or "
            "hub id of the model that the adapter was trained on."
        )
    if CONFIG not in files:
        where = "" if source == str(directory) else f" in {directory}"
        raise GeloraError(
            f"{source} has no config.json{where}; a directory as written by save_pretrained is accepted. "
            "Give that directory by model.path=DIR."
        )
    # Asked before sizes are read, so that the message can say how to convert pickled weights.
    if needs_weights and not has_weights(directory):
        raise GeloraError(describe_missing_safetensors(source, files))
    missing = missing_weights(directory, source)
    if needs_weights and missing:
        raise GeloraError(
            f"{WEIGHTS_INDEX} of {source} names {missing[0][:100]}, which is not in {directory}. Fetch the model again."
        )
    if parts := sorted(name for name in files if fnmatch(name, DISTRIBUTED_PARTS)):
        raise GeloraError(
            f"{source} holds parts of a distributed checkpoint ({parts[0]}), which transformers would read instead of "
            f"{WEIGHTS}. Write the complete model with save_pretrained, or remove these parts."
        )
    weights = weight_files(directory, source)
    if (directory / TOKENIZER_CONFIG).is_file():
        values = read_object(directory / TOKENIZER_CONFIG, source)
        _check_file_names(values, "fast_tokenizer_files", TOKENIZER_CONFIG, source)
    weight_bytes = sum((directory / name).stat().st_size for name in weights)
    is_complete = has_weights(directory) and not missing
    _check_config(read_config_json(directory, source), source, weight_bytes if is_complete else None)


def _check_file_names(values: Mapping[str, Any], key: str, file: str, source: str) -> None:
    """Refuse a list of files (for certain versions of transformers) that leads out of the model's directory."""
    names = values.get(key, [])
    are_plain = isinstance(names, list) and all(re.fullmatch(r"[\w.-]+", str(name)) for name in names)
    if not are_plain:
        raise GeloraError(f"{file} of {source}: {key} must be a list of file names in the same directory.")


def _check_config(config: Mapping[str, Any], source: str, weight_bytes: int | None) -> None:
    """Refuse a config.json that can't be that of these weights; the message gives the first three reasons."""
    _check_file_names(config, "configuration_files", CONFIG, source)
    _check_text_only(config, source)
    _check_unquantized(config, source)
    problems = [
        *_find_wrong_sizes(config),
        *_find_wrong_numbers(config),
        *_find_wrong_types(config),
        *_find_indivisible_sizes(config),
    ]
    if not problems and weight_bytes is not None:  # sizes can be multiplied only if each is a number
        problems = [*_find_missing_weights(config, weight_bytes)]
    if problems:
        raise GeloraError(
            f"config.json of {source}: {'; '.join(problems[:3])}. Use the config.json that belongs to these weights."
        )


def _check_text_only(config: Mapping[str, Any], source: str) -> None:
    """Refuse a model whose text part is one of several, because its blocks and its head are not those of a text model.

    Raises:
        GeloraError: with the model type that is accepted in its place.
    """
    part = next((key for key in TEXT_PARTS if isinstance(config.get(key), dict)), None)
    if part is None:
        return
    whole, text = config.get("model_type"), config[part].get("model_type")
    type_of_text = f" of model_type={quote(text)}" if text else ""
    raise GeloraError(
        f"config.json of {source}: model_type={quote(whole)} reads more than text, and its text model lies inside "
        f"{part}. A text-only model{type_of_text} is accepted: name one, or write the text part once by "
        "AutoModelForImageTextToText.from_pretrained(MODEL).get_decoder().save_pretrained(DIR), with the tokenizer "
        "beside it, then model.path=DIR."
    )


def _check_unquantized(config: Mapping[str, Any], source: str) -> None:
    """Refuse a model whose weights are stored quantized: merging, signals and exports need those in full."""
    if config.get("quantization_config") is None:
        return
    raise GeloraError(
        f"config.json of {source}: quantization_config says that its weights are quantized, and those in full "
        "precision are needed. Give the model that they were made from, by model.path=DIR or model.hub=OWNER/NAME; "
        "model.dtype=4bit then stores its frozen weights in 4 bits."
    )


def _find_wrong_sizes(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for each size that is not a whole number in its bounds."""
    for key, (low, high) in SIZES.items():
        value = config.get(key)
        has_size_per_block = isinstance(value, list) and key == "intermediate_size"  # as in a few decoders
        if value is None or has_size_per_block:
            continue
        if not (_is_whole(value) and low <= value <= high):
            yield f"{key}={quote(value)}: a whole number from {low} to {high} is accepted"


def _find_wrong_numbers(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for each probability or other number that is out of its bounds."""
    for key, value in config.items():
        if key.endswith(("dropout", "dropout_prob", "pdrop")):
            if value is not None and not (_is_number(value) and 0 <= value < 1):
                yield f"{key}={quote(value)}: a probability from 0 to below 1 is accepted"
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{key}={quote(value)}: a finite number is accepted"
        elif (
            key.endswith(("norm_eps", "initializer_range"))
            and value is not None
            and not (_is_number(value) and value >= 0)
        ):
            yield f"{key}={quote(value)}: a number of at least 0 is accepted"


def _find_wrong_types(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for each value of another type than its key needs."""
    checks: dict[str, tuple[Callable[[object], bool], str]] = {
        "model_type": (lambda value: isinstance(value, str), "a name such as bert is accepted"),
        "dtype": (_is_dtype, "a type such as float32 is accepted"),
        "torch_dtype": (_is_dtype, "a type such as float32 is accepted"),
        "id2label": (_is_label_map, "an object from numbers to names is accepted"),
        "label2id": (lambda value: isinstance(value, dict), "an object from names to numbers is accepted"),
        "pad_token_id": (_is_whole, "a whole number is accepted"),
        "transformers_weights": (lambda value: False, f"only {WEIGHTS} or {WEIGHTS_INDEX} is read"),
    }
    for key, (is_accepted, accepted) in checks.items():
        value = config.get(key)
        if value is not None and not is_accepted(value):
            yield f"{key}={quote(value)}: {accepted}"


def _find_indivisible_sizes(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for each size that can't be divided among the attention heads."""
    width_key, heads_key = next((keys for keys in WIDTH_AND_HEADS if keys[0] in config), WIDTH_AND_HEADS[0])
    width, heads = config.get(width_key), config.get(heads_key)
    groups = config.get("num_key_value_heads")
    # A config.json that gives the size of a head may have any width.
    has_head_size = config.get("head_dim") or config.get("attention_head_size")
    if _is_positive(width) and _is_positive(heads) and not has_head_size and width % heads:
        yield f"{width_key}={width} can't be shared among {heads_key}={heads}"
    if _is_positive(heads) and _is_positive(groups) and heads % groups:
        yield f"num_attention_heads={heads} can't be shared among num_key_value_heads={groups}"


def _find_missing_weights(config: Mapping[str, Any], weight_bytes: int) -> Iterator[str]:
    """Yield a message if the model is so much larger than its weights that building it could fill the memory."""
    width = next((config[key] for key, _ in WIDTH_AND_HEADS if key in config), None)
    vocabulary = config.get("vocab_size")
    inner_width = config.get("intermediate_size", config.get("hidden_dim"))
    embedding_width = config.get("embedding_size") or width
    least_params = 0  # the embeddings and one linear layer
    if _is_positive(vocabulary) and _is_positive(embedding_width):
        least_params += vocabulary * embedding_width
    if _is_positive(width) and _is_positive(inner_width):
        least_params += width * inner_width
    # A parameter takes a byte or more (most take two or four).
    if least_params > weight_bytes:
        yield (
            f"it describes at least {least_params:,} parameters, for which weights of {weight_bytes:,} bytes are too "
            "small"
        )


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)  # True is an int for Python


def _is_positive(value: object) -> TypeGuard[int]:
    return _is_whole(value) and value > 0


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_dtype(value: object) -> bool:
    # Models of several parts give an object with a type for each part.
    return isinstance(value, dict) or bool(DTYPES.fullmatch(str(value)))


def _is_label_map(value: object) -> bool:
    """Return whether a value is an object from numbers to names (or to numbers, which some models have as names)."""
    if not isinstance(value, dict):
        return False
    return all(re.fullmatch(r"\d{1,9}", str(key)) and isinstance(name, str | int) for key, name in value.items())
