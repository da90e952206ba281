"""Fixtures: tiny models of every kind and rows of every GLUE task in the hub's layout."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import KINDS, WORDS, make_tiny

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


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A directory per model kind."""
    root = tmp_path_factory.mktemp("models")
    return {kind: make_tiny(kind, root / kind) for kind in KINDS}


@pytest.fixture(scope="session")
def glue_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All nine GLUE tasks, a few rows each, in the columns, label order and file names of the hub."""
    root = tmp_path_factory.mktemp("glue")
    for task in TASKS:
        write_task(root, task)
    return root


@pytest.fixture(scope="session")
def real_glue() -> Path:
    """Real GLUE data, where there is any."""
    if "GELORA_DATA" not in os.environ:
        pytest.skip("GELORA_DATA is not set")
    return Path(os.environ["GELORA_DATA"]) / "glue"


def write_task(root: Path, task: str, *, train: int = 90, evaluated: int = 37) -> None:
    """Splits of one task; the test split has labels of -1, as on the hub."""
    suffixes = ("_matched", "_mismatched") if task == "mnli" else ("",)
    write_split(root, task, "train", rows(task, train, seed=1))
    for suffix in suffixes:
        write_split(root, task, f"validation{suffix}", rows(task, evaluated, seed=2 + len(suffix)))
        hidden = [row | {"label": -1} for row in rows(task, 11, seed=20)]
        write_split(root, task, f"test{suffix}", hidden)


def rows(task: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Random sentences; the label follows from the text, so that it can be learnt."""
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
    """One parquet file with its features in the schema, as `datasets` writes them."""
    from datasets import ClassLabel, Dataset, Features, Value

    columns, names = TASKS[task]
    names = names if labels is None else labels
    label = ClassLabel(names=list(names)) if names else Value("float32")
    features = Features({name: Value("string") for name in columns} | {"label": label, "idx": Value("int32")})
    path = root / task / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns_of = {name: [row[name] for row in values] for name in features}
    Dataset.from_dict(columns_of, features=features).to_parquet(path)
    return path
