"""What Slurm says of jobs: `squeue` for those that it knows, `sacct` for those that it has forgotten."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import first_line, quote
from gelora_cli.launchers.job_state import ENDED, QUEUED, RUNNING, QueueState

ANSWER_SECONDS = 30.0
"""How long squeue may take, which a busy cluster needs at times."""
ACCOUNTING_SECONDS = 5.0
"""How long sacct may take. Where there is no accounting it fails at once, or hangs."""
WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
ACTIVE = {"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}


def queue_states(job_ids: Sequence[str]) -> dict[str, QueueState]:
    """Return what Slurm says of these jobs, by their id. One that it has forgotten is missing.

    Raises:
        GeloraError: squeue is not there, or gives no answer.
    """
    if not job_ids:
        return {}
    states = _squeue(job_ids)
    forgotten = [job_id for job_id in job_ids if job_id not in states]
    return states | _sacct(forgotten)


def _squeue(job_ids: Sequence[str]) -> dict[str, QueueState]:
    """Ask squeue, which also knows jobs that have ended in the last minutes.

    Raises:
        GeloraError: it is not there, or gives no answer.
    """
    if shutil.which("squeue") is None:
        raise GeloraError("squeue is not on PATH here, so that Slurm can't be asked; log in where sbatch is")
    # --array: a line for each job of an array. %i is 12_3, %T the state, %r why it waits.
    words = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r", f"--jobs={_arrays(job_ids)}"]
    try:
        answer = subprocess.run(
            words, capture_output=True, text=True, errors="replace", check=False, timeout=ANSWER_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GeloraError(f"squeue gives no answer: {first_line(error)}") from error
    if answer.returncode and "Invalid job id" not in answer.stderr:  # what it says where it has forgotten all of them
        raise GeloraError(f"squeue gives no answer: {answer.stderr.strip() or f'exit code {answer.returncode}'}")
    states = _parse(answer.stdout, job_ids)
    lines = answer.stdout.splitlines()
    if lines and not any("|" in line for line in lines):  # not an empty queue: jobs would be submitted twice
        raise GeloraError(f"squeue gives no answer that can be read: {quote(lines[0])}")
    return states


def _sacct(job_ids: Sequence[str]) -> dict[str, QueueState]:
    """Ask the accounting, where there is one that answers in time."""
    if not job_ids or shutil.which("sacct") is None:
        return {}
    words = ["sacct", "--noheader", "--allocations", "--array", "--parsable2", "--format=JobID,State"]
    try:
        answer = subprocess.run(
            [*words, f"--jobs={_arrays(job_ids)}"],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=ACCOUNTING_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {} if answer.returncode else _parse(answer.stdout, job_ids)


def _arrays(job_ids: Iterable[str]) -> str:
    """Return the ids of arrays and single jobs, each once: Slurm answers for all jobs of an array at once."""
    return ",".join(dict.fromkeys(job_id.partition("_")[0] for job_id in job_ids))


def _parse(answer: str, job_ids: Sequence[str]) -> dict[str, QueueState]:
    """Return the states in an answer with `ID|STATE` or `ID|STATE|REASON` in each line, of these jobs alone."""
    asked = set(job_ids)
    states = {}
    for line in answer.splitlines():
        job_id, _, rest = line.strip().partition("|")
        word, _, reason = rest.partition("|")
        if job_id in asked and word.strip():
            name = word.split()[0]  # `CANCELLED by 1000`
            states[job_id] = QueueState(_kind(name), name, "" if reason in ("None", "") else reason)
    return states


def _kind(name: str) -> str:
    if name in WAITING:
        return QUEUED
    return RUNNING if name in ACTIVE else ENDED
