"""Turn prompts and completions into tokens row by row: one text, its chat template, and the token that ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.core.errors import GeloraError
from gelora_cli.data.chat import find_turn_end, write_completions, write_prompts
from gelora_cli.data.encoding import ENCODE_ROWS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from gelora_cli.data.completions import CompletionSplit


class RowWriter:
    """What turns the rows of a split into tokens.

    Attributes:
        end_ids: the tokens that end a completion, the one that is written first.
    """

    def __init__(self, split: CompletionSplit, tokenizer: PreTrainedTokenizerBase) -> None:
        """Find out how a completion ends.

        Raises:
            GeloraError: the tokenizer has no end token.
        """
        self.split, self.tokenizer = split, tokenizer
        self.end = end_token(tokenizer)
        self.turn_end: int | None = None
        if split.conversations:
            prompt = split.conversations[0] if split.completions is None else split.conversations[0][:-1]
            self.turn_end = find_turn_end(tokenizer, prompt, self._place(0))
        self.end_ids = tuple(dict.fromkeys(token for token in (self.turn_end, self.end) if token is not None))

    def _place(self, row: int) -> str:
        """Return how messages name a row."""
        return f"{self.split.name}, row {self.split.ids[row]}"

    def encode(self, rows: slice) -> list[tuple[list[int], list[int]]]:
        """Return the tokens of some prompts, and those of prompts with their completions and the end token."""
        prompts, completions = self.texts(rows)
        prompt_tokens = self._tokenize(prompts)
        if completions is None:
            # A model needs a token to go on from.
            return [(tokens or [self.end], tokens or [self.end]) for tokens in prompt_tokens]
        texts = [prompt + text for prompt, text in zip(prompts, completions, strict=True)]
        pairs = []
        for tokens, full in zip(prompt_tokens, self._tokenize(texts), strict=True):
            must_end = self.turn_end is None and full[-1:] != [self.end]
            pairs.append((tokens, [*full, self.end] if must_end else full))
        return pairs

    def texts(self, rows: slice) -> tuple[list[str], list[str] | None]:
        """Return prompts and completions of some rows as they are tokenized; None where completions are not known."""
        split = self.split
        if split.conversations is None:
            completions = None if split.completions is None else list(split.completions[rows])
            return list(split.prompts[rows]), completions
        places = [self._place(row) for row in range(len(split))[rows]]
        if split.completions is None:
            return write_prompts(split.conversations[rows], self.tokenizer, places), None
        return write_completions(split.conversations[rows], self.tokenizer, places)

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        """Return the tokens of each text with the tokenizer's first token, but without one that it puts at the end."""
        encoded = self.tokenizer(
            ["a", *texts],
            return_special_tokens_mask=True,
            add_special_tokens=self.split.conversations is None,  # else the chat template has written them
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        # Some tokenizers close every text. That token is ours to add, and where a prompt ends the model must go on.
        # The mask tells it from a tokenizer whose end token also stands for unknown words.
        sample, *sequences = encoded["input_ids"]
        is_closed = sample[-1] == self.end and encoded["special_tokens_mask"][0][-1] == 1
        return [sequence[:-1] for sequence in sequences] if is_closed else sequences


def check_tokenizer(split: CompletionSplit, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that can't write the rows of a split, before any work.

    Raises:
        GeloraError: it has no end token, or what `write_completions` refuses.
    """
    writer = RowWriter(split, tokenizer)
    for start in range(0, len(split) if split.conversations else 0, ENCODE_ROWS):
        writer.texts(slice(start, start + ENCODE_ROWS))


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token that ends a completion.

    Raises:
        GeloraError: the tokenizer has none.
    """
    if tokenizer.eos_token_id is None:
        raise GeloraError(
            "the tokenizer of this model has no end token (eos_token), so that no completion could end; save it with "
            "one: tokenizer.eos_token = ...; tokenizer.save_pretrained(DIR)"
        )
    return int(tokenizer.eos_token_id)
