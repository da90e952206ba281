"""A few prompts and completions in memory, of words that the tiny tokenizers know."""

from __future__ import annotations

import numpy as np

from gelora_cli.config.schema import TaskConfig
from gelora_cli.data.completions import CompletionSplit
from tests.helpers.tiny_words import SENTENCES

TASK = TaskConfig(name="instruct", kind="generation", source="instruct", test_splits=[], max_length=64)

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<' + message.role + '>' + message.content + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
"""Each turn with its speaker in front and the end token behind."""


def completion_split(rows: int = 12, name: str = "train") -> CompletionSplit:
    """Return prompts of two to five words, and the words that follow as completions; every row is another one."""
    prompts, completions = [], []
    for row in range(rows):
        words = SENTENCES[row % len(SENTENCES)].split()
        cut = 2 + row // len(SENTENCES) % 4
        prompts.append(" ".join(words[:cut]))
        completions.append(" " + " ".join(words[cut:]))
    return CompletionSplit(name, np.arange(rows, dtype=np.int64), prompts, completions)
