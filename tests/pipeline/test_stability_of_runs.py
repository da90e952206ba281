"""`ranks.when_unstable` from a saved profile to the end of a run, and where the verdict is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.codec import read_artifact, to_json
from tests.helpers.bench import Bench
from tests.helpers.rank_profiles import MINILM, make_profile, with_tenths

NOISY = with_tenths(make_profile((5.0, 5.0, 5.0, 8.0, 8.0, 8.0, 8.0)), (0.6,) * 7)
"""Only block 3 grows; by `ranks.rule=growth` the other units follow the noise."""


def test_ranks_obeys_the_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile, pattern = tmp_path / "profile.json", tmp_path / "pattern.json"
    profile.write_text(to_json(NOISY), encoding="utf-8")
    command = ["ranks", str(profile), "budget=rank:4", "ranks.rule=growth"]
    assert command_line([*command, f"output={pattern}"]) == 0
    shown = capsys.readouterr().out
    assert "stability: unstable. Another sample keeps" in shown
    assert "warning: these ranks rest on noise (unstable)" in shown
    plan = read_artifact(RankPlan, tmp_path / "pattern.plan.json")
    assert plan.stability is not None
    assert plan.stability.verdict == "unstable"
    assert len(set(plan.ranks)) > 1

    assert command_line([*command, f"output={pattern}", "force=true", "ranks.when_unstable=uniform"]) == 0
    shown = capsys.readouterr().out
    assert "Uniform ranks, since the plan of method=gelora is not stable" in shown
    assert "warning" not in shown
    assert set(json.loads(pattern.read_text())["rank_pattern"].values()) == {4}

    pattern.unlink()
    assert command_line([*command, f"output={pattern}", "force=true", "ranks.when_unstable=error"]) == 2
    assert "ranks.when_unstable=error refuses" in capsys.readouterr().err
    assert not pattern.exists()


def test_an_old_profile_is_still_planned_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = json.loads(to_json(MINILM))
    del values["sha256"]
    for row in values["layers"]:
        for name in ("eighth", "jackknife", "scales"):  # what profiles of earlier versions lack
            del row[name]
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps(values), encoding="utf-8")
    assert command_line(["ranks", str(profile), "budget=rank:4"]) == 0
    assert "stability: not measured in this profile; measure again with force=true" in capsys.readouterr().out
    assert command_line(["ranks", str(profile), "budget=rank:4", "ranks.when_unstable=uniform"]) == 2
    assert (
        "measure again with force=true. ranks.when_unstable=warn takes the plan all the same" in capsys.readouterr().err
    )


def test_a_run_obeys_the_policy(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["task=rte", "budget=rank:3", "ranks.rule=growth"]
    assert bench.run(*given, "ranks.when_unstable=error") == 2
    refused = bench.only()
    assert "is not stable" in (read_artifact(RunManifest, refused / RunManifest.FILE).error or "")
    assert {path.name for path in refused.iterdir()} <= {"config.yaml", "run.json", "log.txt", ".lock"}
    capsys.readouterr()

    assert bench.run(*given, "ranks.when_unstable=uniform") == 0
    shown = capsys.readouterr().out
    (run,) = [directory for directory in bench.directories() if directory != refused]
    plan = read_artifact(RankPlan, run / RankPlan.FILE)
    assert plan.stability is not None
    assert plan.ranks == plan.uniform_ranks
    assert f"plan:     uniform ranks, since the measured plan was {plan.stability.verdict} (another" in shown
    verdict = f"{plan.stability.verdict}, so the uniform ranks are taken. Another sample keeps"
    card = (run / "README.md").read_text(encoding="utf-8")
    assert f"- would other texts give these ranks? {verdict}" in card
    assert "rest on noise" not in card  # uniform ranks do not
