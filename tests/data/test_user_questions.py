"""A user's own questions in SQuAD's JSON format: files, splits and what is held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.sources import SOURCES, load_task_split, load_training_text, load_unlabelled_split
from tests.helpers.rows import squad_rows, write_squad
from tests.helpers.squad_cases import TASK, V2
from tests.helpers.user_questions import write_questions


def read(task: TaskConfig, place: Path, split: str) -> Any:
    return load_task_split(task, replace(DataConfig(), **{task.source: str(place)}), split)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["json", "JSON"])
def test_a_directory_with_the_official_names_gives_what_the_hubs_layout_gives(tmp_path: Path, suffix: str) -> None:
    for name, split, seed in ((f"train-v2.0.{suffix}", "train", 1), (f"dev-v2.0.{suffix}", "validation", 2)):
        rows = squad_rows(30, seed, unanswerable=True)
        write_questions(tmp_path / "json" / name, rows, articles=1)
        write_squad(tmp_path / "hub", "squad_v2", split, rows)
    for split in ("train", "validation"):
        mine, hubs = read(V2, tmp_path / "json", split), read(V2, tmp_path / "hub", split)
        assert mine.fingerprint() == hubs.fingerprint()
        assert mine.name == hubs.name == split
        assert any(not answers for answers in mine.labels)


@pytest.mark.parametrize(("articles", "unit"), [(20, "article"), (3, "paragraph")])
def test_a_tenth_is_held_out_as_whole_articles_or_paragraphs(tmp_path: Path, articles: int, unit: str) -> None:
    file = write_questions(tmp_path / "train.json", squad_rows(80, 1, unanswerable=False), articles=articles)
    train, held = read(TASK, file, "train"), read(TASK, file, "validation")
    assert held.note.startswith(f"{len(held)} of 80 questions") and f"by {unit}" in held.note
    assert not train.note
    assert sorted([*train.ids, *held.ids]) == sorted(f"q{number}" for number in range(80))
    assert 4 <= len(held) <= 12
    if unit == "article":
        assert not set(train.titles) & set(held.titles)
    directory = read(TASK, file.parent, "validation")  # the directory has no validation file either
    assert directory.ids == held.ids


def test_single_questions_are_held_out_of_one_paragraph(tmp_path: Path) -> None:
    (row,) = squad_rows(1, 1, unanswerable=False)
    rows = [row | {"id": f"q{number}"} for number in range(30)]
    file = write_questions(tmp_path / "mine.json", rows, articles=1)
    held = read(TASK, file, "validation")
    assert len(held) == 3
    assert "by question" in held.note
    few = write_questions(tmp_path / "few.json", rows[:9], articles=1)
    with pytest.raises(GeloraError, match=r"9 questions are too few.*validation\.json"):
        read(TASK, few, "train")


def test_questions_without_answers_can_be_profiled_and_labelled(tmp_path: Path) -> None:
    file = write_questions(tmp_path / "train.json", squad_rows(40, 1, unanswerable=False), articles=20, answers=...)
    data = replace(DataConfig(), squad=str(file))
    with pytest.raises(GeloraError, match="some questions have no answers"):
        load_task_split(TASK, data, "train")
    _, train = load_training_text(TASK, data)
    assert train.labels is None
    assert "answers left out" in train.note
    assert len(load_unlabelled_split(TASK, data, "validation")) + len(train) == 40


def test_the_files_of_a_task_are_those_that_it_reads(tmp_path: Path) -> None:
    rows = squad_rows(12, 1, unanswerable=False)
    for name in ("train.json", "validation.json", "notes.json"):
        write_questions(tmp_path / name, rows, articles=1)
    files = SOURCES["squad"].find_files(TASK, replace(DataConfig(), squad=str(tmp_path)))
    assert [path.name for path in files["squad"][1]] == ["train.json", "validation.json"]


def test_what_is_wrong_is_one_message(tmp_path: Path) -> None:
    rows = squad_rows(12, 1, unanswerable=True)
    both = tmp_path / "both"
    for name in ("train-v1.1.json", "train-v2.0.json"):
        write_questions(both / name, rows, articles=1)
    odd = write_questions(tmp_path / "odd.json", rows, articles=1, is_impossible=True)
    broken = tmp_path / "broken.json"
    broken.write_text('{"data": [{"paragraphs": [{"context": "a", "qas": [{"id": 1}]}]}]}')
    flat = tmp_path / "flat.json"
    flat.write_text('[{"id": 1, "question": "who?", "context": "me"}]')
    wrong = [
        (TASK, both, "train-v1.1.json, train-v2.0.json: which is split train?"),
        (TASK, write_questions(tmp_path / "v2.json", rows, articles=1), "Is this SQuAD v2?"),
        (V2, odd, "has is_impossible and an answer"),
        (TASK, broken, "a field 'question' is missing"),
        (TASK, flat, "is not in SQuAD's format"),
        (TASK, tmp_path / "none.json", "data.squad=.*none.json: no such file"),
        (TASK, tmp_path / "mine.csv", "no such directory.*SQuAD's own JSON"),
        (TASK, tmp_path, "no task plain_text.*SQuAD's own JSON"),
        (
            TASK,
            write_questions(tmp_path / "off.json", rows[1:2], articles=1, answers=[{"text": "x", "answer_start": 0}]),
            "too few",
        ),
    ]
    for task, place, message in wrong:
        with pytest.raises(GeloraError, match=message) as caught:
            read(task, place, "train")
        assert len(str(caught.value)) < 500
