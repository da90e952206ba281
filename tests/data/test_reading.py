"""Files are read once, and the hub is asked once, while the rows of one run are found."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from gelora_cli.config.complete import complete
from gelora_cli.core.errors import GeloraError
from gelora_cli.data import user_questions
from gelora_cli.data.files import READERS, Request, read_table
from gelora_cli.data.reading import once_while_reading, reading_once
from gelora_cli.data.sources import load_task_split
from gelora_cli.data.text_input import read_text
from gelora_cli.pipeline import inputs
from tests.helpers.composed import composed
from tests.helpers.rows import squad_rows
from tests.helpers.user_questions import write_questions

OWN = ("task=text", "task.columns=[review]", "task.label=mood", "method=lora", "budget=rank:1")
INSTRUCT = ("task=instruct", "model=gpt2", "method=lora", "budget=rank:1")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each file is read, by its name."""
    counts: Counter[str] = Counter()

    def counted(read: Any) -> Any:
        def read_and_count(path: Path, *more: Any) -> Any:
            counts[path.name] += 1
            return read(path, *more)

        return read_and_count

    for suffix, reader in READERS.items():
        monkeypatch.setitem(READERS, suffix, counted(reader))
    monkeypatch.setattr(user_questions, "read_text", counted(read_text))
    return counts


def write_reviews(path: Path, count: int = 60) -> Path:
    path.write_text("review,mood\n" + "".join(f"text {row},{'ab'[row % 2]}\n" for row in range(count)))
    return path


def load(*words: str, signals: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the rows of a run, or of a measurement without one."""
    problems: list[str] = []
    _, splits = inputs._load_rows(complete(composed(*words)), signals, problems)
    assert problems == []
    return splits


def test_a_table_is_read_once_for_labels_training_and_validation_rows(tmp_path: Path, reads: Counter[str]) -> None:
    file = write_reviews(tmp_path / "rows.csv")
    config = complete(composed(*OWN, f"data.text={file}", "task.labels=[a,b]"))
    apart = {name: load_task_split(config.task, config.data, name) for name in ("train", "validation")}
    assert reads.pop("rows.csv") > 1
    together = load(*OWN, f"data.text={file}")
    assert reads == {"rows.csv": 1}
    assert {name: split.fingerprint() for name, split in together.items()} == {
        name: split.fingerprint() for name, split in apart.items()
    }
    assert [split.note for split in together.values()] == [split.note for split in apart.values()]
    load(*OWN, f"data.text={file}", f"data.text_validation={write_reviews(tmp_path / 'other.csv', 9)}")
    assert reads == {"rows.csv": 2, "other.csv": 1}
    load(*OWN, f"data.text={file}", signals=["idim"])
    assert reads == {"rows.csv": 3, "other.csv": 1}


def test_prompts_and_questions_are_read_once(tmp_path: Path, reads: Counter[str]) -> None:
    prompts = tmp_path / "prompts.jsonl"
    lines = [json.dumps({"prompt": f"say {row}", "completion": f" {row}"}) + "\n" for row in range(30)]
    prompts.write_text("".join(lines))
    load(*INSTRUCT, f"data.instruct={prompts}")
    questions = write_questions(tmp_path / "train.json", squad_rows(40, 1, unanswerable=False), articles=20)
    load("task=squad", "model=minilm", f"data.squad={questions}", "method=lora", "budget=rank:1")
    assert reads == {"prompts.jsonl": 1, "train.json": 1}


def test_the_hub_is_asked_once_for_the_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_reviews(tmp_path / "train.csv")
    asked = []

    def dataset_info(_: Any, repository: str, **more: Any) -> SimpleNamespace:
        asked.append(repository)
        return SimpleNamespace(sha=f"commit {len(asked)}")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    load(*OWN, "data.text=owner/name")
    assert asked == ["owner/name"]


def test_what_was_read_is_kept_within_a_block_alone(tmp_path: Path) -> None:
    file, request = tmp_path / "rows.csv", Request(["review"], ["mood"])
    with reading_once():
        for count in (3, 5):
            write_reviews(file, count)
            with reading_once():
                assert len(read_table(file, request, key="data.text")) == 3
    assert len(read_table(file, request, key="data.text")) == 5
    with reading_once():
        assert len(read_table(file, request, key="data.text")) == 5
        assert read_table(file, Request(["mood"]), key="data.text").columns.keys() == {"mood"}


def test_an_error_is_not_kept() -> None:
    calls = []

    @once_while_reading
    def fail_first(number: int) -> int:
        calls.append(number)
        if len(calls) == 1:
            raise GeloraError("no network")
        return number

    with reading_once():
        with pytest.raises(GeloraError):
            fail_first(7)
        assert [fail_first(7), fail_first(7), fail_first(8)] == [7, 7, 8]
    assert calls == [7, 7, 8]
