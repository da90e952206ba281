"""The launcher of Slurm without one: what is recorded, what is asked of the queue, what is said of each job."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.config.schema import LaunchConfig
from gelora_cli.core.artifacts.sweep import JobEnd, SweepJob, SweepRecord
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.launchers import run_outcome, slurm_queue
from gelora_cli.launchers import slurm as slurm_launcher
from gelora_cli.launchers.job import Job
from gelora_cli.launchers.job_state import STOPPED_CODES, log_file, read_end, write_end
from gelora_cli.launchers.slurm_schema import SlurmConfig
from gelora_cli.launchers.sweep_record import write_sweep
from gelora_cli.launchers.sweep_state import RecordedSweep, read_sweep
from tests.helpers.bench import Bench
from tests.helpers.fake_slurm import FakeSlurm
from tests.helpers.fake_slurm import slurm as slurm  # noqa: PLC0414 - a fixture
from tests.helpers.jobs import make_job
from tests.helpers.manifests import manifest
from tests.helpers.written_runs import write_run

IDS = ["12_0", "12_1", "12_2", "15"]


def test_what_slurm_says_of_each_job(slurm: FakeSlurm) -> None:
    slurm.knows({"12_0": "RUNNING", "12_1": "PENDING|Resources", "12_2": "CANCELLED", "99": "RUNNING"})
    slurm.knows({"97": " |"})
    slurm.script("sacct", "echo '15|TIMEOUT'")
    states = slurm_queue.queue_states(IDS)
    assert {job_id: (state.kind, state.word) for job_id, state in states.items()} == {
        "12_0": ("running", "RUNNING"),
        "12_1": ("queued", "PENDING"),
        "12_2": ("ended", "CANCELLED"),
        "15": ("ended", "TIMEOUT"),
    }
    assert states["12_1"].reason == "Resources" and not states["12_0"].reason
    assert "--jobs=12,15" in slurm.log.read_text()


def test_a_job_that_slurm_has_forgotten_is_missing_and_sacct_never_holds_up(
    slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_queue, "ACCOUNTING_SECONDS", 0.1)
    slurm.script("sacct", "echo '15|TIMEOUT'; exec sleep 20")  # an answer to whoever waits for it
    assert slurm_queue.queue_states(IDS) == {}


@pytest.mark.parametrize(
    "body",
    [
        "echo 'Unable to contact slurm controller' >&2; exit 1",
        "exec sleep 20",
        "echo 'This node is in maintenance'",
        "printf '\\377' >&2; exit 3",
    ],
)
def test_a_slurm_that_does_not_answer_is_no_empty_queue(
    slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(slurm_queue, "ANSWER_SECONDS", 0.3)
    slurm.script("squeue", body)
    with pytest.raises(GeloraError, match="squeue gives no answer"):
        slurm_queue.queue_states(IDS)


JOB = """
import os, signal, sys
from pathlib import Path
from gelora_cli.launchers.slurm_job import CommandLine
signal.signal(signal.SIGUSR2, lambda number, frame: print("requeued", flush=True))
CommandLine([sys.executable, "-c", sys.argv[1]])()
"""
COMMAND = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
print("begun", flush=True)
time.sleep(30)
"""


def test_a_command_that_a_signal_ends_before_it_can_handle_it_was_asked_to_stop() -> None:
    for number in (signal.SIGTERM, signal.SIGUSR2):  # Slurm sends them to every process of the job
        ended = subprocess.run([sys.executable, "-S", "-c", f"import os; os.kill(os.getpid(), {number})"], check=False)
        assert ended.returncode in STOPPED_CODES


