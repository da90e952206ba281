"""Load prompts with completions from your own files, a directory or the hub (`task=instruct`, `task=gsm8k`).

A file holds columns `prompt` and `completion`, or columns from which `task.prompt` and `task.completion` make them, or
one column `messages` with conversations. If no validation rows are given, every tenth training row is held out, rows of
equal prompts together.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.config.templates import Template, column_template, parse_template
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_names, quote_name, suggest
from gelora_cli.data.chat import Conversation, describe_turns, parse_conversation, refuse_wrong_end
from gelora_cli.data.completions import CompletionSplit
from gelora_cli.data.files import READERS, Request, Table, concatenate_tables, read_table
from gelora_cli.data.held_out import hold_out_prompts, load_side
from gelora_cli.data.reading import once_while_reading
from gelora_cli.data.user_data import read_group_names
from gelora_cli.data.user_files import dialect_of, files_of_split, locate_files, locate_source, must_hold_out

INSTRUCT, VALIDATION = "instruct", "instruct_validation"
"""The keys of your own prompts: `data.instruct`, and `data.instruct_validation` beside it."""
ACCEPTED = tuple(suffix for suffix in READERS if suffix != ".txt")
"""Suffixes of files with columns."""
PROMPT, COMPLETION, MESSAGES = "prompt", "completion", "messages"
FORMS = f"columns {PROMPT} and {COMPLETION}, or one column {MESSAGES}"
FIX = (
    f"Accepted are {FORMS}. Name other columns by templates: "
    """'task.prompt="{question}"' 'task.completion=" {answer}"'"""
)


def load_instructions(task: TaskConfig, data: DataConfig, split: str) -> CompletionSplit:
    """Return one split, whose ids are row numbers.

    A file has the splits `train` and `validation`; a directory or a hub data set has any split that lies in it.

    Raises:
        GeloraError: no such file or split, a missing column, an empty prompt or completion, or a conversation that
            `parse_conversation` and `refuse_wrong_end` refuse.
    """
    if task.source == INSTRUCT and must_hold_out(task, data, split, ACCEPTED):
        return load_side(_read_split, hold_out_prompts, task, data, split)
    return _read_split(task, data, split)


@once_while_reading
def _read_split(task: TaskConfig, data: DataConfig, split: str) -> CompletionSplit:
    """Return the rows of a split, before any are held out."""
    return _build_split(task, _read_split_table(task, data, split), split)


def complete_instructions(task: TaskConfig, data: DataConfig) -> TaskConfig:
    """Return the task with the column of conversations, if its training rows are such and it says nothing of them.

    Then prompts that are written later are written as conversations, too.
    """
    if task.columns or task.prompt is not None or task.completion is not None:
        return task
    is_chat = _has_conversations(task, _read_split_table(task, data, "train"))
    return replace(task, columns=[MESSAGES]) if is_chat else task


def load_prompts(task: TaskConfig, data: DataConfig) -> CompletionSplit:
    """Return the training rows, if only their text is needed; all of them, and without completions, if some have none.

    Raises:
        GeloraError: what `load_instructions` refuses, except for completions.
    """
    try:
        return load_instructions(task, data, "train")
    except GeloraError as error:
        unlabelled_task = replace(task, test_splits=[*task.test_splits, "train"])
        split = load_instructions(unlabelled_task, data, "train").without_labels()
        return replace(split, note=f"completions left out: {error}")


def find_instruction_files(task: TaskConfig, data: DataConfig) -> dict[str, tuple[Path, list[Path]]]:
    """Return key -> (file or directory, the files that the task needs of it), for each source that is given."""
    splits_of_key: dict[str, tuple[str, ...]] = {task.source: ("train", *task.eval_splits, *task.test_splits)}
    if task.source == INSTRUCT:
        splits_of_key[VALIDATION] = ("validation",)
    return locate_files(task, data, splits_of_key, ACCEPTED)


def _locate(task: TaskConfig, key: str, value: str | None) -> Path:
    """Return the file or directory that a key names, or the snapshot of a hub id.

    Raises:
        GeloraError: nothing is given, or the path is neither a file nor a directory.
    """
    if value is None:
        raise GeloraError(
            f"task={task.name} needs data: give data.{key}=FILE ({', '.join(ACCEPTED)}) with {FORMS}; or a directory "
            "or hub id with files train and validation"
        )
    return locate_source(task, key, value, ACCEPTED)


def _read_split_table(task: TaskConfig, data: DataConfig, split: str) -> Table:
    """Return the rows of a split as they are in its files."""
    is_own = task.source == INSTRUCT
    key = VALIDATION if is_own and split == "validation" and data.instruct_validation is not None else task.source
    source = _locate(task, key, getattr(data, key))
    files = files_of_split(task, key, source, split, suffix=".jsonl", accepted=ACCEPTED)
    tables = [_read_file(task, data, split, file, f"data.{key}") for file in files]
    return tables[0] if len(tables) == 1 else concatenate_tables(tables, f"{source}, split {split}")


def _read_file(task: TaskConfig, data: DataConfig, split: str, file: Path, key: str) -> Table:
    """Return all columns of a file that could make its rows; which of them do is decided afterwards."""
    if file.suffix.lower() not in ACCEPTED:
        raise GeloraError(f"{key}={file}: unknown kind of file; accepted by suffix: {', '.join(ACCEPTED)}")
    templates = (*prompt_template(task).columns, *completion_template(task).columns)
    wanted = tuple(dict.fromkeys((PROMPT, COMPLETION, conversation_column(task), *templates)))
    may_lack = [*wanted, *([task.group] if task.group and split in task.test_splits else [])]
    return read_table(file, Request(wanted, (), dialect_of(data), task.group), key=key, optional=may_lack)


def prompt_template(task: TaskConfig) -> Template:
    """Return what makes a prompt of a row's columns: `task.prompt`, or the column `prompt`."""
    return column_template(PROMPT) if task.prompt is None else parse_template(task.prompt, "task.prompt")


