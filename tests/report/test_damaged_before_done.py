"""A run whose files were damaged before DONE named their checksums: it is listed, and the others are compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.done import mark_done
from gelora_cli.core.registries import REPORT_PICTURES
from gelora_cli.core.run_files import METRICS, PREDICTIONS
from gelora_cli.plots.base import report_pictures
from gelora_cli.report.predictions import without_damaged_predictions
from gelora_cli.report.rows import make_rows
from gelora_cli.report.runs import collect
from tests.helpers.models import rewrite_json
from tests.helpers.report_runs import write_whole

Damage = Callable[[Path], object]
DEEP = 200_000 * "["
NO_LOSSES: tuple[object, ...] = ("NaN", float("nan"), None, True, [1], {})
NO_RANKS: tuple[object, ...] = ("abc", None, {"a": 1}, [[1]])
NO_LABELS: tuple[object, ...] = (None, "maybe", ["yes"], {"a": 1})


def first_line(name: str, **values: object) -> Damage:
    """Return a damage that changes values in the first line of a file."""

    def damage(run: Path) -> None:
        line, *others = (run / name).read_text().splitlines()
        (run / name).write_text("\n".join([json.dumps(json.loads(line) | values), *others]) + "\n")

    return damage


def whole(name: str, content: bytes) -> Damage:
    return lambda run: (run / name).write_bytes(content)


def cut(name: str) -> Damage:
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[:30])


def twice(name: str) -> Damage:
    return lambda run: (run / name).write_text((run / name).read_text() * 2)


def valued(name: str, **values: object) -> Damage:
    return lambda run: rewrite_json(run / name, **values)


def first_block(**values: object) -> Damage:
    def damage(run: Path) -> None:
        first, *others = json.loads((run / RankPlan.FILE).read_text())["blocks"]
        rewrite_json(run / RankPlan.FILE, blocks=[first | values, *others])

    return damage


DAMAGES: dict[str, Damage] = {
    **{f"a loss is {value!r}": first_line(METRICS, loss=value) for value in NO_LOSSES},
    **{f"a step is {value!r}": first_line(METRICS, step=value) for value in ("5", None, 1e999)},
    **{f"ranks are {value!r}": first_line(METRICS, ranks=value) for value in NO_RANKS},
    "metrics are cut": cut(METRICS),
    "metrics are not UTF-8": whole(METRICS, b"\xff\xfe\0"),
    "metrics are deep": whole(METRICS, DEEP.encode()),
    "metrics have an endless integer": whole(METRICS, b'{"step": 1, "loss": ' + 6000 * b"9" + b"}\n"),
    "metrics are a list": whole(METRICS, b"[1, 2]\n"),
    "the profile is empty": whole(IdProfile.FILE, b""),
    "the profile is cut": cut(IdProfile.FILE),
    "the profile has a text for layers": valued(IdProfile.FILE, layers="none"),
    "a block has too many ranks": first_block(module_ranks=[1] * 99),
    "there are no blocks": valued(RankPlan.FILE, blocks=[]),
    "a rank is negative": first_block(rank=-3),
    "a value is huge": valued(RunResult.FILE, value=1e308),
    "a time is huge": valued(RunResult.FILE, train_seconds=1e300),
    "parameters are negative": valued(RunResult.FILE, adapter_params=-5),
    "another metric is reported": valued(RunResult.FILE, reported="f1"),
}
PREDICTION_DAMAGES: dict[str, Damage] = {
    **{f"a label is {value!r}": first_line(PREDICTIONS, label=value) for value in NO_LABELS},
    **{f"a prediction is {value!r}": first_line(PREDICTIONS, prediction=value) for value in (None, "maybe", ["no"])},
    "an id is a list": first_line(PREDICTIONS, id=[1]),
    "a split is a list": first_line(PREDICTIONS, split=[1]),
    "one row has a group": first_line(PREDICTIONS, group="a"),
    "predictions are empty": whole(PREDICTIONS, b""),
    "predictions are cut": cut(PREDICTIONS),
    "predictions come twice": twice(PREDICTIONS),
    "predictions are not UTF-8": whole(PREDICTIONS, b"\xff"),
    "predictions are deep": whole(PREDICTIONS, DEEP.encode()),
    "predictions are a number": whole(PREDICTIONS, b"7\n"),
}


def damaged(root: Path, damage: Damage) -> Path:
    """Write two finished runs and a damaged one, whose DONE names the checksums that it has by now."""
    write_whole(root, "gelora", 0, 30)
    write_whole(root, "lora", 0, 31)
    bad = write_whole(root, "sora", 0, 32)
    damage(bad)
    mark_done(bad)
    return bad


@pytest.mark.parametrize("name", DAMAGES)
def test_a_run_that_can_not_be_shown_is_listed(name: str, tmp_path: Path) -> None:
    bad = damaged(tmp_path, DAMAGES[name])
    collected = collect([tmp_path])
    (unused,) = collected.unused
    assert (unused.directory, unused.status) == (bad, "damaged")
    assert unused.reason and len(unused.reason) <= 400
    assert [row.name for row in make_rows(collected.runs)] == ["gelora", "lora"]


def test_a_number_that_no_run_gives_is_named(tmp_path: Path) -> None:
    bad = damaged(tmp_path, DAMAGES["parameters are negative"])
    (unused,) = collect([tmp_path]).unused
    problem = "'adapter_params' is -5, below 0"
    assert unused.reason == f"{bad} is damaged: {problem}. Restore it, or do the run again with force=true."


@pytest.mark.parametrize("name", PREDICTION_DAMAGES)
def test_a_run_that_can_not_be_tested_is_listed(name: str, tmp_path: Path) -> None:
    bad = damaged(tmp_path, PREDICTION_DAMAGES[name])
    collected = without_damaged_predictions(collect([tmp_path]))
    (unused,) = collected.unused
    assert (unused.directory, unused.status) == (bad, "damaged")
    assert "predictions.jsonl" in unused.reason and len(unused.reason) <= 400
    assert len(collected.runs) == 2


@pytest.mark.parametrize("damage", [DAMAGES["a loss is 'NaN'"], PREDICTION_DAMAGES["predictions are deep"]])
def test_a_report_tests_the_others(damage: Damage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged(tmp_path / "runs", damage)
    output = tmp_path / "report"
    assert command_line(["report", str(tmp_path / "runs"), f"output={output}"]) == 0
    assert "not used: damaged" in capsys.readouterr().err
    assert "sora/s0-0.1" in (output / "report.html").read_text()
    (pair,) = (output / "pairs.csv").read_text().splitlines()[1:]
    assert "gelora" in pair and "lora" in pair


def test_a_report_of_nothing_but_damage_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for method in ("gelora", "lora"):
        run = write_whole(tmp_path / "runs", method, 0, 30)
        PREDICTION_DAMAGES["predictions are cut"](run)
        mark_done(run)
    assert command_line(["report", str(tmp_path / "runs"), f"output={tmp_path / 'report'}"]) == 2
    printed = capsys.readouterr().err
    assert "no finished run" in printed and "predictions.jsonl" in printed
    assert not (tmp_path / "report").exists()


def test_a_kind_of_picture_that_fails_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path, "lora", 0, 30)
    write_whole(tmp_path, "gelora", 0, 31)
    rows = make_rows(collect([tmp_path]).runs)
    names = [picture.name for picture in report_pictures(rows)]
    assert {"value-1", "ranks-1", "curves-1"} <= set(names)

    def fail(*_: object) -> Any:
        raise OverflowError("of a kind that no test has")

    monkeypatch.setattr(REPORT_PICTURES.get("value"), "draw", fail)
    assert [picture.name for picture in report_pictures(rows)] == [name for name in names if name != "value-1"]
