"""Which files make up a model, and whether they can be those of one, looked at before any is loaded; no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from gelora_cli.core.errors import GeloraError

CONFIG = "config.json"

TOKENIZER_CONFIG = "tokenizer_config.json"

WEIGHTS = "model.safetensors"

WEIGHTS_INDEX = "model.safetensors.index.json"

VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "tokenizer.model",
)
"""The files that may hold a vocabulary, in the order in which they are preferred."""

MODEL_FILES = (
    CONFIG,
    "config.*.json",
    WEIGHTS,
    WEIGHTS_INDEX,
    "model-*.safetensors",
    *VOCABULARIES,
    "tokenizer.*.json",
    "tokenizer.model.*",
    "tekken.json",
    "tiktoken.model",
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    TOKENIZER_CONFIG,
)
"""The only files that are fetched and fingerprinted, beside the weights that `WEIGHTS_INDEX` names."""

MOST_JSON_BYTES = 20_000_000
"""More than config.json or an index of any model takes."""

LONGEST_NAME = 200


def has_weights(directory: Path) -> bool:
    """Return whether a directory holds safetensors, whole or by an index."""
    return (directory / WEIGHTS).is_file() or (directory / WEIGHTS_INDEX).is_file()


def describe_missing_safetensors(source: str, files: Iterable[str]) -> str:
    """Say that a model has no safetensors, what it has instead, and how to get them."""
    pickles = sorted(name for name in files if name.endswith((".bin", ".pt", ".pth", ".ckpt")))
    others = sorted(name for name in files if name.endswith((".safetensors", ".h5", ".msgpack", ".gguf")))
    found = f", only {', '.join(pickles or others)}" if pickles or others else ""
    never = " Pickled weights are never loaded." if pickles else ""
    return (
        f"{source} has no {WEIGHTS} (nor {WEIGHTS_INDEX}){found}.{never} Convert the model once, where you trust it: "
        "save_pretrained of AutoModel and AutoTokenizer into a new directory, then model.path=DIR; or name a revision "
        "that has safetensors: model.revision=refs/pr/N."
    )


def model_files(directory: Path, source: str) -> list[str]:
    """Return the names of all files that a model is read from, sorted: `MODEL_FILES` and what the index names."""
    names = {entry.name for entry in directory.iterdir()}
    known = {name for name in names if any(fnmatch(name, pattern) for pattern in MODEL_FILES)}
    return sorted(known | {*weight_files(directory, source)})


def file_digests(directory: Path, source: str) -> dict[str, str]:
    """Return file name -> sha256 of its content, for every file that a model is read from.

    Raises:
        GeloraError: one of them is no file that can be read.
    """
    digests = {}
    for name in model_files(directory, source):
        try:
            with (directory / name).open("rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise GeloraError(
                f"{name} of {source} can't be read: {error.strerror}. Fetch the model again, or remove what is there "
                f"in its place: {directory}."
            ) from error
    return digests


def weight_files(directory: Path, source: str) -> tuple[str, ...]:
    """Return the names of the files that hold a model's weights: the whole one, and those that the index names.

    Raises:
        GeloraError: the index is damaged, or names a file that isn't there, isn't safetensors or lies elsewhere.
    """
    indexed = read_weight_index(directory, source)
    if (directory / WEIGHTS).is_file():  # then the index isn't used; its files are part of the fingerprint all the same
        return (WEIGHTS, *(name for name in indexed if (directory / name).is_file()))
    for name in indexed:
        if not (directory / name).is_file():
            raise GeloraError(
                f"{WEIGHTS_INDEX} of {source} names {name[:100]}, which is not in {directory}. Fetch the model again."
            )
    return indexed


def read_weight_index(directory: Path, source: str) -> tuple[str, ...]:
    """Return the file names of a model's index, each once; none without an index.

    Raises:
        GeloraError: no whole index, or a name that is not that of safetensors inside the model's directory.
    """
    index = directory / WEIGHTS_INDEX
    if not index.exists():
        return ()
    weight_map = read_object(index, source).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise GeloraError(
            f"{WEIGHTS_INDEX} of {source} holds no weight_map from tensors to files, as save_pretrained writes it. "
            "Write or fetch the model again."
        )
    for name in weight_map.values():
        if not isinstance(name, str) or not _stays_inside(name) or not name.endswith(".safetensors"):
            raise GeloraError(
                f"{WEIGHTS_INDEX} of {source} names the file {str(name)[:100]!r}; names of .safetensors files inside "
                "the model's directory are accepted. Write or fetch the model again."
            )
    return tuple(sorted(set(weight_map.values())))


def read_config_json(directory: Path, source: str) -> dict[str, Any]:
    """Return the content of a model's config.json.

    Raises:
        GeloraError: it can't be read, or holds no JSON object.
    """
    return read_object(directory / CONFIG, source)


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    is_plain = name.isprintable() and "\\" not in name and len(name) <= LONGEST_NAME
    return is_plain and not path.is_absolute() and ".." not in path.parts


def read_object(path: Path, source: str) -> dict[str, Any]:
    """Return the JSON object in a file of a model."""
    try:
        if path.stat().st_size > MOST_JSON_BYTES:
            raise ValueError(f"it has more than {MOST_JSON_BYTES:,} bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"it holds a {type(values).__name__}, not an object of keys and values")
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise GeloraError(
            f"{path.name} of {source} can't be read: {str(reason)[:150]}. Fetch the model again, or write it with "
            "save_pretrained."
        ) from error
    return values
