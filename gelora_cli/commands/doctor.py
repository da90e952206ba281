"""The keys of `gelora doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gelora_cli.commands.base import Command, user_path
from gelora_cli.config.keys import key
from gelora_cli.config.schema import DEBUG
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS


@dataclass
class DoctorCommandConfig:
    """The keys of `gelora doctor`."""

    runs_dir: str = key("runs", help="the directory of runs; its disk is checked", path=True, common=True)
    debug: bool = key(False, help=DEBUG, common=True)


@COMMANDS.register
class Doctor(Command[DoctorCommandConfig]):
    """Look at this machine and at what is installed (see `diagnosis`)."""

    name = "doctor"
    summary = "check this machine and what is installed"
    examples = "  gelora doctor\n  gelora doctor runs_dir=/scratch/runs"
    keys = DoctorCommandConfig

    def handle(self, config: DoctorCommandConfig, paths: list[Path], typed: str) -> None:
        """Print each finding as soon as it is known."""
        from gelora_cli.commands.diagnosis import findings

        problems = []
        for finding in findings(user_path(config.runs_dir)):
            fix = f"\n        fix: {finding.fix}" if finding.fix else ""
            print(f"{finding.state:<8}{finding.what}: {finding.text}{fix}", flush=True)
            if finding.state == "problem":
                problems.append(finding.what)
        if problems:
            raise GeloraError(f"nothing will run before this is fixed: {', '.join(problems)}")