@pytest.mark.parametrize(("number", "said"), [(signal.SIGTERM, ""), (signal.SIGUSR2, "requeued\n")])
def test_a_job_stops_when_it_is_asked_and_comes_back_only_when_its_time_was_over(
    tmp_path: Path, number: signal.Signals, said: str
) -> None:
    write_end(tmp_path, "12_3", JobEnd(130, 100.0, "earlier"))
    environment = {"SUBMITIT_FOLDER": str(tmp_path), "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
    command = [sys.executable, "-c", JOB, COMMAND]
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert read_end(tmp_path, "12_3") is None
        process.send_signal(number)
        assert process.stdout.read() == said
    end = read_end(tmp_path, "12_3")
    assert process.returncode == 130 and end is not None
    assert (end.code, end.asked_by) == (130, number.name)
    assert 100 < end.seconds < 130


@pytest.fixture
def recorded(tmp_path: Path) -> RecordedSweep:
    """Return the sweep of a job in every state; the runs are those of `write_run`."""
    runs, directory = tmp_path / "runs", tmp_path / "runs" / ".sweeps" / "20261126-055312-482913"
    done, before = write_run(runs, "gelora", 0, 0.7), write_run(runs, "gelora", 1, 0.6)
    for name, status, error in (("again", "interrupted", None), ("bad", "failed", "the loss is nan")):
        (runs / name).mkdir()
        write_artifact(replace(manifest(status), error=error), runs / name)
    places = [done, before, *(runs / name for name in ("new", "again", "bad", "gone", "stopped", "timed", "broken"))]
    jobs = []
    for number, place in enumerate(places, start=1):
        path = f"../../{place.relative_to(runs)}"
        job_id = "" if place == before else f"12_{number}"
        jobs.append(SweepJob(number, place.name, (), ("../../no", path), job_id, "jobs", was_done=place == before))
    (directory / "jobs").mkdir(parents=True)
    record = SweepRecord("gelora run -m", "run", "slurm", "2020-01-01T00:00:00+00:00", "/", tuple(jobs))
    write_artifact(record, directory)
    return read_sweep(directory)


@pytest.mark.parametrize("file", ["run.json", "result.json"])
def test_a_damaged_run_hides_no_other_job(recorded: RecordedSweep, slurm: FakeSlurm, file: str) -> None:
    damaged, whole = recorded.directories(recorded.record.jobs[0])[-1], recorded.outcomes()[1]
    (damaged / file).write_bytes(b'{"half": \xff')
    outcomes = recorded.outcomes()
    assert outcomes[0].state == "failed" and file in outcomes[0].message
    assert outcomes[1] == whole and whole.state == "already done"


@pytest.mark.parametrize("change", [{"directories": ("a\0b",)}, {"folder": "\0"}, {"directories": ("x" * 5000,)}])
def test_a_record_with_impossible_paths_hides_no_run_and_no_sweep(
    recorded: RecordedSweep, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str], change: dict[str, object]
) -> None:
    first = recorded.record.jobs[0]
    odd = recorded.directory.parent / "20261126-055313-000000"
    odd.mkdir()
    changed = replace(first, **change)  # type: ignore[arg-type]
    write_artifact(replace(recorded.record, typed="gelora \x1b[31m", jobs=(changed,)), odd)
    runs = str(recorded.directory.parents[1])
    assert command_line(["ls", runs]) == 0 and "s0-0.1" in capsys.readouterr().out
    assert command_line(["sweep", runs, "--list"]) == 0
    assert recorded.directory.name in capsys.readouterr().out
    assert command_line(["sweep", runs]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_what_came_of_each_job_of_a_recorded_sweep(
    recorded: RecordedSweep, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = recorded.directory / "jobs"
    write_end(folder, "12_1", JobEnd(0, 40.0, "node"))
    write_end(folder, "12_5", JobEnd(1, 3.0, "node"))
    write_end(folder, "12_7", JobEnd(130, 3.0, "node", "SIGTERM"))
    write_end(folder, "12_8", JobEnd(130, 3.0, "node", "SIGUSR2"))
    write_end(folder, "12_9", JobEnd(2, 1.0, "node"))
    log_file(folder, "12_9").write_text("Traceback\ngelora: no such model\nslurmstepd: error\n")
    slurm.knows({"12_3": "PENDING|Priority", "12_4": "PENDING|BeginTime", "12_5": "FAILED"})
    outcomes = {job.label: outcome for job, outcome in zip(recorded.record.jobs, recorded.outcomes(), strict=True)}
    assert {label: (outcome.state, outcome.code) for label, outcome in outcomes.items()} == {
        "s0-0.1": ("done", 0),
        "s1-0.1": ("already done", 0),
        "new": ("queued", 0),
        "again": ("preempted", 0),
        "bad": ("failed", 1),
        "gone": ("cancelled", 130),
        "stopped": ("cancelled", 130),
        "timed": ("interrupted", 130),
        "broken": ("failed", 2),
    }
    assert (outcomes["s0-0.1"].value, outcomes["s0-0.1"].seconds) == (0.7, 40.0)
    assert outcomes["new"].message == "slurm job 12_3 (Priority)"
    assert outcomes["bad"].message == "the loss is nan"
    assert outcomes["broken"].message.startswith("no such model (log: ")
    assert slurm.calls("squeue") == 1

    assert command_line(["sweep", str(recorded.directory)]) == 130
    assert re.search(r"again +preempted +- +0 +slurm job 12_4 \(BeginTime\)", capsys.readouterr().out)
    assert command_line(["sweep", str(recorded.directory.parents[1]), "--list"]) == 0
    assert "1 queued, 1 preempted" in capsys.readouterr().out

    runs = recorded.directory.parents[1]
    assert command_line(["ls", str(runs), "--json"]) == 0
    statuses = {row["run"]: row["status"] for row in json.loads(capsys.readouterr().out)}
    assert statuses["again"] == "preempted" and statuses["bad"] == "failed"
    assert statuses["no"] == "queued"  # of two places the first: a machine that is not known yet decides
    assert command_line(["ls", str(runs / "again"), "--json"]) == 0  # the other place of the job lies elsewhere
    assert [(row["run"], row["status"]) for row in json.loads(capsys.readouterr().out)] == [(".", "preempted")]


@pytest.mark.parametrize("said_by", ["its end", "the scheduler"])
def test_a_finished_job_has_a_while_until_its_files_are_seen(
    recorded: RecordedSweep,
    slurm: FakeSlurm,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said_by: str,
) -> None:
    first = recorded.record.jobs[0]
    sweep = write_sweep(recorded, [first])
    done = sweep.directories(first)[-1] / "DONE"
    hidden = done.rename(done.with_name("hidden"))
    if said_by == "its end":
        write_end(sweep.folder(first), "12_1", JobEnd(0, 40.0, "node"))
    else:
        slurm.knows({"12_1": "COMPLETED"})
    (outcome,) = sweep.outcomes()
    assert (outcome.state, outcome.message) == ("running", "it ended, and its files are not seen yet")

    monkeypatch.setattr(run_outcome, "FILES_SECONDS", 0.3)
    assert command_line(["sweep", str(sweep.directory), "--wait", "poll_seconds=0.1"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "failed" in said and "it ended without an error, but no finished run is seen in" in said
    (outcome,) = slurm_launcher.wait_for(sweep, 0.1)
    assert outcome.code == 1

    hidden.rename(done)
    assert [outcome.state for outcome in sweep.outcomes()] == ["done"]


def test_a_finished_job_without_an_end_is_not_running_for_ever(recorded: RecordedSweep, slurm: FakeSlurm) -> None:
    first = recorded.record.jobs[0]
    sweep = write_sweep(recorded, [first])
    (sweep.directories(first)[-1] / "DONE").unlink()
    slurm.knows({"12_1": "COMPLETED"})
    log = log_file(sweep.folder(first), "12_1")
    log.write_text("gelora: trained\n")
    states = []
    for age in (0.0, run_outcome.FILES_SECONDS + 60):
        os.utime(log, (time.time() - age,) * 2)
        states += [outcome.state for outcome in read_sweep(sweep.directory).outcomes()]  # as each new process does
    assert states == ["running", "failed"]


def test_a_sweep_is_shown_without_its_scheduler(
    recorded: RecordedSweep, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm.script("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    assert command_line(["sweep", str(recorded.directory)]) == 0
    said = capsys.readouterr()
    assert "Unable to contact slurm controller; what follows is from the run directories alone" in said.err
    assert re.search(r"new +unknown", said.out) and re.search(r"s0-0.1 +done", said.out)
    assert command_line(["ls", str(recorded.directory.parents[1])]) == 0
    assert "squeue" not in capsys.readouterr().err


@pytest.fixture
def submitted(slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the labels of the jobs that were submitted, a list for each array; its id is its place."""
    arrays: list[list[str]] = []

    def submit(sweep: RecordedSweep, jobs: Sequence[Job], settings: SlurmConfig) -> list[str]:
        arrays.append([job.label for job in jobs])
        ids = [f"{len(arrays)}_{place}" for place in range(len(jobs))]
        slurm.knows(dict.fromkeys(ids, "PENDING"))
        return ids

    monkeypatch.setattr(slurm_launcher, "submit_array", submit)
    return arrays


def test_a_job_is_submitted_once_while_it_is_queued(
    bench: Bench, slurm: FakeSlurm, submitted: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    def sweep(seeds: str, *words: str) -> int:
        given = ["task=cola", "method=lora", "budget=rank:2", "launch=slurm", "launch.wait=false", "launch.gpus=4"]
        return command_line(bench.arguments(*given, "-m", f"seed={seeds}", *words))

    assert sweep("0,1", "launch.processes=64", "train.batch_size=64", "precision=auto") == 0
    said = capsys.readouterr()
    assert "of 2 jobs 2 submitted as Slurm job 1" in said.err
    assert re.search(r"seed=1 +queued +- +0 +slurm job 1_1", said.out)
    (directory,) = (bench.root / ".sweeps").glob("2*")
    first = read_artifact(SweepRecord, directory / SweepRecord.FILE).jobs[0]
    assert len(first.directories) == 2  # one for each precision: this machine's says nothing of the other
    assert "launch.processes=64" in first.arguments and "launch.gpus=4" not in first.arguments
    assert "launch=slurm" not in first.arguments

    slurm.knows({"1_0": "RUNNING", "1_1": "CANCELLED"})
    assert sweep("0,1,2", "launch.processes=64", "train.batch_size=64", "precision=auto") == 0
    assert submitted == [["seed=0", "seed=1"], ["seed=1", "seed=2"]]
    assert "2 submitted as Slurm job 2, 1 in the queue already" in capsys.readouterr().err
    latest = max((bench.root / ".sweeps").glob("2*"))
    jobs = read_artifact(SweepRecord, latest / SweepRecord.FILE).jobs
    assert [job.scheduler_id for job in jobs] == ["1_0", "2_0", "2_1"]
    assert (latest / jobs[0].folder).resolve() == directory / "jobs"

    assert sweep("3,3,4") == 0  # jobs that do the same would be in each other's way
    assert len(submitted[-1]) == 2 and "of 3 jobs 2 submitted as Slurm job 3" in capsys.readouterr().err
    latest = max((bench.root / ".sweeps").glob("2*"))
    jobs = read_artifact(SweepRecord, latest / SweepRecord.FILE).jobs
    assert [job.scheduler_id for job in jobs] == ["3_0", "3_0", "3_1"]

    slurm.script("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    assert sweep("0") == 2
    assert "No job was submitted" in capsys.readouterr().err


def test_what_is_missing_is_one_message(
    bench: Bench, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["task=cola", "method=lora", "budget=rank:2", "launch=slurm", "-m", "seed=0,1"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (slurm.bin / "sbatch").unlink()
    assert command_line(bench.arguments(*words)) == 2
    said = capsys.readouterr().err
    assert "needs the package submitit: pip install" in said and "[slurm]" in said
    assert "sbatch not on PATH here" in said.replace("\n", " ")
    assert command_line(bench.arguments(*words, "launch.parallel=2", "launch.account='a\nb'")) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "launch.array_parallelism=2" in said and "launch.account=" in said
    assert not bench.root.exists()


def test_the_jobs_of_an_array_ask_for_the_same() -> None:
    jobs = [replace(make_job(number=time), launch=SlurmConfig(launcher="slurm", time=time)) for time in (5, 10)]
    with pytest.raises(GeloraError, match="5,10: the jobs of an array share it"):
        slurm_launcher.common_settings(jobs)


def test_a_yaml_of_ones_own_names_the_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch" / "mycluster.yaml").write_text("launcher: slurm\npartition: gpu\ngpus: 2\nprocesses: 2\n")
    words = ["run", "--cfg", "job", "--config-dir", str(tmp_path), "launch=mycluster", "launch.time=7"]
    assert command_line(words) == 0
    shown = capsys.readouterr().out
    assert "partition: gpu" in shown and "time: 7" in shown


def test_what_is_asked_of_slurm() -> None:
    settings = SlurmConfig(launcher="slurm", partition="gpu", time=90, gpus=2, memory="16G", setup=["module load x"])
    asked = slurm_launcher.slurm_parameters(settings, "gelora-x")
    assert {"partition": "gpu", "time": 90, "gpus_per_node": 2, "mem": "16G", "setup": ["module load x"]}.items() <= (
        asked.items()
    )
    assert not {"account", "qos", "cpus_per_task", "constraint"} & asked.keys()
    assert asked["ntasks_per_node"] == 1
    assert LaunchConfig.class_of("slurm") is SlurmConfig
