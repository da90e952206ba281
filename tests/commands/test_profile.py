"""`gelora profile signals=[...]`: several signals at once, shared with runs, and collected in one directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gelora_cli.commands.help import command_help
from gelora_cli.config.files import read_config
from gelora_cli.config.identity import identity_values
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.registries import COMMANDS
from gelora_cli.pipeline import session
from tests.helpers.bench import Bench, answer_here
from tests.helpers.composed import composed
from tests.helpers.rows import rows
from tests.helpers.signals import NormsSignal, more_signals

__all__ = ["more_signals"]  # a fixture

SMALL = ["task=cola", "profile.max_examples=30"]


def measured_directories(bench: Bench, file: str) -> list[Path]:
    return sorted(path.parent for path in bench.root.glob(f".profiles/*/{file}"))


def test_several_signals_are_measured_once_with_one_model_and_collected(
    bench: Bench, more_signals: NormsSignal, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[object] = []
    opened = session.Session.__init__

    def counted(self: session.Session, *inputs: Any) -> None:
        sessions.append(self)
        opened(self, *inputs)

    monkeypatch.setattr(session.Session, "__init__", counted)
    words = [*SMALL, "signals=[idim,norms,counts]"]
    assert bench.run(*words, command="profile") == 0
    assert len(sessions) == more_signals.measured == 1
    printed = capsys.readouterr().out
    (shared_norms, shared_counts) = (measured_directories(bench, f"signal-{name}.json") for name in ("norms", "counts"))
    assert len(shared_norms) == len(shared_counts) == 2
    (collection,) = set(shared_norms) & set(shared_counts)
    files = {path.name for path in collection.iterdir()}
    assert files >= {"profile.json", "profile.png", "signal-norms.json", "signal-counts.json", "config.yaml", "log.txt"}
    for name in ("profile.json", "signal-norms.json", "signal-counts.json"):
        (shared,) = set(measured_directories(bench, name)) - {collection}
        assert (shared / name).read_bytes() == (collection / name).read_bytes()
        assert not (shared / "config.yaml").exists()
    assert "signal norms: 0.2 s, " in printed or "signal norms: 0.3 s, " in printed
    assert str(collection) in printed

    before = {path.name: path.stat().st_mtime_ns for path in collection.glob("*.*") if path.name != ".lock"}
    assert (
        bench.run(*SMALL, "signals=[counts,norms,idim]", command="profile") == 0
    )  # the order names no other directory
    assert {path.name: path.stat().st_mtime_ns for path in collection.glob("*.*") if path.name != ".lock"} == before
    assert len(sessions) == more_signals.measured == 1  # nothing was left to do, so no model was loaded
    assert bench.run(*words, "force=true", command="profile") == 0
    assert more_signals.measured == 2

    (alone,) = set(shared_norms) - {collection}
    (alone / "signal-norms.json").unlink()  # as if the command had been killed between two signals
    assert bench.run(*words, command="profile") == 0
    assert more_signals.measured == 3
    assert bench.run(*SMALL, "signals=[idim]", command="profile") == 0
    assert len(sessions) == 3
    assert len(measured_directories(bench, "profile.json")) == 2


def test_labels_are_needed_only_by_a_signal_that_reads_them(
    bench: Bench,
    more_signals: NormsSignal,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(row["sentence"] for row in rows("cola", 60, seed=1)))
    words = ["task=text", f"data.text={lines}"]
    assert bench.run(*words, "signals=[norms,counts]", command="profile") == 2
    message = capsys.readouterr().err
    assert "signals=[norms,counts]: counts can't be measured without labels: " in message
    assert not bench.root.exists()
    assert bench.run(*words, "signals=[norms]", command="profile") == 0
    answer_here(monkeypatch)
    assert bench.run("-m", *words, "signals=[norms],[counts]", command="profile") == 2
    message = capsys.readouterr().err
    assert "signals=[counts]: counts can't be measured" in message
    assert "signals=[counts]: signals=" not in message  # its label is said once
    assert "signals=[norms]: " not in message
    assert bench.run("-m", *words, "signals=[norms],[idim]", command="profile") == 0
    assert len(measured_directories(bench, "profile.json")) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["signals=[idm]"], "signals=idm: not known; did you mean idim?"),
        (["signals=[]"], "signals=[] names no signal; accepted: idim"),
        (["signals=[idim]", "seeds=1"], "seeds=1: unknown key; did you mean seed?"),
    ],
)
def test_what_is_no_signal_is_one_message(
    bench: Bench, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run("task=cola", *words, command="profile") == 2
    assert told in capsys.readouterr().err
    assert not bench.root.exists()


def test_what_is_measured_is_no_key_of_a_run(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("task=cola", "signals=[idim]") == 2
    assert "signals=['idim']: unknown key" in capsys.readouterr().err
    config = composed("task=rte", "signals=[idim]", name="profile")
    assert "signals" not in identity_values(config)
    assert config.run_config == composed("task=rte")


def test_the_frozen_configuration_is_that_of_a_run(bench: Bench) -> None:
    assert bench.run(*SMALL, command="profile") == 0
    (directory,) = measured_directories(bench, "profile.json")
    assert type(read_config(directory / "config.yaml")) is RunConfig


def test_help_shows_the_keys_of_its_own_subject() -> None:
    profile, ranks, run = (command_help(COMMANDS.get(name)) for name in ("profile", "ranks", "run"))
    assert all(f"  {name}=" in profile for name in ("profile.pooling", "profile.scales", "profile.control"))
    assert "  ranks.when_unstable=" in ranks
    assert "  profile." not in run
    assert "  ranks." not in run


@pytest.mark.parametrize("name", ["profile", "fetch"])
def test_help_leaves_out_a_key_that_the_command_refuses(bench: Bench, tmp_path: Path, name: str) -> None:
    command = COMMANDS.get(name)
    assert "  dry_run=" in command_help(COMMANDS.get("run"))
    assert all("dry_run=" not in command_help(command, words) for words in ([], ["all"]))
    paths = [str(tmp_path / "copy")] if command.positional else []
    assert bench.run(*paths, *SMALL, "dry_run=true", command=name) == 2
    assert not list(tmp_path.rglob("DONE"))


def test_a_sweep_of_profiles_ends_with_their_paths(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_here(monkeypatch)
    assert bench.run("-m", *SMALL, "profile.seed=0,1", command="profile") == 0
    following = capsys.readouterr().out.rpartition("next:")[2]
    directories = measured_directories(bench, "profile.json")
    assert len(directories) == 2
    assert all(str(path / "profile.json") in following for path in directories)
    assert following.strip().endswith("choices=true budget=0.1M")


def test_what_is_next_and_which_signals_a_method_reads(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(*SMALL, "method=fisher", "budget=0.1M", command="profile") == 0
    printed = capsys.readouterr()
    plan, choices, scales = printed.out.partition("next:\n")[2].splitlines()
    assert plan.endswith("profile.json budget=0.1M")
    assert "choices=true" in choices
    assert scales.endswith("profile.scales=true")
    assert bench.run(*SMALL, "method=fisher", "budget=0.1M", "profile.control=shuffled", "dry_run=true") == 0
    assert "profile.control=shuffled: of no effect; gradients reads other keys" in capsys.readouterr().err
    assert "method=fisher reads gradients, which is not measured: give signals=gradients" in printed.err
