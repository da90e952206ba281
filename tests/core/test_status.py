"""The status of a run, and finding runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from gelora_cli.core import run_files
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.done import mark_done
from gelora_cli.core.status import find_runs, run_status
from tests.helpers.manifests import manifest


@pytest.mark.parametrize(("status", "done", "seen"), [("done", True, "done"), ("done", False, "interrupted")])
def test_done_is_done_only_with_its_marker(tmp_path: Path, status: str, done: bool, seen: str) -> None:
    write_artifact(manifest(status), tmp_path)
    if done:
        mark_done(tmp_path)
    assert run_status(tmp_path) == seen


def test_runs_are_found_whatever_lies_beside_them(tmp_path: Path) -> None:
    for name in ("b/run", "a", run_files.PROFILES + "/x", "b/run/adapter"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text("")
    (tmp_path / "c" / "run.json").mkdir(parents=True)
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    assert find_runs(tmp_path) == [tmp_path / "a", tmp_path / "b" / "run", tmp_path / "c"]
