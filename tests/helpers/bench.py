"""Shared by the tests of several packages, first met in test_pipeline.py."""

from __future__ import annotations

import json
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
        return [command, *[o for o in fixed if o.split("=")[0] not in {x.split("=")[0] for x in overrides}], *overrides]

    def run(self, *overrides: str, command: str = "run", model: str = "bert") -> int:
        return command_line(self.arguments(*overrides, command=command, model=model))

    def directories(self) -> list[Path]:
        return sorted(path.parent for path in self.root.rglob("run.json"))

    def only(self) -> Path:
        (directory,) = self.directories()
        return directory


@pytest.fixture
def bench(tmp_path: Path, glue_dir: Path, tiny_models: dict[str, Path]) -> Bench:
    return Bench(tmp_path / "runs", glue_dir, tiny_models)


def result_of(directory: Path) -> RunResult:
    return read_artifact(RunResult, directory / RunResult.FILE)


def predictions(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]


def without_times(directory: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "examples_per_second")} for line in lines]


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
