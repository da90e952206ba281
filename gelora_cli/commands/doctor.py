"""`gelora doctor`: what this machine has and lacks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.commands.base import Command, user_path
from gelora_cli.commands.registry import COMMANDS
from gelora_cli.core.errors import GeloraError

if TYPE_CHECKING:
    from gelora_cli.config.schema import DoctorCommandConfig


@COMMANDS.register
class Doctor(Command["DoctorCommandConfig"]):
    """Look at this machine and at what is installed (see `diagnosis`)."""

    name = "doctor"
    summary = "look at versions, devices, tokenizers, places and the hub; each finding with its fix"
    examples = "  gelora doctor\n  gelora doctor runs_dir=/scratch/runs"
    schema = "doctor"

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
            raise GeloraError(f"nothing will run before this is mended: {', '.join(problems)}")
