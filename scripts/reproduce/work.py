"""Run commands of `gelora`, and keep the directories that they name."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from gelora_cli.core.errors import StoppedError
from scripts.reproduce.sweeps import Sweep

NAMED = re.compile(r"(?:^results: +|^.* kB: |: )(\S.*)/(?:result|profile)\.json$")
"""The lines in which `gelora run` and `gelora profile` name a directory."""


@dataclass
class Work:
    """What a target left: of each sweep its run (or profile) directories in the order of its jobs; the exit code."""

    found: list[tuple[Sweep, list[Path]]] = field(default_factory=list)
    code: int = 0
    process: subprocess.Popen[str] | None = None
    stopped: bool = False

    @property
    def named(self) -> dict[str, str]:
        """Return `@name` -> the first run of the sweep of that name."""
        return {f"@{sweep.name}": str(paths[0]) for sweep, paths in self.found if sweep.name and paths}

    @property
    def runs(self) -> list[Path]:
        """Return the run directories, each once."""
        directories: list[Path] = []
        for sweep, paths in self.found:
            if sweep.command == "run":
                directories += paths
        return list(dict.fromkeys(directories))

    @property
    def trains(self) -> bool:
        """Return whether there is something to report: a target that only measures has nothing."""
        return not self.found or any(sweep.command == "run" for sweep, _ in self.found)

    def do(self, sweep: Sweep) -> None:
        """Run a sweep and keep the directories that it names; one that fails is told by the exit code."""
        start = str(sweep.values.get("init_from", ""))
        if start.startswith("@") and start not in self.named:
            print(f"reproduce: {start} left no run to start from: left out", file=sys.stderr)
            self.code = max(self.code, 1)
            return
        lines = self.call("gelora", ("-m", "gelora_cli"), sweep.words(self.named))
        self.found.append((sweep, [Path(found[1]) for found in map(NAMED.search, lines) if found]))

    def call(self, shown: str, start: Sequence[str], words: Sequence[str]) -> list[str]:
        """Run a command of this Python, showing it and its output, which is given back line by line."""
        print(f"\n$ {shown} {shlex.join(words)}", flush=True)
        lines = []
        command = [sys.executable, *start, *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as self.process:
            for line in self.process.stdout or ():
                print(line, end="", flush=True)
                lines.append(line.rstrip())
        self.code = max(self.code, abs(self.process.returncode))
        self.stopped = self.stopped or self.process.returncode == StoppedError.exit_code
        return lines

    def stop(self, number: int, _: FrameType | None) -> None:
        """Handle a signal: pass it to the command at work, after which no other follows."""
        self.stopped = True
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
