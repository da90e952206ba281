"""Machines of one run that differ are refused on every process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gelora_cli.config.schema import RunConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.pipeline import agreement
from gelora_cli.pipeline.agreement import check_agreement


def check(monkeypatch: pytest.MonkeyPatch, local: int, **other: str) -> list[dict[str, str]]:
    """Check process 0 of two beside one with these other values; return what was gathered."""
    gathered: list[dict[str, str]] = []

    def gather(_: object, own: dict[str, str]) -> list[dict[str, str]]:
        gathered.extend([own, own | other])
        return gathered

    monkeypatch.setattr(agreement, "gather_objects", gather)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
    inputs = SimpleNamespace(config=RunConfig(), fingerprints={"model": "m" * 64, "train": "t" * 64})
    accelerator = SimpleNamespace(device=SimpleNamespace(type="cpu"))
    check_agreement(cast(Any, inputs), cast(Any, accelerator))
    return gathered


def test_processes_of_one_machine_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(monkeypatch, 2, train="other") == []


def test_machines_that_are_alike_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"model", "train", "torch", "device"} <= {*check(monkeypatch, 1)[0]}


def test_what_differs_is_named_with_both_values(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        GeloraError, match=r"differ: train .tttttttttttt on process 0, 0123456789ab on process 1.; torch "
    ):
        check(monkeypatch, 1, train="0123456789abcdef", torch="1.0")
