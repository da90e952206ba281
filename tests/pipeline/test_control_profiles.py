"""Controls of a profile from the command to the picture, and a run whose ranks follow one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gelora_cli.config.files import read_config
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.codec import read_artifact
from tests.helpers.bench import Bench


def profile_directories(bench: Bench) -> dict[str | None, Path]:
    """Return the directory of each profile by its control."""
    directories = {}
    for path in (bench.root / ".profiles").iterdir():
        directories[read_artifact(IdProfile, path / IdProfile.FILE).settings.control] = path
    return directories


def test_a_control_is_drawn_beside_the_real_profile(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("task=cola", "profile.control=shuffled", command="profile") == 0
    shown = capsys.readouterr().out
    directories = profile_directories(bench)
    assert directories.keys() == {None, "shuffled"}
    picture = directories[None] / "controls.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"the profile beside its controls: {picture}" in shown
    assert "warning: the tokens of every text are shuffled (profile.control=shuffled)" in shown
    assert read_config(directories[None] / "config.yaml").profile.control is None
    real = (directories[None] / IdProfile.FILE).read_bytes()
    # The real profile and the earlier control are reused, and all three are drawn.
    before = picture.read_bytes()
    assert bench.run("task=cola", "profile.control=untrained", "force=true", command="profile") == 0
    assert profile_directories(bench).keys() == {None, "shuffled", "untrained"}
    assert picture.read_bytes() != before
    assert (directories[None] / IdProfile.FILE).read_bytes() == real


def test_a_profile_without_controls_has_no_picture_of_them(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("task=cola", command="profile") == 0
    assert "controls" not in capsys.readouterr().out
    assert not list(bench.root.rglob("controls.png"))


def test_a_run_plans_from_a_control_and_says_so(bench: Bench) -> None:
    assert bench.run("task=cola", "profile.control=untrained", "budget=rank:2", "train.max_steps=2") == 0
    directory = bench.only()
    plan = read_artifact(RankPlan, directory / RankPlan.FILE)
    assert plan.warnings[0].startswith("every weight is untrained (profile.control=untrained)")
    assert read_artifact(IdProfile, directory / IdProfile.FILE).settings.control == "untrained"
    assert "a profile in which every weight is untrained" in (directory / "README.md").read_text()
    assert plan.warnings[0] in (directory / "log.txt").read_text()


def test_a_profile_of_tokens_says_how_many(bench: Bench) -> None:
    assert bench.run("task=mrpc", "profile.pooling=tokens", "profile.tokens=2", command="profile") == 0
    ((_, directory),) = profile_directories(bench).items()
    profile = read_artifact(IdProfile, directory / IdProfile.FILE)
    assert (profile.settings.pooling, profile.settings.tokens) == ("tokens", 2)
    assert profile.layers[0].points == 2 * profile.examples_used
