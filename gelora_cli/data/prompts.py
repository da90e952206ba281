"""Read prompts that a finished run writes completions for, as `gelora predict` is given them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gelora_cli.config.schema import TaskConfig
from gelora_cli.core.logs import LOGGER
from gelora_cli.data.chat import Message
from gelora_cli.data.completions import CompletionSplit
from gelora_cli.data.delimited import Dialect
from gelora_cli.data.files import Request, Table, read_input_table
from gelora_cli.data.instructions import (
    COMPLETION,
    PROMPT,
    build_conversations,
    completion_template,
    fill_template,
    prompt_template,
)

TEXT_FILE = ".txt"
RENAME = "Rename the columns in the file: the run was trained on columns of these names"


def read_prompts(task: TaskConfig, name: str, dialect: Dialect | None = None) -> CompletionSplit:
    """Return the prompts of a file, or of the lines of standard input (`-`), with completions where a file has them.

    The columns of a file are those of `task.prompt` and perhaps of `task.completion`, or the one of conversations,
    which end with the user, or all with a completion. Completions are scored and compared with what is written, unless
    a row has none. A line of standard input or of a text file is the value of the prompt's column, or several with
    tabs between them. Prompts without turns, of a run that learned from conversations, become the turn of a user.

    Raises:
        GeloraError: what `read_table` refuses, an empty prompt, or conversations of which some end with a completion.
    """
    template = prompt_template(task)
    wanted = template.columns
    if name != "-" and Path(name).suffix.lower() != TEXT_FILE:  # lines are prompts alone
        wanted = tuple(dict.fromkeys((*wanted, *completion_template(task).columns, *task.columns)))
    table = read_input_table(name, Request(wanted, dialect=dialect or Dialect()), optional=wanted)
    column = task.columns[0] if task.columns else None
    if column is not None and column in table.columns:
        return build_conversations(table, column, "input", may_lack=True)
    prompts = fill_template(table, template, PROMPT, RENAME)
    if column is not None:
        turns = [(Message("user", prompt),) for prompt in prompts]
        return CompletionSplit("input", np.arange(len(table), dtype=np.int64), prompts, None, turns)
    return CompletionSplit("input", np.arange(len(table), dtype=np.int64), prompts, _completions(task, table))


def _completions(task: TaskConfig, table: Table) -> list[str] | None:
    """Return the completions of all rows; None where a row has none."""
    template = completion_template(task)
    for name in template.columns:
        values = table.columns.get(name, [None])
        if missing := sum(value in (None, "") for value in values):
            if missing < len(values):
                LOGGER.warning("%s: %s of %s rows have no %s: none is scored", table.name, missing, len(values), name)
            return None
    return fill_template(table, template, COMPLETION, RENAME)
