"""The generated task on plurals: its words, its rows, and that the demo task keeps its own draws."""

from __future__ import annotations

import random
import re

import pytest

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.completions import CompletionSplit
from gelora_cli.data.demo import demo_splits, divide_vocabulary
from gelora_cli.data.demo_plural import ROWS, plural_splits
from gelora_cli.data.inflection import gerund, participle, past, plural, third_person
from gelora_cli.data.sources import load_task_split

TASK = TaskConfig(name="plural", kind="generation", source="plural")


def forms(split: str) -> set[str]:
    """Return every form of the content words of a split."""
    words = [word for kind in divide_vocabulary(random.Random(0))[split].values() for word in kind]
    changed = {change(word) for word in words for change in (plural, third_person, past, participle, gerund)}
    return changed | set(words)


def test_splits_share_no_content_word() -> None:
    splits = plural_splits()
    assert {name: len(pairs) for name, pairs in splits.items()} == ROWS
    sentences = [sentence for pairs in splits.values() for pair in pairs for sentence in pair]
    assert len(set(sentences)) == len(sentences)
    used = {}
    for name, pairs in splits.items():
        used[name] = set(re.findall(r"\w+", " ".join(map(" ".join, pairs))))
    for name in ("validation", "test"):
        content = used[name] & forms(name)
        assert len(content) > 200
        assert not content & used["train"]


def test_the_completion_is_the_prompt_in_the_plural() -> None:
    for pair in plural_splits()["validation"]:
        first, second = pair.singular.split(), pair.plural.split()
        assert len(first) == len(second)
        changed = [(one, other) for one, other in zip(first, second, strict=True) if one != other]
        assert len(changed) == 2  # the noun and its verb
        assert changed[0][1] == plural(changed[0][0])


def test_the_rows_are_a_function_of_the_seed() -> None:
    one, demo = plural_splits(1), demo_splits()
    assert plural_splits(1) is one  # generated once, whichever split is asked for
    plural_splits.cache_clear()
    demo_splits.cache_clear()
    assert plural_splits(1) == one != plural_splits(0)
    assert demo_splits() == demo
    split = load_task_split(TASK, DataConfig(), "validation")
    assert isinstance(split, CompletionSplit)
    assert split.completions is not None
    assert all(text.startswith(" ") for text in split.completions)
    # Printed by this test: a change of the rows changes the numbers of every run of this task.
    assert split.fingerprint()[:16] == "a2b361a16973195a"


def test_a_split_that_there_is_not() -> None:
    with pytest.raises(GeloraError, match="task=plural has no split dev; accepted: train, validation, test"):
        load_task_split(TASK, DataConfig(), "dev")
