"""Rows of every GLUE task and of SQuAD, in the hub's columns, label order and file names."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.helpers.tiny import WORDS

TASKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "cola": (("sentence",), ("unacceptable", "acceptable")),
    "sst2": (("sentence",), ("negative", "positive")),
    "mrpc": (("sentence1", "sentence2"), ("not_equivalent", "equivalent")),
    "stsb": (("sentence1", "sentence2"), ()),
    "qqp": (("question1", "question2"), ("not_duplicate", "duplicate")),
    "mnli": (("premise", "hypothesis"), ("entailment", "neutral", "contradiction")),
    "qnli": (("question", "sentence"), ("entailment", "not_entailment")),
    "rte": (("sentence1", "sentence2"), ("entailment", "not_entailment")),
    "wnli": (("sentence1", "sentence2"), ("not_entailment", "entailment")),
}


def write_task(root: Path, task: str, *, train: int = 90, evaluated: int = 37) -> None:
    """Return the splits of one task; the test split has labels of -1, as on the hub."""
    suffixes = ("_matched", "_mismatched") if task == "mnli" else ("",)
    write_split(root, task, "train", rows(task, train, seed=1))
    for suffix in suffixes:
        write_split(root, task, f"validation{suffix}", rows(task, evaluated, seed=2 + len(suffix)))
        hidden = [row | {"label": -1} for row in rows(task, 11, seed=20)]
        write_split(root, task, f"test{suffix}", hidden)


def rows(task: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Draw random sentences; the label follows from the text, so that it can be learnt."""
    columns, labels = TASKS[task]
    generator = random.Random(f"{task} {seed}")
    found = []
    for index in range(count):
        texts = [" ".join(generator.choices(WORDS, k=generator.randint(3, 14))) for _ in columns]
        label = texts[0].count("e") % (len(labels) or 6)
        answer = {"label": label if labels else float(label), "idx": index}
        found.append(dict(zip(columns, texts, strict=True)) | answer)
    return found


def write_split(root: Path, task: str, split: str, values: list[dict[str, Any]], labels: Any = None) -> Path:
    """Write one parquet file with its features in the schema, as `datasets` writes them."""
    from datasets import ClassLabel, Dataset, Features, Value

    columns, names = TASKS[task]
    names = names if labels is None else labels
    label = ClassLabel(names=list(names)) if names else Value("float32")
    features = Features({name: Value("string") for name in columns} | {"label": label, "idx": Value("int32")})
    path = root / task / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns_of = {}
    for name in features:
        columns_of[name] = [row[name] for row in values]
    Dataset.from_dict(columns_of, features=features).to_parquet(path)
    return path


def squad_rows(count: int, seed: int, *, unanswerable: bool) -> list[dict[str, Any]]:
    """Draw contexts of up to 40 words, whose answer follows the word of the question; every third has none in v2."""
    generator = random.Random(seed)
    found = []
    for index in range(count):
        words = generator.choices(WORDS, k=generator.randint(6, 40))
        place = generator.randrange(len(words) - 2)
        text, start = " ".join(words[place + 1 : place + 3]), len(" ".join(words[: place + 1])) + 1
        without = unanswerable and index % 3 == 0
        answers = {"text": [] if without else [text], "answer_start": [] if without else [start]}
        question = f"which words follow {words[place]} ?"
        found.append({"id": f"q{index}", "question": question, "context": " ".join(words), "answers": answers})
    return found


def write_squad(root: Path, folder: str, split: str, values: list[dict[str, Any]]) -> Path:
    """Write one parquet file of SQuAD-like rows, with its features in the schema as the hub has them."""
    from datasets import Dataset, Features, Sequence, Value

    answers = Sequence({"text": Value("string"), "answer_start": Value("int32")})
    texts = {name: Value("string") for name in ("id", "title", "context", "question") if name in {"title", *values[0]}}
    features = Features(texts | ({"answers": answers} if "answers" in values[0] else {}))
    path = root / folder / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list([{"title": "made"} | row for row in values], features=features).to_parquet(path)
    return path
