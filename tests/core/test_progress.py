"""Progress where no terminal shows it."""

from __future__ import annotations

import pytest

from gelora_cli.core.progress import ProgressLog, progress


def test_a_pipe_gets_a_line_every_thirty_seconds(monkeypatch: pytest.MonkeyPatch, log_lines: list[str]) -> None:
    clock = [0.0]
    monkeypatch.setattr("gelora_cli.core.progress.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    with progress(1_200, "ex", "train", enabled=True) as bar:
        assert isinstance(bar, ProgressLog)
        for second in range(100):
            clock[0] = float(second)
            bar.set_postfix(loss="0.5")
            bar.update(12)
    assert len(log_lines) == 3
    assert log_lines[0] == "train: 372 of 1,200 ex (31 %), 12.0 ex/s, about 1.1 min left, loss 0.5"
    assert not any("\r" in line for line in log_lines)


def test_after_a_single_update_no_rate_is_claimed(log_lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gelora_cli.core.progress.PROGRESS_SECONDS", 0.0)
    ProgressLog(4, "ex", "activations", enabled=True).update(1)
    assert log_lines == ["activations: 1 of 4 ex (25 %)"]


def test_other_processes_say_nothing(log_lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gelora_cli.core.progress.PROGRESS_SECONDS", 0.0)
    for enabled in (False, True):
        ProgressLog(2, "ex", "profile", enabled=enabled).update(1)
    assert len(log_lines) == 1
