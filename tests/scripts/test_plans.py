"""The target `plans`: tables and a picture from what a target measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.codec import write_artifact
from scripts.reproduce.__main__ import finish, results
from scripts.reproduce.plans import measured_tasks
from scripts.reproduce.plans_picture import Panel, plans_figure
from scripts.reproduce.sweeps import Request, Sweep
from scripts.reproduce.work import NAMED, Work
from tests.helpers.made_signals import weight_signal
from tests.helpers.rank_profiles import MINILM, with_tenths

PROFILE = replace(with_tenths(MINILM, [0.01] * 7), task="demo", model="minilm")
JOB = {"task": ["demo"], "model": "minilm", "budget": "rank:4"}


def written(path: Path, profile: IdProfile) -> Path:
    path.mkdir()
    write_artifact(profile, path)
    return path


def measured(tmp_path: Path) -> Work:
    """Return what the sweeps of a target left: two signals of the real profile, and one of `cls`."""
    real = written(tmp_path / "real", PROFILE)
    write_artifact(weight_signal(PROFILE.model_map, lambda i: 10.0 + i), real)
    settings = replace(PROFILE.settings, pooling="cls")
    cls = written(tmp_path / "cls", replace(PROFILE, settings=settings))
    sweeps = [Sweep(JOB, command="profile"), Sweep(JOB | {"profile.pooling": ["cls", "last"]}, command="profile")]
    return Work([(sweeps[0], [real]), (sweeps[1], [cls])])


def test_a_target_that_measures_ends_in_tables_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work, request = measured(tmp_path), Request("plans", "smoke", tmp_path)
    finish(request, work)
    text = (request.output / "plans.md").read_text(encoding="utf-8")
    table, _, _ = text.partition("| agreement |")
    rows = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ")}
    assert "| 4 4 4 4 4 4 | 96 | control | - | 1.00 | - | - |" in rows["lora"]
    assert "| stable |" in rows["gelora"]
    assert rows["weights"].endswith("| 1.0 | 0.67 |")
    assert not {"fisher", "activations", "file"} & set(rows), "their signals are not there"
    assert "| real mean |" not in text
    assert "| mean | N |" in text
    assert "| cls | N |" in text, "a sweep of which a profile failed keeps the others"
    assert (request.output / "plans.png").read_bytes().startswith(b"\x89PNG")
    assert "no run ended well" not in capsys.readouterr().err
    assert results(request, work) == f"in {request.output}: plans.md, plans.png"


def test_profiles_of_one_task_are_kept_once(tmp_path: Path) -> None:
    work = measured(tmp_path)
    work.found.append(work.found[0])
    (task,) = measured_tasks(work)
    assert [profile.settings.pooling for profile in task.profiles] == ["mean", "cls"]
    assert set(task.signals) == {"idim", "weights"}


def test_the_directory_of_several_signals_is_found() -> None:
    line = "profile: 2.4 s, 21.7 kB: /a b/.profiles/93db/profile.json"
    found = NAMED.search(line)
    assert found
    assert found[1] == "/a b/.profiles/93db"
    found = NAMED.search("200 examples, 2.5 s: runs/.profiles/3dbb/profile.json")
    assert found
    assert found[1] == "runs/.profiles/3dbb"


def test_the_picture_has_a_panel_a_task_and_the_verdicts() -> None:
    panels = [Panel(task, {"gelora": [2.0, 5.0], "lora": [3.5, 3.5]}, {"gelora": "unstable"}) for task in "abcdef"]
    figure = plans_figure(panels, "made")
    drawn = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title(loc="left") for axis in drawn] == list("abcdef")
    assert [text.get_text() for text in drawn[0].texts] == ["2", "5", "◐", "4", "4", ""]
    many = [Panel("a", {"gelora": [1.0] * 40}, {})]
    (axis,) = plans_figure(many, "made").axes
    assert {text.get_text() for text in axis.texts} == {""}, "numbers don't fit into 40 cells"
