"""How a tokenizer joins the tokens of a question and of its context.

Both are tokenized once, each alone, and joined for every window. Letters in shapes: T tokens of one window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLE_TOKENS = 32
"""Tokens of the pair that shows where special tokens stand."""

QUESTION, CONTEXT = 0, 1
"""What `sequence_ids` says of the tokens of the first and of the second text."""


@dataclass(frozen=True)
class PairTemplate:
    """The special tokens around a question and its context, which do not depend on the two texts.

    Attributes:
        before: special tokens before the question.
        between: special tokens between question and context.
        after: special tokens after the context.
        types: the type of each token of `before`, of the question's, of `between`, of the context's, and of `after`;
            None if the model has no types.
    """

    before: NDArray[np.int32]
    between: NDArray[np.int32]
    after: NDArray[np.int32]
    types: NDArray[np.int8] | None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, text: str, end: Sequence[int] = ()) -> PairTemplate:
        """Return what the tokenizer puts around a pair.

        Args:
            tokenizer: a fast tokenizer.
            text: a text with at least one token, which is tried as both texts of a pair.
            end: tokens that follow those of the tokenizer; they have the type of the token before them.
        """
        encoded = tokenizer(text, text, truncation="longest_first", max_length=SAMPLE_TOKENS)
        parts = encoded.sequence_ids(0)
        first, second = parts.index(QUESTION), parts.index(CONTEXT)
        first_end, second_end = first + parts.count(QUESTION), second + parts.count(CONTEXT)
        ids = np.array([*encoded["input_ids"], *end], np.int32)
        types = None
        if "token_type_ids" in encoded:
            of_tokens = encoded["token_type_ids"]
            of_tokens = np.array([*of_tokens, *of_tokens[-1:] * len(end)], np.int8)
            # One entry for all tokens of the question, and one for all of the context.
            types = np.concatenate([of_tokens[: first + 1], of_tokens[first_end : second + 1], of_tokens[second_end:]])
        return cls(ids[:first], ids[first_end:second], ids[second_end:], types)

    def __len__(self) -> int:
        """Return the number of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, question: NDArray[np.int32], context: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the tokens of a window: (T,)."""
        return np.concatenate([self.before, question, self.between, context, self.after])

    def context_start(self, question: int) -> int:
        """Return the place of the first context token in a window whose question has so many tokens."""
        return len(self.before) + question + len(self.between)

    def join_types(self, question: int, context: int) -> NDArray[np.int8] | None:
        """Return the types of a window whose question and context have so many tokens, (T,); None if it has none."""
        if self.types is None:
            return None
        repeats = [1] * len(self.before) + [question] + [1] * len(self.between) + [context] + [1] * len(self.after)
        return np.repeat(self.types, repeats)


def window_bounds(tokens: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Return the first token, and the one after the last, of windows over a context.

    Args:
        tokens: number of tokens of the context.
        room: tokens of the context that fit into one window.
        stride: tokens that a window shares with the one before it, fewer than `room`.

    Raises:
        ValueError: `room` is not more than `stride`, so that no window would begin after the one before it.
    """
    if room <= stride:
        raise ValueError(f"windows with room for {room} tokens can't share {stride} of them")
    bounds = [(0, min(room, tokens))]
    while bounds[-1][1] < tokens:
        start = bounds[-1][0] + room - stride
        bounds.append((start, min(start + room, tokens)))
    return bounds
