"""Shared by the tests of several packages, first met in test_pipeline.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.commands import job_actions
from gelora_cli.commands.main import command_line
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact
from gelora_cli.launchers import job_server, local

FAST = ["train.epochs=1", "train.batch_size=16", "train.learning_rate=0.01", "precision=float32"]


class Bench:
    """Commands with this test's data, model and runs directory filled in."""

    def __init__(self, root: Path, data: Path, models: dict[str, Path]) -> None:
        self.root, self.data, self.models = root, data, models

    def arguments(self, *overrides: str, command: str = "run", model: str = "bert") -> list[str]:
        fixed = [f"model.path={self.models[model]}", f"data.glue={self.data}", f"runs_dir={self.root}", *FAST]
        return [command, *with_overrides(fixed, overrides)]

    def run(self, *overrides: str, command: str = "run", model: str = "bert") -> int:
        return command_line(self.arguments(*overrides, command=command, model=model))

    def directories(self) -> list[Path]:
        return sorted(path.parent for path in self.root.rglob("run.json"))

    def only(self) -> Path:
        (directory,) = self.directories()
        return directory


def with_overrides(words: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Return words of a command with overrides at their end, in place of words with the same keys."""
    keys = {override.split("=")[0] for override in overrides}
    return [*[word for word in words if word.split("=")[0] not in keys], *overrides]


@pytest.fixture
def bench(tmp_path: Path, glue_dir: Path, tiny_models: dict[str, Path]) -> Bench:
    return Bench(tmp_path / "runs", glue_dir, tiny_models)


def result_of(directory: Path) -> RunResult:
    return read_artifact(RunResult, directory / RunResult.FILE)


def predictions(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]


def answer_here(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let this process do what a sweep asks its server for; the requests as they come."""

    class HereServer(job_server.JobServer):
        def _start(self) -> None: ...

        def _end(self) -> None: ...

        def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
            asked.append(request)
            return {"outcome": job_actions.answer(request), "status": 0}

    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(local, "JobServer", HereServer)
    return asked
