"""The process of a tracker: what it does, and how the training starts it, listens to it and ends it.

A tracker has a process of its own, so that a library which hangs, prints, draws random numbers, installs handlers or
never returns does so away from the training. It reads the run directory, so that nothing waits in a queue.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from gelora_cli.core import run_files
from gelora_cli.core.errors import StoppedError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.processes import describe_exit_status, die_with_parent
from gelora_cli.trackers.base import STOPPED

POLL_SECONDS = 1.0
"""How often a tracker looks for new lines."""
STOPPED_SECONDS = 5.0
"""The longest wait for a tracker of a run that was stopped: a scheduler may end all of it soon."""
LONGEST_LOG = 8 * 2**20
"""Bytes of what a tracker's library prints, above which it begins anew: it must not fill the disk of the runs."""
NICENESS = 10
"""How far a tracker stands back behind the training where both want a core."""


class TrackerProcess:
    """A tracker as the training sees it: it never waits for it before the end.

    Args:
        name: the tracker.
        directory: the run directory.
        wait_seconds: the longest wait at the end.
    """

    def __init__(self, name: str, directory: Path, wait_seconds: float) -> None:
        self.name, self.wait_seconds = name, wait_seconds
        self.log_file = directory / run_files.TRACKER_LOG.format(name=name)
        self.silent = False  # whether nothing more can come from it
        command = [sys.executable, "-m", __name__, name, str(directory), str(os.getpid())]
        self.log_file.write_bytes(b"")
        with self.log_file.open("ab") as log:  # so that it can be cut while the tracker writes to it
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # a terminal's Ctrl-C is for the training
            )
        assert self.process.stdin and self.process.stdout
        self.input, self.reports = self.process.stdin, self.process.stdout
        os.set_blocking(self.reports.fileno(), False)
        self._begun = b""  # a report without its end

    def log(self, values: Mapping[str, Any]) -> None:
        """Listen to the tracker, which finds the line in the run directory."""
        self.listen()

    def listen(self) -> None:
        """Log what the tracker reported, and that it is gone if it is; this never waits."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.reports.fileno(), 1 << 16):
                self._begun += chunk
        *lines, self._begun = self._begun.split(b"\n")
        for line in lines:
            level, text = json.loads(line)
            self.silent |= level == "warning"
            getattr(LOGGER, level)("%s", text)
        with contextlib.suppress(OSError):  # somebody removed it
            if self.log_file.stat().st_size > LONGEST_LOG:
                os.truncate(self.log_file, 0)
        if self.process.poll() not in (None, 0) and not self.silent:
            # What helps a training that runs out of memory helps no tracker.
            self._warn(f"its process {describe_exit_status(self.process.returncode, advice='')}")

    def finish(self, state: str) -> None:
        """Tell the tracker how the run ended; this does not wait for it."""
        with contextlib.suppress(OSError):  # it is gone
            self.input.write(state.encode())
            self.input.close()

    def wait(self, deadline: float) -> None:
        """Wait until the tracker has ended, at most until `deadline` by the monotonic clock."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
            self.listen()
        except subprocess.TimeoutExpired:
            self.listen()
            self._warn(f"it had not ended {self.wait_seconds:g} s after the run (tracker.{self.name}.wait_seconds)")

    def kill(self) -> None:
        """Kill the process if it still runs, with those that its library started."""
        if self.process.poll() is None:  # while it is not waited for, its number is no other group's
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.reports.close()

    def _warn(self, reason: str) -> None:
        self.silent = True
        consequence = f"tracker {self.name} may lack lines: {reason}"
        LOGGER.warning("%s. %s has every line; see %s", consequence, run_files.METRICS, self.log_file)


def finish_all(trackers: list[TrackerProcess], state: str) -> None:
    """End all trackers of a run, which have the same time to do so.

    A signal ends the wait and nothing else: the run has ended already, with its result or with an error of its own.
    """
    start = time.monotonic()
    for tracker in trackers:
        tracker.finish(state)
    try:
        for tracker in trackers:
            seconds = tracker.wait_seconds if state != STOPPED else min(tracker.wait_seconds, STOPPED_SECONDS)
            tracker.wait(start + seconds)
    except StoppedError:
        LOGGER.warning("trackers may lack lines: a signal ended the wait for them. %s has them all", run_files.METRICS)
    finally:
        for tracker in trackers:
            tracker.kill()


def main(name: str, directory: Path, parent: int) -> None:
    """Be the process of a tracker, until the training says how it ended."""
    die_with_parent(parent)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # the training alone acts on them
    os.nice(NICENESS)
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no report

    from gelora_cli.config.composing import in_entry_classes
    from gelora_cli.config.files import read_config
    from gelora_cli.core.plugins import load_plugins
    from gelora_cli.core.registries import TRACKERS
    from gelora_cli.trackers.following import Follower

    config = read_config(directory / run_files.CONFIG)
    if config.plugins is not None:
        load_plugins(config.plugins)
        config = in_entry_classes(config)
    follower = Follower(directory, TRACKERS.get(name), config, lambda *report: _report(reports, *report))
    follower.start()
    state = ""
    while not state:
        follower.update()
        if select.select([0], [], [], POLL_SECONDS)[0]:
            state = os.read(0, 100).decode() or STOPPED  # nothing: the training was killed
    follower.end(state)


def _report(reports: IO[str], level: str, text: str) -> None:
    """Send a line for the log of the run."""
    with contextlib.suppress(OSError):  # the training is gone
        reports.write(json.dumps([level, text]) + "\n")
        reports.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
