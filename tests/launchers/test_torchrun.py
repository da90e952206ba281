"""Who leads and who follows of the processes that an outer launcher (torchrun) has started."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.core.errors import GeloraError, RunError
from gelora_cli.launchers import torchrun as launch
from tests.helpers.bench import Bench
from tests.helpers.many import LAUNCH


def say(monkeypatch: pytest.MonkeyPatch, rank: int, *answers: list[str] | None) -> list[list[str] | None]:
    """Make this process one of two; record what it sends to the other, which sends it `answers`."""
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
    assert launch.run_on_rank0(lambda: pytest.fail("only the first one does this"), followed.append) is None
    assert followed == [["run", "somewhere"], ["evaluate", "there"]]


@pytest.mark.parametrize("fails", ["never", "before", "within"])
def test_the_first_tells_the_others_what_to_do_and_when_it_ends(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    told = say(monkeypatch, 0)

    def work() -> str:
        if fails == "before":  # as where the directory is in use
            raise GeloraError("in use")
        with launch.broadcast_command(["run", "here"]):
            if fails == "within":  # they are at work: whatever it told them would be taken for a part of that
                raise GeloraError("stopped")
        return "found"

    if fails == "never":
        assert launch.run_on_rank0(work, lambda _: None) == "found"
        assert told == [["run", "here"], None]
    else:
        with pytest.raises(GeloraError):
            launch.run_on_rank0(work, lambda _: None)
        assert told == ([None] if fails == "before" else [["run", "here"]])


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (RuntimeError("[pair.cc:537] Connection reset by peer\nmore"), RunError, "process . of 2 lost another one"),
        (GeloraError("gloo is mentioned"), GeloraError, "^gloo is mentioned$"),
        (RuntimeError("shapes differ"), RuntimeError, "^shapes differ$"),
    ],
)
def test_a_process_that_lost_another_says_so(
    monkeypatch: pytest.MonkeyPatch, rank: int, error: Exception, kind: type[Exception], message: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    say(monkeypatch, rank, ["run", "here"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(kind, match=message):
        launch.run_on_rank0(fail, fail)


ENDS = """
import atexit
from torch import distributed
from gelora_cli.launchers.torchrun import run_on_rank0

# Handlers run in the reverse order, so this one sees what the process leaves to the end of the interpreter.
atexit.register(lambda: print("in a group" if distributed.is_initialized() else "alone", flush=True))
for _ in range(2):
    run_on_rank0(lambda: None, lambda arguments: None)
    assert distributed.is_initialized()  # the next command needs it
"""


@pytest.mark.distributed
def test_every_process_leaves_the_group_before_it_ends(tmp_path: Path) -> None:
    script = tmp_path / "ends.py"
    script.write_text(ENDS)
    done = subprocess.run([*LAUNCH, str(script)], capture_output=True, text=True, check=False, timeout=200)
    # Counted, not compared: the lines of two processes can mix.
    assert done.stdout.count("alone") == 2 and "in a group" not in done.stdout, done.stderr


LEFT_BY_OTHERS = [
    {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"},
    {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
    {"WORLD_SIZE": "2"},
    {"LOCAL_RANK": "1"},
    {"RANK": "x"},
    {"WORLD_SIZE": "two", "RANK": "0"},
    {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"},
    {"PMI_SIZE": "4", "PMI_RANK": "3"},
    {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "x"},
    {"ACCELERATE_USE_FSDP": "true", "ACCELERATE_MIXED_PRECISION": "fp8", "ACCELERATE_TORCH_DEVICE": "meta"},
]


@pytest.mark.parametrize("left", LEFT_BY_OTHERS, ids=lambda left: " ".join(f"{k}={v}" for k, v in left.items()))
def test_what_others_left_in_the_environment_is_ignored(
    left: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    for name, value in left.items():
        monkeypatch.setenv(name, value)
    assert command_line(["ls", str(tmp_path)]) == 0  # any command
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    assert not launch.inside_workers()
    assert (accelerator.num_processes, accelerator.distributed_type.value) == (1, "NO")
    assert (accelerator.mixed_precision, accelerator.device.type) == ("no", "cpu")


@pytest.mark.parametrize(
    ("name", "value"), [("RANK", "x"), ("RANK", "2"), ("WORLD_SIZE", "two"), ("LOCAL_RANK", "-1"), ("MASTER_PORT", "")]
)
def test_a_launchers_number_that_is_none_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    led = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for variable, number in (led | {name: value}).items():
        monkeypatch.setenv(variable, number)
    assert command_line(["ls"]) == 2
    message = capsys.readouterr().err
    assert f"{name}={value} in the environment" in message
    assert "unset" in message


@pytest.mark.parametrize("asked", ["dry_run=true", "-m"])
def test_what_looks_at_one_process_is_refused(
    bench: Bench,
    asked: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert command_line(bench.arguments("task=cola", asked)) == 2
    assert "leave the launcher (torchrun) out" in capsys.readouterr().err
    assert not Path(bench.root).exists()
