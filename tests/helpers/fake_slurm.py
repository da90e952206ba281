"""A Slurm of small scripts on PATH, which answer what a test has written into a file."""

from __future__ import annotations

from pathlib import Path

import pytest

INVALID = "slurm_load_jobs error: Invalid job id specified"


class FakeSlurm:
    """The commands of Slurm that gelora calls; each call is a line of `calls`.

    Attributes:
        queue: what `squeue` knows, by the id of the job: `STATE` or `STATE|REASON`.
    """

    def __init__(self, root: Path) -> None:
        self.bin = root / "fake slurm"
        self.bin.mkdir()
        self.answer, self.log = self.bin / "answer", self.bin / "calls"
        self.log.touch()
        self.script("squeue", f"[ -s '{self.answer}' ] && cat '{self.answer}' && exit 0; echo '{INVALID}' >&2; exit 1")
        for name in ("sbatch", "srun"):
            self.script(name, "exit 1")
        self.script("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
        for name in ("cat", "sleep"):  # PATH has nothing else: this machine may have a Slurm of its own
            (self.bin / name).symlink_to(f"/bin/{name}")
        self.queue: dict[str, str] = {}
        self.knows({})

    def script(self, name: str, body: str) -> None:
        """Write a command."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\necho {name} \"$@\" >> '{self.log}'\n{body}\n")
        path.chmod(0o755)

    def knows(self, queue: dict[str, str]) -> None:
        """Let squeue answer this, too."""
        self.queue |= queue
        lines = []
        for job_id, state in self.queue.items():
            lines.append(f"{job_id}|{state}" if "|" in state else f"{job_id}|{state}|None")
        self.answer.write_text("".join(f"{line}\n" for line in lines))

    def calls(self, name: str) -> int:
        """Return how often a command was called."""
        return sum(line.split()[0] == name for line in self.log.read_text().splitlines())


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Put Slurm's commands on PATH, and a package submitit where it can be found."""
    fake = FakeSlurm(tmp_path)
    monkeypatch.setenv("PATH", str(fake.bin))
    (fake.bin / "submitit").mkdir()
    (fake.bin / "submitit" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(fake.bin))
    return fake
