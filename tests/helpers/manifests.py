"""Shared by the tests of several packages, first met in test_rundir.py."""

from __future__ import annotations

from gelora_cli.core import rundir
from gelora_cli.core.artifacts import RunManifest


def manifest(status: str) -> RunManifest:
    now = rundir.now()
    return RunManifest(status, "gelora run", now, now, 1, "host", 1, "cpu", "float32", {}, None, {}, {}, None, None)
