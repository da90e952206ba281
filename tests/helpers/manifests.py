"""Shared by the tests of several packages, first needed by tests/core/test_status.py."""

from __future__ import annotations

from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.environment import utc_now


def manifest(status: str) -> RunManifest:
    now = utc_now()
    return RunManifest(status, "gelora run", now, now, 1, "host", 1, "cpu", "float32", {}, None, {}, {}, None, None)
