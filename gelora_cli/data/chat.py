"""Conversations: check their turns, and write them as prompts and completions by a tokenizer's chat template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.messages import first_line, has_lone_surrogate, join_names, quote, quote_name
from gelora_cli.data.json_input import refuse_repeated

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLES = ("system", "developer", "user", "assistant")
"""Who may speak; tools have no turn, since only texts are learned and generated."""
COMPLETION_ROLE = "assistant"
TODAY = datetime(2024, 7, 26, tzinfo=UTC)
"""The date for templates that write today's, as Llama's do: else the tokens, and every number, would change each day.

It is the one that Llama's own templates fall back to.
"""
DATE_PARTS = ("%d", "%-d", "%e", "%m", "%-m", "%b", "%B", "%a", "%A", "%y", "%Y", "%j", "%H", "%I", "%M", "%S", "%p")
NOTHING: tuple[object, ...] = (None, "", [], {})
"""What a turn may hold beside these two: a table has a value in every row."""
ACCEPTED = 'accepted is [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]'


class Message(NamedTuple):
    """A turn of a conversation: who speaks (see `ROLES`), and the text."""

    role: str
    content: str


Conversation = tuple[Message, ...]


def parse_conversation(value: object, where: str) -> Conversation:
    """Return the turns of a row of data.

    Args:
        value: a list of objects with `role` and `content`.
        where: file and line, for messages.

    Raises:
        GeloraError: it is no such list, a role is unknown, a content is no text, or a turn holds more than these two.
    """
    if not isinstance(value, list) or not value:
        raise GeloraError(f"{where}: messages is {quote(value)}; {ACCEPTED}")
    return tuple(_parse_message(item, f"{where}, message {number}") for number, item in enumerate(value, 1))


def _parse_message(value: object, where: str) -> Message:
    if not isinstance(value, Mapping):
        raise GeloraError(f"{where} is {quote(value)}; {ACCEPTED}")
    refuse_repeated(value, ("role", "content"), where)
    role, content = value.get("role"), value.get("content")
    if role not in ROLES:
        raise GeloraError(f"{where}: role is {quote(role)}; accepted: {join_names(ROLES)}. Tools are not learned")
    if not isinstance(content, str) or has_lone_surrogate(content):
        raise GeloraError(
            f"{where}: content is {quote(content)}, but a text in valid Unicode is needed; images and tools are not "
            "read. Remove the row, or write its content as text"
        )
    # What a template might read of a turn beside these two would be lost without a word.
    others = [str(name) for name, item in value.items() if name not in ("role", "content") and item not in NOTHING]
    if others:
        raise GeloraError(
            f"{where} also has {quote_name(join_names(others))}, but only role and content are read; remove it"
        )
    return Message(str(role), content)


def refuse_wrong_end(turns: Conversation, where: str, *, answered: bool) -> None:
    """Refuse a conversation that has no completion to learn, or no prompt to go on from.

    Args:
        turns: the conversation.
        where: file and line, for messages.
        answered: whether the last turn is the completion; else there is none, and the user speaks last.

    Raises:
        GeloraError: another speaker has the last turn, it is empty, or no turn is before it.
    """
    last = turns[-1]
    if answered:
        if last.role != COMPLETION_ROLE:
            raise GeloraError(
                f"{where}: the last message is of {last.role}, but the last one of {COMPLETION_ROLE} is what is "
                "learned; remove what follows it, or the row"
            )
        if len(turns) == 1:
            raise GeloraError(f"{where}: no message before the one of {COMPLETION_ROLE}; give the row a prompt")
    elif last.role != "user":
        raise GeloraError(
            f"{where}: the last message is of {last.role}, but to write a completion it must be one of user; remove "
            "what follows it"
        )
    if not last.content.strip():
        raise GeloraError(f"{where}: the last message is empty; remove the row or fill it in")


def describe_turns(turns: Conversation) -> str:
    """Return turns as a text for people: one after the other, each after the name of its speaker."""
    return "\n".join(f"{turn.role}: {turn.content}" for turn in turns)


def write_prompts(
    conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerBase, where: Sequence[str]
) -> list[str]:
    """Return conversations as the text that a model goes on from, with the beginning of its own turn.

    Raises:
        GeloraError: see `write_completions`.
    """
    return [_apply(turns, tokenizer, row, prompt=True) for turns, row in zip(conversations, where, strict=True)]


def write_completions(
    conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerBase, where: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the prompts of conversations, and what the template writes of the last turn behind each.

    That includes the token that ends the turn, and a newline if the template writes one after it.

    Args:
        conversations: those whose last turn is the completion, (n,).
        tokenizer: one with a chat template.
        where: how messages name each row, (n,).

    Raises:
        GeloraError: there is no template, it refuses a conversation, it writes the turns before the last in another
            way when the last follows them, so that nothing says where the completion begins, or it writes nothing of
            the last but special tokens.
    """
    names = special_names(tokenizer)
    prompts = write_prompts([turns[:-1] for turns in conversations], tokenizer, where)
    completions = []
    for turns, prompt, row in zip(conversations, prompts, where, strict=True):
        full = _apply(turns, tokenizer, row, prompt=False)
        if not full.startswith(prompt):
            raise GeloraError(
                f"{row}: the chat template of this model writes the turns before the completion in another way when "
                f"the completion follows: {quote(prompt[-40:])} does not begin it. Give the rows as prompt and "
                "completion"
            )
        completion = full[len(prompt) :]
        if not names.sub("", completion).strip():
            raise GeloraError(
                f"{row}: the chat template of this model writes no text of the last message, "
                f"{quote(turns[-1].content)}, so that there is nothing to learn. Change or remove the row, or give "
                "prompt and completion"
            )
        completions.append(completion)
    return prompts, completions


