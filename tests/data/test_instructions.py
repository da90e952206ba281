"""Prompts and completions from files: what is read, what is held out, and what is refused with its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.chat import Message
from gelora_cli.data.completions import CompletionSplit
from gelora_cli.data.holdout import hold_out_rows
from gelora_cli.data.prompts import read_prompts
from gelora_cli.data.protocol import protocol_splits
from gelora_cli.data.sources import complete_task, load_task_split, load_training_text, load_unlabelled_split
from tests.helpers.tiny_completions import TASK, completion_split

ROWS = [{"prompt": f"count to {i}", "completion": f" one {i}"} for i in range(30)]


def turns(*texts: str) -> dict[str, Any]:
    roles = ("user", "assistant") * len(texts)
    return {"messages": [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]}


def write(path: Path, rows: list[Any]) -> Path:
    """Write rows as JSON lines or parquet, as the suffix says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def load(file: Path, split: str = "train", **settings: Any) -> CompletionSplit:
    loaded = load_task_split(replace(TASK, **settings), DataConfig(instruct=str(file)), split)
    assert isinstance(loaded, CompletionSplit)
    return loaded


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_tenth_is_held_out_with_its_copies(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"rows{suffix}", [*ROWS, *ROWS[:5]])
    train, validation = load(file), load(file, "validation")
    assert len(train) + len(validation) == 35
    assert len(set(validation.prompts)) == 3
    assert not set(train.prompts) & set(validation.prompts)
    assert "5 with the prompt of another" in validation.note
    assert train.completions is not None
    assert {"prompt": train.prompts[0], "completion": train.completions[0]} in ROWS
    assert sorted([*train.ids, *validation.ids]) == list(range(35))


