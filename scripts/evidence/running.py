"""Run the plan's commands with the code of its commit, stop them, and pack what they finish."""

from __future__ import annotations

import functools
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from gelora_cli.core.directories import create_directory
from gelora_cli.core.done import is_done
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.processes import die_with_parent
from gelora_cli.core.status import find_runs
from scripts.evidence.plan import ROOT

PACK_SECONDS = 30 * 60


def check_places(place: Path, archive: Path, glue: Path | None) -> None:
    """Refuse places that would fail after hours of runs, and make those that are not there.

    Raises:
        GeloraError: the directory of runs or that of the archive can't be written to, the archive is no file, or there
            is no GLUE where it was said to be.
    """
    if glue is not None and not glue.is_dir():
        raise GeloraError(f"no GLUE at {glue}: name its directory by --glue or GLUE=, or unset GELORA_DATA")
    if archive.exists() and not archive.is_file():
        raise GeloraError(f"{archive} is no file: name the archive's by --archive or ARCHIVE=")
    create_directory(place, "RUNS=DIR")
    create_directory(archive.parent, "ARCHIVE=FILE")


def link(path: Path, target: Path) -> None:
    """Make a link, or let it lead to another directory.

    Raises:
        GeloraError: something that is no link has its name.
    """
    target = target.absolute()
    if path.exists() and not path.is_symlink():
        raise GeloraError(f"{path} is no link, and commands name it as one to {target}: move it elsewhere")
    if not path.is_symlink() or path.readlink() != target:
        path.unlink(missing_ok=True)
        path.symlink_to(target)


def open_tree(place: Path, commit: str) -> Path:
    """Return a worktree of a commit, made where there is none.

    Raises:
        GeloraError: the path is no worktree or one of another commit or with changed files, or this repository lacks
            the commit.
    """
    if not os.path.lexists(place):
        if _git(ROOT, "cat-file", "-e", f"{commit}^{{commit}}") is None:
            raise GeloraError(f"this repository lacks the plan's commit: git fetch origin {commit}")
        _git(ROOT, "worktree", "prune")
        if _git(ROOT, "worktree", "add", "--detach", str(place), commit) is None:
            raise GeloraError(f"{place}: git worktree add failed; its message is above")
    # Asked first: within a directory of a repository, git would answer for that repository, which is not ours.
    if not (place / ".git").exists():
        raise GeloraError(f"{place} is no worktree, and runs need one there: move it elsewhere, or choose another RUNS")
    head = (_git(place, "rev-parse", "HEAD") or "no commit").strip()
    if head != commit:
        raise GeloraError(f"{place} is at {head}, not at the plan's commit: git -C {place} checkout --detach {commit}")
    if (_git(place, "status", "--porcelain") or "").strip():
        raise GeloraError(f"{place} has changed files, so that its runs would be of no commit: git -C {place} stash -u")
    return place


def _git(directory: Path, *words: str) -> str | None:
    """Return what a git command prints; None where it fails."""
    done = subprocess.run(["git", "-C", str(directory), *words], stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


@dataclass
class Runner:
    """Commands of `gelora`, one after the other, until a signal or the deadline.

    Attributes:
        tree: the worktree whose code trains.
        directory: where the commands run.
        runs: all run directories, which are packed.
        archive: the file that they are packed into.
        find_problem: says why finished runs may not be packed; empty where they may.
        deadline: seconds of `time.monotonic` after which the command at work is stopped; None for none.
    """

    tree: Path
    directory: Path
    runs: Path
    archive: Path
    find_problem: Callable[[], str]
    deadline: float | None = None
    code: int = 0
    stopped: bool = False  # by a signal
    out_of_time: bool = False  # the command at work was stopped at the deadline, which is no failure
    next_pack: float = field(default_factory=lambda: time.monotonic() + PACK_SECONDS)
    process: subprocess.Popen[bytes] | None = None

    @property
    def is_over(self) -> bool:
        """Return whether no further command should start."""
        return self.stopped or self._is_past_deadline()

    def run(self, words: Sequence[str]) -> int:
        """Run a command with the code of the worktree, pack every half hour meanwhile, and return its exit code.

        The command stops where it is, and resumes, even when this process is killed.
        """
        print(f"\n$ gelora {shlex.join(words)}", flush=True)
        environment = {"OMP_NUM_THREADS": "1"} | dict(os.environ) | {"PYTHONPATH": str(self.tree)}
        command = [sys.executable, "-m", "gelora_cli", *words]
        stop_with_us = functools.partial(die_with_parent, os.getpid(), signal.SIGTERM)
        with subprocess.Popen(
            command,
            cwd=self.directory,
            env=environment,
            start_new_session=True,
            preexec_fn=stop_with_us,  # noqa: PLW1509
        ) as self.process:
            while self._is_working(self.process):
                if self._is_past_deadline() and not (self.stopped or self.out_of_time):
                    print("evidence: MINUTES are over; the run at work is stopped where it is, and resumes", flush=True)
                    self.out_of_time = True
                    self._send(signal.SIGTERM)
                if time.monotonic() >= self.next_pack:
                    self.pack()
        code = self.process.returncode
        if self.out_of_time:
            return code
        self.stopped = self.stopped or code == StoppedError.exit_code
        if not self.stopped:
            self.code = max(self.code, abs(code))
        return code

    def pack(self) -> None:
        """Pack all finished runs into the archive, with the code of this checkout."""
        self.next_pack = time.monotonic() + PACK_SECONDS
        if not any(map(is_done, find_runs(self.runs))):
            return
        problem = self.find_problem()
        if problem:
            print(f"evidence: nothing is packed: {problem}", file=sys.stderr, flush=True)
            self.code = max(self.code, GeloraError.exit_code)
            return
        self.archive.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "gelora_cli", "pack", str(self.runs), f"output={self.archive}"]
        code = subprocess.run(
            command, cwd=ROOT, env=dict(os.environ) | {"PYTHONPATH": str(ROOT)}, check=False
        ).returncode
        self.code = max(self.code, abs(code))

    def stop(self, number: int, _: FrameType | None) -> None:
        """Handle a signal: pass it to the command at work, after which no other follows."""
        self.stopped = True
        self._send(number)

    def _send(self, number: int) -> None:
        """Send a signal to the command at work."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def _is_working(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for a command until it ends, or until something has to be done meanwhile."""
        waits = [self.next_pack]
        if self.deadline is not None and not (self.stopped or self.out_of_time):
            waits.append(self.deadline)
        try:
            process.wait(timeout=max(0.0, min(waits) - time.monotonic()))
        except subprocess.TimeoutExpired:
            return True
        return False

    def _is_past_deadline(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline
