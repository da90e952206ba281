"""What Slurm runs of a sweep: the command line of one job, which stops with a checkpoint when it is asked to.

submitit stores a `CommandLine`: words, and nothing else of ours. It starts it in a process of its own, where it waits
for the command. What comes of the job is read from its run directory, never from what submitit stores.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from gelora_cli.core.artifacts.sweep import JobEnd
from gelora_cli.launchers.job_state import STOPPED_CODES, TIME_IS_OVER, end_file, read_end, write_end

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

POLL_SECONDS = 0.1


class CommandLine:
    """A command that submitit calls. `checkpoint` is how submitit learns that it may be put into the queue again.

    The signals of Slurm mean different things. SIGUSR2 says that the time is nearly over: the job itself has to ask
    for another turn. SIGTERM comes with `scancel`, with a preemption and with `scontrol requeue`. After the last two
    Slurm puts the job into the queue by itself, and after `scancel` it must not come back. So the command is asked to
    stop by both, and only after SIGUSR2 the job is requeued from here.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)

    def __call__(self) -> None:
        """Run the command, write down how it ended, and end this process with its exit code."""
        signals: list[int] = []  # those that asked the command to stop

        def note(number: int, _: FrameType | None) -> None:
            signals.append(number)

        requeue = signal.signal(TIME_IS_OVER, note)  # submitit's own handler; it has Slurm send this signal
        signal.signal(signal.SIGTERM, note)
        folder, job_id = Path(os.environ["SUBMITIT_FOLDER"]), slurm_job_id()
        before = read_end(folder, job_id)  # of an earlier start of the same job
        end_file(folder, job_id).unlink(missing_ok=True)
        begun = time.monotonic()
        code = self._run(signals)
        seconds = time.monotonic() - begun + (before.seconds if before else 0.0)
        asked_by = signal.Signals(signals[0]).name if signals else ""
        write_end(folder, job_id, JobEnd(code, seconds, socket.gethostname(), asked_by))
        if code in STOPPED_CODES and TIME_IS_OVER in signals and callable(requeue):
            requeue(TIME_IS_OVER, None)  # it calls `checkpoint` and `scontrol requeue`, and ends this process
        sys.exit(code if code >= 0 else 128 - code)  # as a shell says it

    def _run(self, signals: Sequence[int]) -> int:
        """Run the command, ask it to stop once a signal has come, and return its exit code; -n after signal n."""
        # In a session of its own: a signal to the group of this process reaches it once, from here.
        process = subprocess.Popen(self.words, start_new_session=True)
        asked = False
        while process.poll() is None:
            if signals and not asked:  # once: at a second request, more than a second later, it would leave at once
                process.send_signal(signal.SIGTERM)
                asked = True
            time.sleep(POLL_SECONDS)
        return process.returncode

    def checkpoint(self) -> DelayedSubmission:
        """Return what submitit starts when the job runs again: the same command, which finds its run directory."""
        from submitit.core.utils import DelayedSubmission

        return DelayedSubmission(CommandLine(self.words))


def slurm_job_id() -> str:
    """Return the id of this Slurm job as `squeue` shows it: 12, or 12_3 in an array."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]
