"""Who leads and who follows of the processes that an outer launcher (torchrun) has started."""

from __future__ import annotations

from pathlib import Path

import pytest

from gelora_cli import launch
from gelora_cli.artifacts import GeloraError
from gelora_cli.cli import command_line
from tests.test_pipeline import Bench, bench  # noqa: F401 - a fixture


def say(monkeypatch: pytest.MonkeyPatch, rank: int, *answers: list[str] | None) -> list[list[str] | None]:
    """This process as one of two; what it tells the other, which tells it `answers`."""
    told: list[list[str] | None] = []
    coming = iter(answers)

    def tell(arguments: list[str] | None) -> list[str] | None:
        told.append(arguments)
        return next(coming) if rank else arguments

    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setattr(launch, "_broadcast", tell)
    monkeypatch.setattr(launch._Followers, "at_work", False)
    return told


def test_the_others_follow_until_the_first_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, 1, ["run", "somewhere"], ["evaluate", "there"], None)
    followed: list[list[str]] = []
    assert launch.lead_or_follow(lambda: pytest.fail("only the first one does this"), followed.append) is None
    assert followed == [["run", "somewhere"], ["evaluate", "there"]]


@pytest.mark.parametrize("fails", ["never", "before", "within"])
def test_the_first_tells_the_others_what_to_do_and_when_it_ends(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    told = say(monkeypatch, 0)

    def work() -> str:
        if fails == "before":  # as where the directory is in use
            raise GeloraError("in use")
        with launch.with_others(["run", "here"]):
            if fails == "within":  # they are at work: whatever it told them would be taken for a part of that
                raise GeloraError("stopped")
        return "found"

    if fails == "never":
        assert launch.lead_or_follow(work, lambda _: None) == "found"
        assert told == [["run", "here"], None]
    else:
        with pytest.raises(GeloraError):
            launch.lead_or_follow(work, lambda _: None)
        assert told == ([None] if fails == "before" else [["run", "here"]])


@pytest.mark.parametrize("asked", ["dry_run=true", "-m"])
def test_what_looks_at_one_process_is_refused(
    bench: Bench,  # noqa: F811
    asked: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert command_line(bench.arguments("task=cola", asked)) == 2
    assert "leave the launcher (torchrun) out" in capsys.readouterr().err
    assert not Path(bench.root).exists()