def find_turn_end(tokenizer: PreTrainedTokenizerBase, prompt: Conversation, where: str) -> int | None:
    """Return the token with which the chat template ends a completion, or None if it writes none.

    It is the first of the special tokens at the end: `<|im_end|>` of `... <|im_end|>`, which a newline may follow.

    Args:
        tokenizer: one with a chat template.
        prompt: turns before a completion.
        where: how messages name their row.

    Raises:
        GeloraError: see `write_completions`.
    """
    _, (text,) = write_completions([(*prompt, Message(COMPLETION_ROLE, "a"))], tokenizer, [where])
    ids: list[int] = tokenizer(text, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    special = special_ids(tokenizer)
    last = max((place for place, token in enumerate(ids) if token in special), default=-1)
    if last < 0:
        return None
    while last > 0 and ids[last - 1] in special:
        last -= 1
    return ids[last]


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the tokens that `decode` skips: beginnings, ends, speakers, and others that stand for no text."""
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return special | set(tokenizer.all_special_ids)


def special_names(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Return what finds the names of special tokens in a text, each of which becomes that token."""
    names = [str(tokenizer.convert_ids_to_tokens(number)) for number in sorted(special_ids(tokenizer))]
    # The longest first, as a tokenizer does it where one name begins another.
    return re.compile("|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if name))


def _apply(turns: Conversation, tokenizer: PreTrainedTokenizerBase, where: str, *, prompt: bool) -> str:
    """Return the turns as one text by the chat template, with the beginning of the next one for a `prompt`."""
    if not tokenizer.chat_template:
        raise GeloraError(
            f"{where}: rows with messages need a chat template, and the tokenizer of this model has none. Take the "
            "variant of the model that was tuned on instructions, or give the rows as prompt and completion"
        )
    messages: list[dict[str, Any]] = [turn._asdict() for turn in turns]
    try:
        # transformers renders templates in a sandbox of jinja, without access to files or attributes of Python.
        template = _with_fixed_date(tokenizer.get_chat_template())
        return str(
            tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=False, add_generation_prompt=prompt
            )
        )
    except StoppedError:  # a signal, not a fault of the template
        raise
    except Exception as error:  # a template raises errors of jinja, and of what it calls
        roles = join_names(turn.role for turn in turns)
        raise GeloraError(
            f"{where}: the chat template of this model refuses a conversation of {roles}: {first_line(error)}. Change "
            "or remove the row, or give prompt and completion"
        ) from error


def _with_fixed_date(template: str) -> str:
    """Return a chat template whose `strftime_now` writes `TODAY`; the template itself where it writes no date."""
    if "strftime_now" not in template:
        return template
    # A macro of this name hides the function. transformers would make plain data of a function that is passed.
    parts = "".join(f"|replace('{part}', '{TODAY.strftime(part)}')" for part in DATE_PARTS)
    # The newline is the one that jinja removes behind a block.
    return f"{{% macro strftime_now(format) %}}{{{{ format{parts} }}}}{{% endmacro %}}\n{template}"
