"""A real sweep with two jobs side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact
from tests.helpers.bench import Bench, predictions, without_times


@pytest.mark.slow
def test_two_jobs_side_by_side_are_bitwise_those_one_after_the_other(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """They share a profile: one measures it and the other waits."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = ("-m", "task=cola", "method=gelora,shuffled")
    serial = Bench(tmp_path / "serial", bench.data, bench.models)
    assert serial.run(*words) == 0
    assert bench.run(*words, "launch.parallel=2") == 0
    names = [directory.relative_to(bench.root) for directory in bench.directories()]
    assert names == [directory.relative_to(serial.root) for directory in serial.directories()]
    assert len(names) == 2
    reused = []
    for name in names:
        assert predictions(bench.root / name) == predictions(serial.root / name)
        assert without_times(bench.root / name) == without_times(serial.root / name)
        adapters = [root / name / "adapter" / "adapter_model.safetensors" for root in (bench.root, serial.root)]
        assert adapters[0].read_bytes() == adapters[1].read_bytes()
        reused.append(read_artifact(RunResult, bench.root / name / RunResult.FILE).profile_reused)
    assert sorted(reused) == [False, True]
    capfd.readouterr()
    assert bench.run(*words, "launch.parallel=2") == 0
    assert capfd.readouterr().out.count("already done") == 2
