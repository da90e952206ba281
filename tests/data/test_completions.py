"""Prompts and completions as rows and as tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from gelora_cli.core.errors import GeloraError
from gelora_cli.data.chat import Message, describe_turns
from gelora_cli.data.completions import CompletionSplit
from gelora_cli.data.encoded_completions import NOT_LEARNED, EncodedCompletions, encode_completions
from tests.helpers.tiny import make_tokenizer
from tests.helpers.tiny_completions import CHAT_TEMPLATE, TASK, completion_split

DECODERS = ("llama", "qwen2", "gpt2")


def one_row(prompt: str, completion: str) -> CompletionSplit:
    return CompletionSplit("train", np.arange(1), [prompt], [completion])


def is_learned(encoded: EncodedCompletions) -> NDArray[np.bool_]:
    """Return which tokens of a split are learned, (tokens,)."""
    labels = encoded.batch_labels(np.arange(len(encoded)))
    assert labels is not None
    is_token = np.arange(labels.shape[1]) < encoded.lengths[:, None]  # (n, T)
    learned: NDArray[np.bool_] = labels[is_token] != NOT_LEARNED
    return learned


@pytest.mark.parametrize("kind", DECODERS)
def test_the_completion_and_its_end_are_learned(kind: str) -> None:
    tokenizer = make_tokenizer(kind)
    split = completion_split()
    encoded = split.encode(tokenizer, TASK)
    assert encoded.rejoined == 0
    rows = np.array([3, 0, 11])
    labels = encoded.batch_labels(rows)
    assert labels is not None
    assert labels.shape == (3, encoded.lengths[rows].max())
    assert split.completions is not None
    for line, row in enumerate(rows):
        learned = labels[line][labels[line] != NOT_LEARNED]
        assert learned[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(learned[:-1]) == split.completions[row]
        assert tokenizer.decode(encoded.prompt(row), skip_special_tokens=True) == split.prompts[row]
    assert encoded.loss_divisor(rows) == (labels != NOT_LEARNED).sum()
    assert is_learned(encoded).sum() == encoded.loss_divisor(np.arange(12))
    wider = encoded.batch_labels(rows, width=40)
    assert wider is not None
    assert wider.shape == (3, 40)


def test_where_tokens_diverge_the_completion_begins() -> None:
    tokenizer = make_tokenizer("llama")
    encoded = one_row("the cat ", "sat").encode(tokenizer, TASK)  # the space belongs to the token " sat"
    assert encoded.rejoined == 1
    assert "the tokens of 1 of 1 prompts change where the completion follows" in encoded.warnings()[0]
    assert tokenizer.decode(encoded.tokens[is_learned(encoded)]) == " sat</s>"
    # It is generated from what a user would type, as without the completion.
    alone = one_row("the cat ", "sat").without_labels().encode(tokenizer, TASK)
    for split in (encoded, encoded.select(np.array([0])), encoded.take(np.array([0]))):
        assert list(split.prompt(0)) == list(alone.prompt(0)) != list(encoded.sequence(0)[: len(alone.prompt(0))])


def test_an_end_that_is_there_is_not_added_again() -> None:
    tokenizer = make_tokenizer("llama")
    encoded = one_row("the cat", " sat</s>").encode(tokenizer, TASK)
    assert list(encoded.tokens) == list(one_row("the cat", " sat").encode(tokenizer, TASK).tokens)


def test_long_rows_are_cut_at_their_end() -> None:
    tokenizer = make_tokenizer("llama")
    split = completion_split()
    whole = split.encode(tokenizer, TASK)
    cut = encode_completions(split, tokenizer, 4)
    for row in range(len(split)):
        assert list(cut.sequence(row)) == list(whole.sequence(row)[:4])
    assert cut.truncation is not None
    assert cut.truncation.cut == 12
    assert cut.labels is not None
    assert set(cut.labels.tolist()) == {0, 1}  # of prompts with two words one token is left, of longer ones none
    without = np.flatnonzero(cut.labels == 0)
    assert cut.loss_divisor(without) == 1
    assert whole.warnings() == []
    whole.refuse_useless()
    with pytest.raises(GeloraError, match=r"the prompts fill task.max_length=3 in all 12 rows.*raise task.max_length"):
        encode_completions(split, tokenizer, 3).refuse_useless()
    names = ", ".join(map(str, without))
    assert f"of {len(without)} of 12 examples the prompt fills task.max_length" in cut.warnings()[1]
    assert f"rows {names}; raise task.max_length" in cut.warnings()[1]


def test_the_first_token_of_a_row_is_never_learned() -> None:
    tokenizer = make_tokenizer("qwen2")  # puts no token in front
    encoded = one_row("", "the cat").encode(tokenizer, TASK)
    assert is_learned(encoded).tolist() == [False] + [True] * (len(encoded.tokens) - 1)
    assert encoded.labels is not None
    assert encoded.labels.tolist() == [len(encoded.tokens) - 1]
    assert encoded.prompt(0).tolist() == [tokenizer.eos_token_id]  # no token of the completion


def test_prompts_alone_have_nothing_to_learn() -> None:
    tokenizer = make_tokenizer("llama")
    split = completion_split()
    alone = split.without_labels().encode(tokenizer, TASK)
    whole = split.encode(tokenizer, TASK)
    assert alone.labels is None
    assert alone.batch_labels(np.arange(2)) is None
    for row in range(len(split)):
        assert list(alone.sequence(row)) == list(whole.prompt(row))


def test_cut_prompts_are_said_to_be_cut() -> None:
    split = completion_split().without_labels()
    cut = encode_completions(split, make_tokenizer("llama"), 4)
    assert "generated from a prompt without its end does not answer" in cut.warnings()[1]
    assert encode_completions(split, make_tokenizer("llama"), 64).warnings() == []


def test_an_end_token_that_stands_for_unknown_words_closes_no_text() -> None:
    words = Tokenizer(WordLevel({"</s>": 0, "the": 1, "cat": 2}, unk_token="</s>"))
    words.pre_tokenizer = Whitespace()
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=words, unk_token="</s>", eos_token="</s>"
    )
    assert one_row("the cat", " cat the").encode(tokenizer, TASK).tokens.tolist() == [1, 2, 2, 1, 0]


def test_references_lack_what_generated_texts_lack() -> None:
    encoded = one_row("the cat", " sat</s>").encode(make_tokenizer("llama"), TASK)
    assert encoded.references == [" sat"]
    assert encoded.take(np.arange(1)).references == [" sat"]


def test_references_of_conversations_are_as_the_template_writes_them() -> None:
    think = "{{ '<assistant>think. ' + message.content + eos_token + '\n' }}"
    template = (
        "{% for message in messages %}{% if message.role == 'user' %}{{ message.content }}{% else %}"
        f"{think}{{% endif %}}{{% endfor %}}{{% if add_generation_prompt %}}{{{{ '<assistant>' }}}}{{% endif %}}"
    )
    encoded = chats("the cat", "sat").encode(chat_tokenizer(template=template), TASK)
    assert encoded.references == ["think. sat"]


def test_selected_rows_keep_what_is_learned() -> None:
    encoded = completion_split().encode(make_tokenizer("llama"), TASK)
    rows = np.array([5, 1])
    selected = encoded.select(rows)
    assert selected.source.prompts == [encoded.source.prompts[row] for row in rows]
    np.testing.assert_array_equal(selected.batch_labels(np.arange(2)), encoded.batch_labels(rows))
    assert encoded.take(rows).labels is None


def test_rows_have_a_fingerprint_and_groups() -> None:
    split = completion_split()
    assert split.fingerprint() == completion_split().fingerprint()
    assert split.fingerprint() != split.without_labels().fingerprint()
    assert split.take(np.arange(3)).prompts == split.prompts[:3]
    grouped = replace(split, group_names=["a", "b", "a"] * 4)
    assert grouped.groups().tolist()[:3] == [0, 1, 0]
    assert grouped.take(np.array([1])).group_names == ["b"]
    assert completion_split(40).count_rows_in(split) >= 12


def test_a_tokenizer_without_an_end_token_is_refused() -> None:
    tokenizer = make_tokenizer("llama")
    tokenizer.eos_token = None
    with pytest.raises(GeloraError, match="no end token"):
        completion_split().encode(tokenizer, TASK)


def chats(*turns: str) -> CompletionSplit:
    """Return one conversation of user and assistant in turn."""
    roles = ("user", "assistant") * len(turns)
    messages = tuple(Message(role, text) for role, text in zip(roles, turns, strict=False))
    return CompletionSplit("train", np.arange(1), [describe_turns(messages[:-1])], [turns[-1]], [messages])


def chat_tokenizer(kind: str = "qwen3", template: str = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    tokenizer = make_tokenizer(kind)
    tokenizer.chat_template = template
    return tokenizer


def test_the_last_turn_of_a_conversation_is_learned() -> None:
    tokenizer = chat_tokenizer()
    encoded = chats("the cat", "sat", "the dog", "ran").encode(tokenizer, TASK)
    end = tokenizer.eos_token
    before = f"<user>the cat{end}<assistant>sat{end}<user>the dog{end}<assistant>"
    assert tokenizer.decode(encoded.prompt(0)) == before
    assert tokenizer.decode(encoded.tokens[is_learned(encoded)]) == f"ran{end}"
    assert encoded.end_ids == (tokenizer.eos_token_id,)


def test_turns_that_name_special_tokens_are_counted() -> None:
    tokenizer = chat_tokenizer()
    assert chats("the cat", "sat").encode(tokenizer, TASK).warnings() == []
    (text,) = chats(f"the{tokenizer.eos_token} cat", "sat").encode(tokenizer, TASK).warnings()
    assert "the messages of 1 of 1 examples hold names of special tokens" in text


def test_the_template_alone_writes_special_tokens() -> None:
    tokenizer = chat_tokenizer("llama", CHAT_TEMPLATE.replace("{% for", "{{ bos_token }}{% for", 1))
    encoded = chats("the cat", "sat").encode(tokenizer, TASK)
    assert (encoded.tokens == tokenizer.bos_token_id).sum() == 1
    assert (encoded.tokens == tokenizer.eos_token_id).sum() == 2


def test_another_token_may_end_a_turn() -> None:
    tokenizer = chat_tokenizer("qwen3", CHAT_TEMPLATE.replace("eos_token", "'<|endoftext|>' + '.'"))
    encoded = chats("the cat", "sat").encode(tokenizer, TASK)
    other = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert encoded.end_ids == (other, tokenizer.eos_token_id)
    assert tokenizer.decode(encoded.tokens[-2:]) == "<|endoftext|>."


def test_a_turn_that_a_template_leaves_open_is_ended() -> None:
    tokenizer = chat_tokenizer("llama", CHAT_TEMPLATE.replace("+ eos_token", ""))
    encoded = chats("the cat", "sat").encode(tokenizer, TASK)
    assert encoded.tokens[-1] == tokenizer.eos_token_id


def test_a_prompt_of_turns_begins_the_next_turn() -> None:
    tokenizer = chat_tokenizer()
    split = chats("the cat", "sat")
    assert split.without_labels().conversations == [(Message("user", "the cat"),)]
    alone = split.without_labels().encode(tokenizer, TASK)
    assert list(alone.tokens) == list(split.encode(tokenizer, TASK).prompt(0))


def test_a_template_that_writes_the_date_always_writes_one_date() -> None:
    dated = "\n{% set date = strftime_now('%d %b %Y, %d %B') if strftime_now is defined %}{{ date }} %d"
    tokenizer = chat_tokenizer(template=dated + CHAT_TEMPLATE)
    encoded = chats("the cat", "sat").encode(tokenizer, TASK)
    assert str(tokenizer.decode(encoded.prompt(0))).startswith("\n26 Jul 2024, 26 July %d<user>")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "train, row 0: rows with messages need a chat template"),
        ("{{ raise_exception('no system role') }}", "refuses a conversation of user: no system role"),
        (
            "{% for m in messages %}{{ loop.length ~ m.content }}{% endfor %}",
            "writes the turns before the completion in another way",
        ),
        (CHAT_TEMPLATE.replace("message.content", "''"), "writes no text of the last message, 'a', so that there is"),
    ],
)
def test_templates_that_do_not_serve_are_refused(template: str, message: str) -> None:
    with pytest.raises(GeloraError, match=message):
        chats("the cat", "sat").encode(chat_tokenizer(template=template), TASK)
