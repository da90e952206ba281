"""Know which files make up a model: their names, the index of the weights, and their fingerprints; no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from fnmatch import filter as fnmatch_filter
from pathlib import Path, PurePosixPath
from typing import Any

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import file_sha256

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
"""The files that may hold a vocabulary; earlier ones are preferred."""

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
"""Patterns of the only files that are fetched and fingerprinted, besides the weights that `WEIGHTS_INDEX` names."""

GENERATION_FILES = ("chat_template.jinja", "generation_config.json")
"""Names of the files that tasks on generation read beside these: how turns are written, and which tokens end a text."""

MOST_JSON_BYTES = 20_000_000
"""More than config.json or an index of any model takes."""
LONGEST_NAME = 200
"""Characters of a file name in an index."""


def has_weights(directory: Path) -> bool:
    """Return whether a directory holds safetensors: one file, or the index of several."""
    return (directory / WEIGHTS).is_file() or (directory / WEIGHTS_INDEX).is_file()


def describe_missing_safetensors(source: str, files: Iterable[str]) -> str:
    """Return the error message of a model without safetensors: what it has instead, and how to get them.

    Args:
        source: how the user named the model.
        files: the names of the files of the model.
    """
    names = sorted(files)
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    others = [name for name in names if name.endswith((".safetensors", ".h5", ".msgpack", ".gguf"))]
    instead = f", only {', '.join(pickles or others)}" if pickles or others else ""
    reason = " Pickled weights are never loaded, because they can run code." if pickles else ""
    return (
        f"{source} has no {WEIGHTS} (nor {WEIGHTS_INDEX}){instead}.{reason} Convert the model once, where you trust "
        "it: save_pretrained of AutoModel (AutoModelForCausalLM for text generation) and AutoTokenizer into a new "
        "directory, then model.path=DIR. Or name a revision that has safetensors: model.revision=refs/pr/N."
    )


def model_files(directory: Path, source: str) -> list[str]:
    """Return the names of all files that a model is read from, sorted: `MODEL_FILES` and those of the index.

    Raises:
        GeloraError: the index is damaged (see `weight_files`).
    """
    names = {entry.name for entry in directory.iterdir()}
    files = set(weight_files(directory, source))
    for pattern in MODEL_FILES:
        files.update(fnmatch_filter(names, pattern))
    return sorted(files)


def file_digests(directory: Path, source: str) -> dict[str, str]:
    """Return file name -> sha256 of its content, for every file that a model is read from.

    Raises:
        GeloraError: a file can't be read.
    """
    digests = {}
    for name in model_files(directory, source):
        try:
            digests[name] = file_sha256(directory / name)
        except OSError as error:
            raise GeloraError(
                f"{name} of {source} can't be read: {error.strerror}. Fetch the model again into {directory}; if "
                f"{name} is a directory or a broken link there, remove it first."
            ) from error
    return digests


def present_files(directory: Path, names: Iterable[str]) -> list[str]:
    """Return which of the files a directory holds, in the order of their names."""
    return sorted(name for name in names if (directory / name).is_file())


def weight_files(directory: Path, source: str) -> tuple[str, ...]:
    """Return the names of the files that hold a model's weights and are there: `WEIGHTS`, and those of the index.

    Raises:
        GeloraError: the index is damaged, or names a file that isn't safetensors or lies elsewhere.
    """
    # Beside `WEIGHTS` the index isn't used. Its files are part of the fingerprint all the same.
    names = (WEIGHTS, *read_weight_index(directory, source))
    return tuple(name for name in names if (directory / name).is_file())


def missing_weights(directory: Path, source: str) -> list[str]:
    """Return the files that the index names and that are not there; none where `WEIGHTS` is there.

    Raises:
        GeloraError: as `weight_files`.
    """
    if (directory / WEIGHTS).is_file():
        return []
    return [name for name in read_weight_index(directory, source) if not (directory / name).is_file()]


def read_weight_index(directory: Path, source: str) -> tuple[str, ...]:
    """Return the file names of a model's index, each once and sorted; none if there is no index.

    Raises:
        GeloraError: the index is damaged, or has a name that is not of safetensors inside the model's directory.
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
    # Sorted, because the order of the files is part of the fingerprint.
    return tuple(sorted(set(weight_map.values())))


def read_config_json(directory: Path, source: str) -> dict[str, Any]:
    """Return the content of a model's config.json.

    Raises:
        GeloraError: it can't be read, or holds no JSON object.
    """
    return read_object(directory / CONFIG, source)


def read_object(path: Path, source: str) -> dict[str, Any]:
    """Return the JSON object in a file of a model; `source` is how the user named the model.

    Raises:
        GeloraError: the file can't be read, is too large for such a file, or holds no JSON object.
    """
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


def _stays_inside(name: str) -> bool:
    """Return whether a file name of an index leads to a file inside the directory, on every operating system."""
    path = PurePosixPath(name)
    is_plain = name.isprintable() and "\\" not in name and len(name) <= LONGEST_NAME
    return is_plain and not path.is_absolute() and ".." not in path.parts