def completion_template(task: TaskConfig) -> Template:
    """Return what makes a completion of a row's columns: `task.completion`, or the column `completion`."""
    return (
        column_template(COMPLETION) if task.completion is None else parse_template(task.completion, "task.completion")
    )


def conversation_column(task: TaskConfig) -> str:
    """Return the column of conversations: the one that the task names, or `messages`."""
    return task.columns[0] if task.columns else MESSAGES


def _has_conversations(task: TaskConfig, table: Table) -> bool:
    """Return whether the rows of a table are conversations: the task says so, or the file has such a column alone.

    Raises:
        GeloraError: they could be both.
    """
    if task.columns:
        return True
    if task.prompt is not None or task.completion is not None or MESSAGES not in table.columns:
        return False
    if PROMPT in table.columns and COMPLETION in table.columns:
        raise GeloraError(
            f"{table.name} has columns {PROMPT} and {COMPLETION}, and also {MESSAGES}: which is meant? Remove or "
            f"rename one, or give task.columns=[{MESSAGES}] or 'task.prompt=\"{{prompt}}\"'"
        )
    return True


def _build_split(task: TaskConfig, table: Table, split: str) -> CompletionSplit:
    """Return the rows of a table as prompts and completions; a test split may lack the completions."""
    may_lack = split in task.test_splits
    group_names = read_group_names(table, task.group) if task.group in table.columns else None
    if _has_conversations(task, table):
        rows = build_conversations(table, conversation_column(task), split, may_lack=may_lack)
        return replace(rows, group_names=group_names)
    prompts = fill_template(table, prompt_template(task), PROMPT, FIX if task.prompt is None else "")
    completions = None
    answer = completion_template(task)
    if not (may_lack and _lacks_values(table, answer)):
        completions = fill_template(table, answer, COMPLETION, FIX if task.completion is None else "")
    return CompletionSplit(
        split, np.arange(len(table), dtype=np.int64), prompts, completions, None, table.note, group_names
    )


def _lacks_values(table: Table, template: Template) -> bool:
    """Return whether a column of a template is missing or holds no value in any row."""
    for name in template.columns:
        if not any(value is not None and value != "" for value in table.columns.get(name, ())):
            return True
    return False


def fill_template(table: Table, template: Template, what: str, fix: str) -> list[str]:
    """Return the text that a template makes of each row, (n,).

    Args:
        table: the rows.
        template: what is made of their columns.
        what: `prompt` or `completion`, for messages.
        fix: what to do about a missing column, for messages; empty: the name in the template is wrong.

    Raises:
        GeloraError: a column is missing, or a value of it is no text or empty.
    """
    missing = [name for name in template.columns if name not in table.columns]
    if missing:
        known = f"it has {join_names(table.names)}. {fix}"
        if not fix:
            known = f"{suggest(missing[0], table.names)}. Correct the name in task.{what}"
        raise GeloraError(f"{table.name}: no column {join_names(missing)} for the {what}s; {known}")
    columns = [table.texts(name) for name in template.columns]
    # One of several columns may be empty, such as the input of an instruction that needs none.
    joined = ["".join(values) for values in zip(*columns, strict=True)]
    table.refuse_empty_texts([joined], f"each row needs a {what}; remove those rows or fill them in")
    texts = []
    for values in zip(*columns, strict=True):
        texts.append(template.fill(dict(zip(template.columns, values, strict=True))))
    return texts


def build_conversations(table: Table, column: str, split: str, *, may_lack: bool) -> CompletionSplit:
    """Return the rows of a table with conversations.

    Args:
        table: the rows.
        column: the column that holds them.
        split: name of the split.
        may_lack: whether the last turns may be those of users, so that there are no completions.

    Raises:
        GeloraError: what `parse_conversation` and `refuse_wrong_end` refuse.
    """
    if column not in table.columns:
        raise GeloraError(
            f"{table.name}: no column {quote_name(column)} of conversations; it has {join_names(table.names)}. Name it "
            "by task.columns=[COLUMN]"
        )
    conversations: list[Conversation] = []
    for row, value in enumerate(table.columns[column]):
        conversations.append(parse_conversation(value, table.location(row)))
    answered = not (may_lack and all(turns[-1].role == "user" for turns in conversations))
    for row, turns in enumerate(conversations):
        refuse_wrong_end(turns, table.location(row), answered=answered)
    before = [turns[:-1] if answered else turns for turns in conversations]
    return CompletionSplit(
        split,
        np.arange(len(table), dtype=np.int64),
        prompts=[describe_turns(turns) for turns in before],
        completions=[turns[-1].content for turns in conversations] if answered else None,
        conversations=conversations,
        note=table.note,
    )
