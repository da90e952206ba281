"""`gelora sweep`: what came of a sweep whose jobs a scheduler runs."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from gelora_cli.commands.base import Command, Positional, relative, user_path
from gelora_cli.config.keys import key
from gelora_cli.config.schema import DEBUG
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS

if TYPE_CHECKING:
    from gelora_cli.launchers.job import Outcome


@dataclass
class SweepCommandConfig:
    """The keys of `gelora sweep DIR`."""

    runs_dir: str = key("runs", help="the directory of runs, if no DIR is given", path=True, common=True)
    list: bool = key(False, help="list all sweeps of the directory, not the table of one", common=True)
    wait: bool = key(False, help="wait until no job is queued or running", common=True)
    poll_seconds: float = key(10.0, help="seconds between two looks with wait=true", low=0.1, common=True)
    debug: bool = key(False, help=DEBUG, common=True)


@COMMANDS.register
class Sweep(Command[SweepCommandConfig]):
    """Show the table of a sweep, as the sweep itself prints it at its end."""

    name = "sweep"
    summary = "what came of a sweep that a scheduler runs (launch=slurm)"
    examples = """  gelora sweep                                          # the latest below runs
  gelora sweep --wait                                   # the same once no job is queued or running
  gelora sweep runs --list                              # all below runs
  gelora sweep runs/.sweeps/20261126-055312-482913      # one of them"""
    keys = SweepCommandConfig
    positional = Positional("DIR", required=False)
    flags: ClassVar[Mapping[str, str]] = {"--list": "list=true", "--wait": "wait=true"}

    def handle(self, config: SweepCommandConfig, paths: list[Path], typed: str) -> Outcome:
        """Print the table of a sweep and return its exit code, or list all sweeps of a directory."""
        from gelora_cli.commands.sweep_report import report_sweep
        from gelora_cli.core.messages import escape_controls
        from gelora_cli.launchers.job import Outcome
        from gelora_cli.launchers.sweep_state import read_sweep

        sweeps = recorded_sweeps(paths[0] if paths else user_path(config.runs_dir))
        if config.list:
            print(sweeps_table(sweeps))
            return Outcome(0)
        sweep = read_sweep(sweeps[-1])
        others = f"; {len(sweeps) - 1} earlier: --list" if len(sweeps) > 1 else ""
        for line in (f"{relative(sweep.directory)} of {sweep.record.created}{others}", sweep.record.typed):
            print(f"gelora: {escape_controls(line)}", file=sys.stderr)
        outcomes = sweep.outcomes()
        while config.wait and any(outcome.is_pending for outcome in outcomes):
            time.sleep(config.poll_seconds)
            outcomes = sweep.outcomes()
        return Outcome(report_sweep([job.label for job in sweep.record.jobs], outcomes))


def recorded_sweeps(directory: Path) -> list[Path]:
    """Return the directories of sweeps that a path means, the latest last: one sweep, or all of a directory of runs.

    Raises:
        GeloraError: there is none.
    """
    from gelora_cli.core.artifacts.sweep import SweepRecord
    from gelora_cli.launchers.sweep_state import find_sweeps

    if not directory.is_dir():
        raise GeloraError(f"{directory}: no such directory; give that of a sweep, or a directory of runs")
    if (directory / SweepRecord.FILE).exists():
        return [directory.absolute()]
    if sweeps := find_sweeps(directory):
        return sweeps
    raise GeloraError(
        f"{directory}: no sweep is recorded here, as launch=slurm does; what there is of runs: gelora ls {directory}"
    )


def sweeps_table(directories: list[Path]) -> str:
    """Return a row for each sweep: its directory, when it was submitted, its jobs by state, its command."""
    from gelora_cli.launchers.sweep_state import read_sweep
    from gelora_cli.report.text_table import format_table, terminal_width

    rows = []
    for directory in directories:
        try:
            sweep = read_sweep(directory)
            outcomes = sweep.outcomes()
        except (GeloraError, OSError) as error:  # it hides no other sweep
            rows.append((str(relative(directory)), "-", "-", str(error)))
            continue
        counts = Counter(outcome.state for outcome in outcomes)
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        rows.append((str(relative(directory)), sweep.record.created, states, sweep.record.typed))
    return format_table(
        ("sweep", "submitted", "jobs", "command"), rows, width=terminal_width(), optional=("submitted",)
    )
