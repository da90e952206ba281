"""Profiles before and after in one picture: what is drawn where, and the script that draws it from directories."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gelora_cli.core.codec import write_artifact
from gelora_cli.plots.profiles import SPREAD, controls_figure, estimator_name, profiles_figure
from scripts.figure3 import main as draw
from tests.helpers.plans import PROFILE

ROOT = Path(__file__).resolve().parents[2]
AFTER = replace(
    PROFILE,
    model=f"{PROFILE.model}+mrpc",
    layers=tuple(replace(row, idim=0.8 * row.idim, low=0.7 * row.low) for row in PROFILE.layers),
)


def test_a_panel_per_task_and_a_line_per_profile() -> None:
    other = replace(PROFILE, task="stsb")
    figure = profiles_figure({"base": PROFILE, "tuned": AFTER, "base, stsb": other})
    first, second = figure.axes
    assert [line.get_label() for line in first.lines] == ["base", "tuned"]
    assert [line.get_label() for line in second.lines] == ["base, stsb"]
    layers = np.arange(len(PROFILE.layers))
    for line, profile, side in zip(first.lines, (PROFILE, AFTER), (-1, 1), strict=True):
        assert np.allclose(line.get_xdata(), layers + side * SPREAD / 2)
        assert np.allclose(line.get_ydata(), [row.idim for row in profile.layers])
    drawn: Any = first.collections[1]
    bars = [np.array(segment)[:, 1] for segment in drawn.get_segments()]
    assert np.allclose(bars, [(row.low, row.high) for row in AFTER.layers])
    assert first.lines[0].get_linestyle() != first.lines[1].get_linestyle()
    assert (first.get_ylabel(), second.get_xlabel()[:5]) == ("intrinsic dimension", "layer")


def test_a_profile_and_its_controls_are_one_panel() -> None:
    control = replace(AFTER, settings=replace(AFTER.settings, control="untrained"))
    (axis,) = controls_figure(PROFILE, {"untrained": control}).axes
    labels = [str(line.get_label()) for line in axis.lines]
    assert labels == ["pretrained model, texts as they are", "untrained weights"]
    assert [line.get_linestyle() for line in axis.lines] == ["-", "--"]
    for line, profile in zip(axis.lines, (PROFILE, AFTER), strict=True):
        assert np.allclose(line.get_ydata(), [row.idim for row in profile.layers])


def test_the_estimator_is_named_as_it_was_read() -> None:
    gride = replace(PROFILE, settings=replace(PROFILE.settings, estimator="gride"), scale=4)
    assert estimator_name(PROFILE) == "TwoNN"
    assert estimator_name(gride) == "GRIDE, n1 = 4"
    (axis,) = profiles_figure({"one": PROFILE, "other": gride}).axes
    assert "(TwoNN and GRIDE, n1 = 4)" in axis.get_title(loc="left")


def test_the_script_draws_directories_and_prints_the_numbers(tmp_path: Path) -> None:
    for name, profile in (("before", PROFILE), ("after", AFTER)):
        (tmp_path / name).mkdir()
        write_artifact(profile, tmp_path / name)
    command = [sys.executable, "scripts/figure3.py", *(str(tmp_path / name) for name in ("before", "after"))]
    command += ["--output", str(tmp_path / "new/figure.png")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert f"{AFTER.model} on {AFTER.task}: {AFTER.layers[0].idim:.2f}" in shown
    assert (tmp_path / "new/figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_scripts_faults_are_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = ["--output", str(tmp_path / "figure.png")]
    assert draw([str(tmp_path / "nothing"), *output]) == 2
    assert "error: " in (shown := capsys.readouterr().err)
    assert "nothing can't be read as IdProfile" in shown
    (tmp_path / "file").touch()
    write_artifact(PROFILE, tmp_path)
    assert draw([str(tmp_path), "--output", str(tmp_path / "file/figure.png")]) == 2
    shown = capsys.readouterr().err
    assert "file" in shown
    assert "--output" in shown
    assert "runs_dir" not in shown
    for wrong in (tmp_path, tmp_path / "figure.jpg"):
        with pytest.raises(SystemExit):
            draw([str(tmp_path), "--output", str(wrong)])
        assert "ends in .png or .svg" in capsys.readouterr().err
