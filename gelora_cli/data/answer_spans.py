"""Find an answer in the tokens of a window: characters of the context to tokens."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gelora_cli.data.questions import Answer


class TrimmedText:
    """A text that trims spans of characters to what a reader sees, whatever a tokenizer counts to a token.

    Some tokenizers count the blank before a word to its token, and some strip combining marks (accents). So blanks at
    both ends of a span are left out, and combining marks after its end are included.
    """

    def __init__(self, text: str) -> None:
        """Prepare three tables, each with one entry for every position of the text and one for its end."""
        self.text = text
        length = len(text)
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)  # of each character
        distinct, place = np.unique(codes, return_inverse=True)
        characters = [chr(code) for code in distinct.tolist()]
        is_mark = np.array([unicodedata.combining(character) > 0 for character in characters], bool)[place]
        is_visible = np.array([not character.isspace() for character in characters], bool)[place]
        positions = np.arange(length)
        after_visible = np.where(is_visible, positions + 1, 0)
        at_visible = np.where(is_visible, positions, length)
        at_unmarked = np.concatenate([np.where(is_mark, length, positions), [length]])
        # A running minimum from the right gives, at each position, the next position that has the property.
        # [end]: the position after the last visible character before `end`.
        self._last_visible_end = np.concatenate([[0], np.maximum.accumulate(after_visible)])
        # [start]: the first visible character from `start` on.
        self._next_visible = np.concatenate([np.minimum.accumulate(at_visible[::-1])[::-1], [length]])
        # [end]: the first position from `end` on that holds no combining mark.
        self._next_unmarked = np.minimum.accumulate(at_unmarked[::-1])[::-1]

    def trim(self, spans: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return spans (n, 2), given as first character and the one after the last; a span of blanks becomes empty."""
        spans = np.minimum(spans, len(self.text))
        start = np.minimum(self._next_visible[spans[:, 0]], spans[:, 1])  # (n,)
        end = np.maximum(self._last_visible_end[spans[:, 1]], start)  # (n,)
        end = np.where(end > start, self._next_unmarked[end], end)
        return np.stack([start, end], axis=1)  # (n, 2)


def find_token_span(
    answer: Answer, chars: NDArray[np.integer[Any]], covered: tuple[int, int]
) -> tuple[int, int] | None:
    """Return the first and the last context token that touch the answer; None if the window doesn't hold all of it.

    Args:
        answer: the gold answer.
        chars: the characters of each context token of the window, (tokens, 2).
        covered: the characters of the context that the window covers, first and the one after the last.
    """
    if answer.start < covered[0] or answer.end > covered[1]:
        return None
    starts, ends = chars[:, 0], chars[:, 1]
    is_touching = (ends > answer.start) & (starts < answer.end) & (ends > starts)  # an empty span touches nothing
    touching = np.flatnonzero(is_touching)
    if not len(touching):
        return None
    return int(touching[0]), int(touching[-1])
