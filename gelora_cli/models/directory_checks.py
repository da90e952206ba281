"""Whether a directory can be a model's, checked before anything of it is loaded."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeGuard

from gelora_cli.core.errors import GeloraError
from gelora_cli.models.files import (
    CONFIG,
    TOKENIZER_CONFIG,
    WEIGHTS,
    WEIGHTS_INDEX,
    describe_missing_safetensors,
    has_weights,
    read_config_json,
    read_object,
    weight_files,
)

MOST_LAYERS = 1_000

MOST_UNITS = 10_000_000
"""More than any size of a model but those of its vocabulary and positions."""

MOST_ROWS = 1_000_000_000

SIZES = {
    **dict.fromkeys(("num_hidden_layers", "n_layers", "n_layer"), (1, MOST_LAYERS)),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "n_heads", "n_head", "head_dim"), (1, MOST_UNITS)),
    **dict.fromkeys(("hidden_size", "embedding_size", "intermediate_size", "dim", "hidden_dim"), (1, MOST_UNITS)),
    **dict.fromkeys(("vocab_size", "max_position_embeddings"), (1, MOST_ROWS)),
    "type_vocab_size": (0, MOST_UNITS),
    "num_labels": (1, MOST_UNITS),
}
"""Key of config.json -> the smallest and largest whole number accepted; null is accepted, too."""

DTYPES = re.compile(r"(torch\.)?(auto|half|double|float(16|32|64)?|bfloat16|float8_\w+)")

DISTRIBUTED = "shard-*-model-*.safetensors"


def check_directory(directory: Path, source: str) -> None:
    """Refuse a directory without `config.json` or safetensors, an adapter's, and files that can't be a model's.

    Raises:
        GeloraError: what is missing or wrong, and what is accepted.
    """
    files = {entry.name for entry in directory.iterdir()} if directory.is_dir() else set()
    if "adapter_config.json" in files:
        raise GeloraError(
            f"{source} holds an adapter (adapter_config.json); a whole model is accepted. Give the directory or hub "
            "id of the model that the adapter was trained on."
        )
    if CONFIG not in files:
        raise GeloraError(
            f"{source} has no config.json in {directory}; a directory as written by save_pretrained is accepted. "
            "Give that directory by model.path=DIR."
        )
    if not has_weights(directory):
        raise GeloraError(describe_missing_safetensors(source, files))
    if parts := sorted(name for name in files if fnmatch(name, DISTRIBUTED)):
        raise GeloraError(
            f"{source} holds parts of a distributed checkpoint ({parts[0]}), which transformers would read in place of "
            f"{WEIGHTS}. Write the whole model with save_pretrained, or remove them."
        )
    weights = weight_files(directory, source)
    _check_tokenizer_config(directory, source)
    _check_config(read_config_json(directory, source), source, _total_bytes(directory, weights))


def _check_tokenizer_config(directory: Path, source: str) -> None:
    """Refuse a tokenizer_config.json that names files elsewhere."""
    path = directory / TOKENIZER_CONFIG
    if path.is_file():
        _check_versions(read_object(path, source), "fast_tokenizer_files", path.name, source)


def _check_versions(values: Mapping[str, Any], key: str, file: str, source: str) -> None:
    """Refuse a list of files for certain versions of transformers with a name that leads elsewhere."""
    names = values.get(key, [])
    plain = isinstance(names, list) and all(re.fullmatch(r"[\w.-]+", str(name)) for name in names)
    if not plain:
        raise GeloraError(f"{file} of {source}: {key} must be a list of file names in the same directory.")


def _total_bytes(directory: Path, names: Iterable[str]) -> int:
    return sum((directory / name).stat().st_size for name in names)


def _check_config(config: Mapping[str, Any], source: str, weight_bytes: int) -> None:
    """Refuse a config.json that can't be that of these weights, with the first few reasons."""
    _check_versions(config, "configuration_files", CONFIG, source)
    problems = [*_size_values(config), *_number_values(config), *_named_values(config), *_shape_problems(config)]
    if not problems:
        problems = _size_problems(config, weight_bytes)
    if problems:
        raise GeloraError(
            f"config.json of {source}: {'; '.join(problems[:3])}. Take the config.json that belongs to these weights."
        )