def test_every_form_gives_the_same_fingerprint(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", ROWS)
    assert load(write(tmp_path / "rows.parquet", ROWS)).fingerprint() == load(file).fingerprint()
    renamed = write(tmp_path / "qa.jsonl", [{"q": row["prompt"], "a": row["completion"]} for row in ROWS])
    assert load(renamed, prompt="{q}", completion="{a}").fingerprint() == load(file).fingerprint()
    other = write(tmp_path / "other.jsonl", [*ROWS[:-1], {"prompt": "count to 29", "completion": " two"}])
    assert load(other, test_splits=["train"]).fingerprint() != load(file, test_splits=["train"]).fingerprint()


def test_a_directory_or_a_second_file_gives_validation_rows(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train-00000-of-00001.parquet", ROWS)
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", ROWS[:2])
    assert len(load(tmp_path)) == 30
    assert len(load(tmp_path, "validation")) == 2
    file, second = write(tmp_path / "rows.jsonl", ROWS), write(tmp_path / "second.jsonl", ROWS[:3])
    data = DataConfig(instruct=str(file), instruct_validation=str(second))
    assert len(load_task_split(TASK, data, "validation")) == 3
    assert len(load_task_split(TASK, data, "train")) == 30


def test_templates_are_filled_in_one_pass(tmp_path: Path) -> None:
    rows = [{"question": f"{{answer}} {i}", "answer": f"<{i}>", "n": i} for i in range(12)]
    file = write(tmp_path / "rows.jsonl", rows)
    split = load(file, prompt="{{Q}}: {question}\nA:", completion=" {answer} {answer}", test_splits=["train"])
    assert split.completions is not None
    row = int(split.ids[0])
    assert split.prompts[0] == f"{{Q}}: {{answer}} {row}\nA:"
    assert split.completions[0] == f" <{row}> <{row}>"


def test_one_of_several_columns_may_be_empty(tmp_path: Path) -> None:
    rows = [{"instruction": f"say {i}", "input": "" if i % 2 else None, "output": "yes"} for i in range(12)]
    split = load(write(tmp_path / "rows.jsonl", rows), prompt="{instruction}\n{input}", completion="{output}")
    assert split.prompts[0].startswith("say ")
    with pytest.raises(GeloraError, match="line 1: an empty text, the first of 12"):
        load(write(tmp_path / "rows.jsonl", rows), prompt="{input}", completion="{output}")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_the_last_message_is_the_completion(tmp_path: Path, suffix: str) -> None:
    rows = [turns(f"question {i}", "first", "and then?", f"answer {i}") for i in range(12)]
    split = load(write(tmp_path / f"rows{suffix}", rows))
    row = int(split.ids[0])
    assert split.conversations is not None
    assert split.completions is not None
    assert split.conversations[0][-1] == Message("assistant", f"answer {row}")
    assert split.completions[0] == f"answer {row}"
    assert split.prompts[0] == f"user: question {row}\nassistant: first\nuser: and then?"
    without = split.without_labels().conversations
    assert without is not None
    assert without[0][-1].role == "user"


def test_text_without_completions_can_be_looked_at(tmp_path: Path) -> None:
    for rows in ([{"prompt": f"count to {i}"} for i in range(30)], [turns(f"question {i}") for i in range(30)]):
        data = DataConfig(instruct=str(write(tmp_path / "rows.jsonl", rows)))
        _, split = load_training_text(TASK, data)
        assert len(split) == 30
        assert split.labels is None
        assert "completions left out" in split.note
        assert load_unlabelled_split(TASK, data, "train").labels is None
        with pytest.raises(GeloraError):
            load_task_split(TASK, data, "train")


def test_groups_stay_on_one_side(tmp_path: Path) -> None:
    rows = [row | {"author": f"author {i // 3}"} for i, row in enumerate(ROWS)]
    file = write(tmp_path / "rows.jsonl", rows)
    train, validation = load(file, group="author"), load(file, "validation", group="author")
    assert validation.group_names is not None
    assert train.group_names is not None
    assert not set(train.group_names) & set(validation.group_names)
    with pytest.raises(GeloraError, match="no column writer"):
        load(file, group="writer")


def test_odd_but_right_files_are_read(tmp_path: Path) -> None:
    """Read a mark at the start, Windows' line ends, blank lines, separators inside texts, and names given twice."""
    texts = ["a\u2028b", "c\u2029d", "e\x85f", "g\x0ch", "\ufeffi", "j\r\nk"]
    lines = [json.dumps({"prompt": text, "completion": text, "id": 7, "x": [1]}, ensure_ascii=False) for text in texts]
    file = tmp_path / "rows.jsonl"
    file.write_bytes(("\ufeff" + "\r\n\r\n".join(lines)).encode())
    split = load(file, eval_splits=["test"])
    assert list(split.prompts) == texts
    assert split.completions is not None
    assert list(split.completions) == texts
    assert split.ids.tolist() == list(range(6))


def test_a_huge_row_is_read(tmp_path: Path) -> None:
    rows = [*ROWS, {"prompt": "word " * 400_000, "completion": "x" * 1_000_000}]
    split = load(write(tmp_path / "rows.jsonl", rows), eval_splits=["test"])
    assert len(split.prompts[30]) == 2_000_000


WRONG: dict[str, tuple[str, str]] = {
    "empty file": ("", "no rows"),
    "broken": ('{"prompt": "a", "completion": "b"}\n{"prompt": "a", ', "line 2: not JSON"),
    "no object": ('["a"]', "line 1: .* is not an object"),
    "twice": ('{"prompt": "a", "prompt": "c", "completion": "b"}', "line 1: the name prompt comes twice"),
    "no column": ('{"question": "a", "answer": "b"}', "no column prompt for the prompts; it has question, answer"),
    "no completion": ('{"prompt": "a"}', "no column completion for the completions; it has prompt"),
    "number": ('{"prompt": 3, "completion": "b"}', "line 1: prompt must be a text in valid Unicode, not 3"),
    "list": ('{"prompt": "a", "completion": ["b"]}', "line 1: completion must be a text"),
    "surrogate": ('{"prompt": "a\\ud800", "completion": "b"}', "line 1: prompt must be a text in valid Unicode"),
    "null": ('{"prompt": "a", "completion": null}', "line 1: an empty text; each row needs a completion"),
    "blank": ('{"prompt": " \\n", "completion": "b"}', "line 1: an empty text; each row needs a prompt"),
    "both": ('{"prompt": "a", "completion": "b", "messages": []}', "and also messages: which is meant"),
    "no list": ('{"messages": "a"}', "line 1: messages is 'a'; accepted is"),
    "no turns": ('{"messages": []}', r"line 1: messages is \[\]"),
    "shared form": ('{"messages": [{"from": "human", "value": "a"}]}', "line 1, message 1: role is None; accepted"),
    "tool": ('{"messages": [{"role": "tool", "content": "a"}]}', "message 1: role is 'tool'; accepted: system"),
    "image": ('{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', "images and tools are not read"),
    "call": (
        '{"messages": [{"role": "user", "content": "a", "tool_calls": [1]}]}',
        "message 1 also has tool_calls, but only role and content are read",
    ),
    "user last": ('{"messages": [{"role": "user", "content": "a"}]}', "line 1: the last message is of user"),
    "alone": ('{"messages": [{"role": "assistant", "content": "a"}]}', "no message before the one of assistant"),
    "empty": (json.dumps(turns("a", " ")), "line 1: the last message is empty"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, name: str) -> None:
    content, message = WRONG[name]
    file = tmp_path / "rows.jsonl"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(GeloraError, match=message) as raised:
        load(file)
    assert str(file) in str(raised.value)
    assert len(str(raised.value)) < 600


def test_what_a_table_adds_to_turns_without_saying_anything_is_passed_over(tmp_path: Path) -> None:
    rows = [turns(f"count to {i}", "one") for i in range(30)]
    more: dict[str, Any] = {"tool_calls": [], "name": None, "weight": ""}
    filled = []
    for row in rows:
        filled.append({"messages": [turn | more for turn in row["messages"]]})
    plain = load(write(tmp_path / "rows.jsonl", rows))
    assert load(write(tmp_path / "filled.jsonl", filled)).fingerprint() == plain.fingerprint()


def test_a_wrong_name_in_a_template_is_named_with_the_nearest_column(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [{"question": "a", "answer": "b"}])
    with pytest.raises(GeloraError, match=r"no column questoin .*did you mean question\?.* Correct .* task\.prompt"):
        load(file, prompt="{questoin}", completion="{answer}")
    with pytest.raises(GeloraError, match=r"no column anser .*did you mean answer\?.* Correct .* task\.completion"):
        load(file, prompt="{question}", completion="{anser}")


def test_too_few_rows_to_hold_any_out(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [ROWS[0]] * 9)
    with pytest.raises(GeloraError, match=r"9 rows, 8 of them .* too few to hold out a tenth; give data\.instruct_val"):
        load(file)


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(GeloraError, match=r"task=instruct needs data: give data.instruct=FILE \(.csv"):
        load_task_split(TASK, DataConfig(), "train")
    with pytest.raises(GeloraError, match="no such file or directory"):
        load(tmp_path / "nothing.jsonl")
    (tmp_path / "rows.txt").write_text("a\n")
    with pytest.raises(GeloraError, match="unknown kind of file; accepted by suffix: "):
        load(tmp_path / "rows.txt")
    with pytest.raises(GeloraError, match="has no split train"):
        load(tmp_path)


def test_parquet_with_nulls_names_the_row(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.parquet", [*ROWS[:3], {"prompt": "a", "completion": None}])
    with pytest.raises(GeloraError, match="row 4: an empty text"):
        load(file)
    with pytest.raises(GeloraError, match="row 2: messages is None"):
        load(write(tmp_path / "chat.parquet", [turns("a", "b"), {"messages": None}]))


def gsm8k(root: Path) -> tuple[TaskConfig, DataConfig]:
    """Write a few rows in the layout of GSM8K on the hub."""
    (root / "main").mkdir()
    rows = [{"question": f"What is {i} + 1?", "answer": f"{i} + 1 = {i + 1}\n#### {i + 1}"} for i in range(20)]
    write(root / "main" / "train-00000-of-00001.parquet", rows)
    write(root / "main" / "test-00000-of-00001.parquet", rows[:4])
    task = replace(
        TASK,
        name="gsm8k",
        source="gsm8k",
        folder="main",
        prompt="Question: {question}\nAnswer:",
        completion=" {answer}",
        eval_splits=["test"],
        split="held_out",
    )
    return task, DataConfig(gsm8k=str(root))


def test_gsm8k_in_the_hubs_layout(tmp_path: Path) -> None:
    task, data = gsm8k(tmp_path)
    split = load_task_split(task, data, "test")
    assert isinstance(split, CompletionSplit)
    assert split.prompts[3] == "Question: What is 3 + 1?\nAnswer:"
    assert split.completions is not None
    assert split.completions[3] == " 3 + 1 = 4\n#### 4"
    with pytest.raises(GeloraError, match="has no split validation"):
        load_task_split(task, data, "validation")


@pytest.mark.parametrize(("protocol", "reported"), [("last", 20), ("dev", 20), ("split", 10)])
def test_protocols_divide_prompts(protocol: str, reported: int) -> None:
    splits = {"train": completion_split(40), "validation": completion_split(20, "validation")}
    divided = protocol_splits(TASK, protocol, splits)
    assert len(divided.train) == 40
    assert [len(split) for split in divided.evaluated if split.name in divided.reported] == [reported]
    held_out = protocol_splits(replace(TASK, split="held_out"), "split", splits)
    assert (len(held_out.train), len(held_out.evaluated[0])) == (36, 4)


def test_a_search_scores_on_other_prompts_than_it_trains_on() -> None:
    split = completion_split(40)
    copies = split.take(np.array([*range(40), *range(10)]))
    train, held = hold_out_rows(copies, 0.2)
    assert isinstance(train, CompletionSplit)
    assert isinstance(held, CompletionSplit)
    assert len(train) + len(held) == 50
    assert not set(train.prompts) & set(held.prompts)


def test_the_task_remembers_that_its_rows_are_conversations(tmp_path: Path) -> None:
    chat = DataConfig(instruct=str(write(tmp_path / "chat.jsonl", [turns("a", "b")])))
    assert complete_task(TASK, chat).columns == ["messages"]
    plain = DataConfig(instruct=str(write(tmp_path / "plain.jsonl", ROWS)))
    assert complete_task(TASK, plain) == TASK
    renamed = write(tmp_path / "renamed.jsonl", [{"turns": turns(f"a {i}", "b")["messages"]} for i in range(12)])
    assert load(renamed, columns=["turns"]).conversations is not None
    with pytest.raises(GeloraError, match="no column messages of conversations; it has turns"):
        load(renamed, columns=["messages"])


def test_predict_reads_prompts_and_their_completions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = replace(TASK, prompt="Q: {q}\nA:", completion="{a}")
    split = read_prompts(task, str(write(tmp_path / "rows.jsonl", [{"q": "1 + 1?", "a": "2"}, {"q": "2 + 2?"}])))
    assert (split.prompts, split.completions) == (["Q: 1 + 1?\nA:", "Q: 2 + 2?\nA:"], None)
    (tmp_path / "rows.txt").write_text("1 + 1?\n2 + 2?\n")
    assert read_prompts(task, str(tmp_path / "rows.txt")).prompts == split.prompts
    scored = read_prompts(task, str(write(tmp_path / "scored.jsonl", [{"q": "1 + 1?", "a": "2"}])))
    assert scored.completions == ["2"]
    monkeypatch.setattr("gelora_cli.data.files.read_standard_input", lambda: "1 + 1?\n2 + 2?")
    assert read_prompts(task, "-").prompts == split.prompts
    with pytest.raises(GeloraError, match=r"no column q for the prompts; it has question.*Rename the columns in the f"):
        read_prompts(task, str(write(tmp_path / "rows.jsonl", [{"question": "a"}])))
    with pytest.raises(GeloraError, match="line 1: an empty text"):
        read_prompts(TASK, str(write(tmp_path / "rows.jsonl", [{"prompt": " "}])))


def test_predict_reads_conversations(tmp_path: Path) -> None:
    task = replace(TASK, columns=["messages"])
    split = read_prompts(task, str(write(tmp_path / "chat.jsonl", [turns("a", "b", "c"), turns("d")])))
    assert split.conversations is not None
    assert [turns[-1].content for turns in split.conversations] == ["c", "d"]
    (tmp_path / "rows.txt").write_text("a\n")
    assert read_prompts(task, str(tmp_path / "rows.txt")).conversations == [(Message("user", "a"),)]
    assert read_prompts(task, str(write(tmp_path / "chat.jsonl", [turns("a", "b")]))).completions == ["b"]
    with pytest.raises(GeloraError, match="line 2: the last message is of user"):
        read_prompts(task, str(write(tmp_path / "chat.jsonl", [turns("a", "b"), turns("a")])))
