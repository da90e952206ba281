"""Read prompts that a finished run writes completions for, as `gelora predict` is given them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.data.chat import Message
from gelora_cli.data.completions import CompletionSplit
from gelora_cli.data.delimited import Dialect
from gelora_cli.data.files import Request, Table, read_table, split_lines
from gelora_cli.data.instructions import PROMPT, build_conversations, fill_template, prompt_template
from gelora_cli.data.text_input import STANDARD_INPUT, read_standard_input

TEXT_FILE = ".txt"


def read_prompts(task: TaskConfig, name: str, dialect: Dialect | None = None) -> CompletionSplit:
    """Return the prompts of a file, or of the lines of standard input (`-`); completions in a file are not read.

    The columns of a file are those of `task.prompt`, or the one of conversations, which must end with the user. A line
    of standard input or of a text file is the value of the prompt's column, or several with tabs between them. Prompts
    without turns, of a run that learned from conversations, become the turn of a user.

    Raises:
        GeloraError: what `read_table` refuses, an empty prompt, or a conversation with another end.
    """
    template = prompt_template(task)
    if name == "-":
        table = split_lines(read_standard_input(), template.columns, STANDARD_INPUT)
    else:
        table = _read_file(task, Path(name).expanduser(), dialect or Dialect())
        if table.note:
            LOGGER.warning("%s: %s", name, table.note)
    if not len(table):
        fix = "give lines to read, file=FILE or split=NAME" if name == "-" else "give at least one line"
        raise GeloraError(f"{table.name}: no rows; {fix}")
    column = task.columns[0] if task.columns else None
    if column is not None and column in table.columns:
        return _refuse_completed(build_conversations(table, column, "input", may_lack=True), table)
    fix = "Rename the columns in the file: the run was trained on columns of these names"
    prompts = fill_template(table, template, PROMPT, fix)
    turns = None if column is None else [(Message("user", prompt),) for prompt in prompts]
    return CompletionSplit("input", np.arange(len(table), dtype=np.int64), prompts, None, turns)


def _read_file(task: TaskConfig, path: Path, dialect: Dialect) -> Table:
    columns = prompt_template(task).columns
    wanted = columns if path.suffix.lower() == TEXT_FILE else (*columns, *task.columns)
    return read_table(path, Request(wanted, dialect=dialect), key="file", optional=wanted)


def _refuse_completed(split: CompletionSplit, table: Table) -> CompletionSplit:
    """Return conversations that end with the user; refuse those that end with a completion already."""
    if split.completions is None:
        return split
    raise GeloraError(
        f"{table.location(0)}: the conversations end with the completion that is to be written; remove the last "
        "message, so that each ends with one of user"
    )
