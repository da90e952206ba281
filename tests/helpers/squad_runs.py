"""Shared by the tests of several packages, first met in test_squad_pipeline.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SMALL = ["task.max_length=48", "task.stride=12", "task.max_question_length=12", "task.max_answer_length=8"]


def arguments(squad_dir: Path, *overrides: str, task: str = "squad_v2") -> list[str]:
    return [f"task={task}", f"data.{task}={squad_dir}", *SMALL, *overrides]


def content(directory: Path, name: str) -> Any:
    return json.loads((directory / name).read_text(encoding="utf-8"))
