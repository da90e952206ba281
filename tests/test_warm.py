"""Commands of tests are answered by the warm process, unless a test changes what its libraries have read."""

from __future__ import annotations

import os

import pytest

from tests.helpers import warm
from tests.helpers.warm import WITHOUT_TORCH, environment_changed


def test_what_torch_sets_by_itself_starts_no_cold_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "ENVIRONMENT", dict(os.environ))  # libraries of earlier tests may have set more in it
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "a directory of torch")
    assert not environment_changed()
    done = WITHOUT_TORCH.run_code("import sys; print('numpy' in sys.modules)")
    assert (done.returncode, done.stdout) == (0, "True\n"), "forked from a process that has imported numpy"
    monkeypatch.setenv("HF_HOME", "/elsewhere")
    assert environment_changed()
