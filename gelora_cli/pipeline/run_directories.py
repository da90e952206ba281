"""Where the runs of many jobs are kept, for a command that reads what other processes have done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gelora_cli.config.identity import shared_inputs
from gelora_cli.config.schema import RunConfig
from gelora_cli.pipeline.inputs import resolve_inputs, with_resolved
from gelora_cli.pipeline.locations import directory_of, with_plan_fingerprints


class RunDirectories:
    """The directories of runs. Model and data are read once for all configurations that share them."""

    def __init__(self) -> None:
        self._inputs: dict[str, tuple[RunConfig, dict[str, str]]] = {}  # resolved configuration and fingerprints

    def of(self, config: RunConfig, precisions: Sequence[str]) -> list[Path]:
        """Return where the run of a completed configuration is kept if it computes in each of these precisions.

        Raises:
            GeloraError: what is wrong with model or data.
        """
        key = shared_inputs(config)
        if key not in self._inputs:
            inputs = resolve_inputs(config, check_devices=False)
            self._inputs[key] = inputs.config, inputs.fingerprints
        resolved, fingerprints = self._inputs[key]
        config = with_resolved(config, resolved)
        fingerprints = with_plan_fingerprints(config, fingerprints)
        return [directory_of(replace(config, precision=precision), fingerprints) for precision in precisions]
