"""Where an answer lies in the tokens of a window."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gelora_cli.data.questions import Answer


class TrimmedText:
    """Spans of characters as a reader sees them, whatever a tokenizer counts to a token.

    Blanks at the ends are left out; combining marks behind the end, which some tokenizers strip, are taken in.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        marks = np.array([unicodedata.combining(character) > 0 for character in text])
        solid = np.array([not character.isspace() for character in text])
        places = np.arange(len(text))
        behind = np.where(solid, places + 1, 0)
        ahead = np.where(solid, places, len(text))
        self._last = np.concatenate([[0], np.maximum.accumulate(behind)])  # [e]: behind the last solid one before e
        self._next = np.concatenate([np.minimum.accumulate(ahead[::-1])[::-1], [len(text)]])  # [s]: first solid from s
        unmarked = np.concatenate([np.where(marks, len(text), places), [len(text)]])
        self._whole = np.minimum.accumulate(unmarked[::-1])[::-1]  # [e]: first place from e that is no mark

    def of(self, spans: NDArray[np.int64]) -> NDArray[np.int64]:
        """Spans (n, 2), first character and the one behind the last; a span of blanks becomes empty."""
        spans = np.minimum(spans, len(self.text))
        start = np.minimum(self._next[spans[:, 0]], spans[:, 1])
        end = np.maximum(self._last[spans[:, 1]], start)
        return np.stack([start, np.where(end > start, self._whole[end], end)], axis=1)


def find_token_span(
    answer: Answer, chars: NDArray[np.int64], context: tuple[int, int], covered: tuple[int, int]
) -> tuple[int, int] | None:
    """The first and last token that touch the answer, or None where the window doesn't hold it whole."""
    if answer.start < covered[0] or answer.end > covered[1]:
        return None
    low, high = context
    spans = chars[low:high]
    touching = np.flatnonzero((spans[:, 1] > answer.start) & (spans[:, 0] < answer.end) & (spans[:, 1] > spans[:, 0]))
    return (low + int(touching[0]), low + int(touching[-1])) if len(touching) else None