def _size_values(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the model's sizes, each for itself."""
    for key, (low, high) in SIZES.items():
        value = config.get(key)
        by_block = isinstance(value, list) and key == "intermediate_size"  # a few decoders have one for each block
        if value is not None and not by_block and not (_is_whole(value) and low <= value <= high):
            yield f"{key}={_shown(value)}: a whole number from {low} to {high} is accepted"


def _number_values(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with probabilities and other numbers."""
    for key, value in config.items():
        if key.endswith(("dropout", "dropout_prob", "pdrop")):
            if value is not None and not (_is_number(value) and 0 <= value < 1):
                yield f"{key}={_shown(value)}: a probability from 0 to below 1 is accepted"
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{key}={_shown(value)}: a finite number is accepted"
        elif key.endswith(("norm_eps", "initializer_range")) and not _is_at_least_0(value):
            yield f"{key}={_shown(value)}: a number of at least 0 is accepted"


def _named_values(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the values that are no sizes, by their keys."""
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        "model_type": (lambda value: isinstance(value, str), "a name such as bert is accepted"),
        "dtype": (_is_dtype, "a type such as float32 is accepted"),
        "torch_dtype": (_is_dtype, "a type such as float32 is accepted"),
        "id2label": (_are_labels, "an object from numbers to names is accepted"),
        "label2id": (lambda value: isinstance(value, dict), "an object from names to numbers is accepted"),
        "pad_token_id": (_is_whole, "a whole number is accepted"),
        "transformers_weights": (lambda value: False, f"only {WEIGHTS} or {WEIGHTS_INDEX} is read"),
    }
    for key, (is_accepted, accepted) in checks.items():
        value = config.get(key)
        if value is not None and not is_accepted(value):
            yield f"{key}={_shown(value)}: {accepted}"


def _shape_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong between two values."""
    width: Any = config.get("hidden_size")
    heads: Any = config.get("num_attention_heads")
    groups: Any = config.get("num_key_value_heads")
    free = config.get("head_dim") or config.get("attention_head_size")
    if _is_positive(width) and _is_positive(heads) and not free and width % heads:
        yield f"hidden_size={width} can't be shared among num_attention_heads={heads}"
    if _is_positive(heads) and _is_positive(groups) and heads % groups:
        yield f"num_attention_heads={heads} can't be shared among num_key_value_heads={groups}"


def _size_problems(config: Mapping[str, Any], weight_bytes: int) -> list[str]:
    """Return a problem if the model is so much larger than its weights that building it could fill the memory."""
    width: Any = config.get("hidden_size")
    rows: Any = config.get("vocab_size")
    inner: Any = config.get("intermediate_size")
    embedded = config.get("embedding_size") or width
    least = rows * embedded if _is_positive(rows) and _is_positive(embedded) else 0
    least += width * inner if _is_positive(width) and _is_positive(inner) else 0
    if "quantization_config" in config or least <= weight_bytes:  # at one byte a parameter; most take two or four
        return []
    return [f"it describes at least {least:,} parameters, for which weights of {weight_bytes:,} bytes are too small"]


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_positive(value: object) -> TypeGuard[int]:
    return _is_whole(value) and value > 0


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_at_least_0(value: object) -> bool:
    return value is None or (_is_number(value) and value >= 0)


def _is_dtype(value: object) -> bool:
    return isinstance(value, dict) or bool(DTYPES.fullmatch(str(value)))


def _are_labels(value: object) -> bool:
    """Return whether this is an object from numbers to names."""
    if not isinstance(value, dict):
        return False
    return all(re.fullmatch(r"\d{1,9}", str(key)) and isinstance(name, str | int) for key, name in value.items())


def _shown(value: object) -> str:
    """Return a value of a file for a message: printable and short."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, or lists within lists
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:60]}..."
