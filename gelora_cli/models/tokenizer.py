"""Load a model's tokenizer, and check that it fits the model and the length of the texts."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.messages import first_line
from gelora_cli.models.files import VOCABULARIES, read_config_json
from gelora_cli.models.kinds.base import kind_of
from gelora_cli.models.locate import ResolvedModel
from gelora_cli.models.pretrained import quiet_transformers, read_config

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(resolved: ResolvedModel, kind: str | None = None) -> PreTrainedTokenizerBase:
    """Return the model's fast tokenizer, which pads on the right.

    A decoder's tokenizer without a padding token pads with its end token. An encoder's must put special tokens around a
    text and between the two texts of a pair; some versions silently leave them out.

    Args:
        resolved: where the model is.
        kind: the model type, by default that of config.json.

    Raises:
        GeloraError: no tokenizer, a missing package, no fast version, or special tokens that aren't added.
    """
    from transformers import AutoTokenizer

    with quiet_transformers():
        kind = kind or read_config(resolved).model_type
        _check_tokenizer_files(resolved)
        try:
            tokenizer = cast(
                "PreTrainedTokenizerBase",
                AutoTokenizer.from_pretrained(resolved.directory, trust_remote_code=False, local_files_only=True),
            )
        except StoppedError:  # a signal, not a fault of the file
            raise
        except Exception as error:  # transformers and tokenizers raise errors of many classes for a damaged file
            raise GeloraError(
                f"The tokenizer of {resolved.source} can't be read: {first_line(error)}. A tokenizer.json as written "
                "by save_pretrained of AutoTokenizer is accepted (no remote code); a tiktoken file needs `pip install "
                "tiktoken`."
            ) from error
    if not tokenizer.is_fast:
        raise GeloraError(
            f"{type(tokenizer).__name__} of {resolved.source} is not a fast tokenizer, and a fast one (with "
            "tokenizer.json) is needed. Save it once by AutoTokenizer.from_pretrained(...).save_pretrained(DIR)."
        )
    # Batches are padded on the right (data/collate.py); a decoder's tokenizer may say left.
    tokenizer.padding_side = "right"
    kind_of(kind).prepare_tokenizer(tokenizer, resolved.source)
    return tokenizer


def _check_tokenizer_files(resolved: ResolvedModel) -> None:
    """Refuse a directory without a vocabulary, and a vocabulary whose package isn't installed.

    Without this check transformers would silently use an empty vocabulary.
    """
    present = [name for name in VOCABULARIES if (resolved.directory / name).is_file()]
    if not present:
        raise GeloraError(
            f"{resolved.source} has no tokenizer in {resolved.directory}; one of {', '.join(VOCABULARIES)} is needed. "
            "Save it beside the weights: AutoTokenizer.from_pretrained(...).save_pretrained(DIR)."
        )
    # A vocabulary of SentencePiece is converted by these packages, which transformers doesn't require.
    readers = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"}
    missing = [package for package, module in readers.items() if importlib.util.find_spec(module) is None]
    if present[0].endswith(".model") and missing:
        raise GeloraError(
            f"The tokenizer of {resolved.source} ({present[0]}) can't be read without {' and '.join(missing)}. "
            f"Install it: pip install {' '.join(missing)}."
        )


def special_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the tokens that mark the ends of texts or fill up batches, ascending; an unknown word is none of them."""
    names = ("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "pad_token_id")
    ids = {getattr(tokenizer, name, None) for name in names}
    return tuple(sorted(token_id for token_id in ids if token_id is not None))


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Refuse a tokenizer that has ids without a row in the model's input embeddings.

    Raises:
        GeloraError: the largest id has no row.
    """
    rows = cast("nn.Embedding", model.get_input_embeddings()).num_embeddings
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise GeloraError(
            f"The tokenizer has ids up to {largest}, but the model has embeddings for 0 to {rows - 1}: they are of "
            "different models. "
            "Give a directory that holds the tokenizer saved with these weights."
        )


def check_length(resolved: ResolvedModel, max_length: int, new_tokens: int = 0) -> None:
    """Refuse token sequences that are longer than a model takes.

    Most rotary and relative positions have no limit.

    Raises:
        GeloraError: `max_length` and `new_tokens` together are above what config.json allows.
    """
    check_positions(read_config_json(resolved.directory, resolved.source), resolved.source, max_length, new_tokens)


def check_positions(config: Mapping[str, Any], source: str, max_length: int, new_tokens: int = 0) -> None:
    """Refuse what `check_length` refuses.

    Args:
        config: the content of config.json.
        source: how messages name the model.
        max_length: tokens of the longest sequence.
        new_tokens: tokens that are generated behind it.

    Raises:
        GeloraError: `max_length` and `new_tokens` together are above what config.json allows.
    """
    kind = kind_of(config.get("model_type"))
    longest = kind.longest_input(config)
    if longest is None or max_length + new_tokens <= longest:
        return
    given, fix = f"task.max_length={max_length}", f"give task.max_length={longest} or less"
    if new_tokens:
        given += f" and task.max_new_tokens={new_tokens} make up to {max_length + new_tokens} tokens"
        fix = f"lower one of them, so that together they are {longest} or less"
    raise GeloraError(f"{given}: {source} {kind.limit.format(longest=longest)}; {fix}.")
