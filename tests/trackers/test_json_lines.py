"""Trackers: the one that is always there, and what a new one must say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gelora_cli.config.schema import TrackerConfig
from gelora_cli.core import run_files
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import TRACKERS
from gelora_cli.trackers.base import TrackerKind


def test_json_lines_keep_the_order_and_what_was_there(tmp_path: Path) -> None:
    for step in (1, 2):  # a resumed training opens the file again
        TRACKERS.get("json_lines").open(tmp_path, TrackerConfig.of("json_lines")).log({"step": step, "loss": 0.5})
    lines = (tmp_path / run_files.METRICS).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.5}]


def test_a_tracker_that_can_not_be_opened_is_refused_when_it_is_registered() -> None:
    class Deaf(TrackerKind[TrackerConfig]):
        name = "deaf"

    with pytest.raises(GeloraError, match="lacks open"):
        TRACKERS.register(Deaf)  # type: ignore[type-abstract]
    assert "deaf" not in TRACKERS
