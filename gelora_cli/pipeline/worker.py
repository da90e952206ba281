"""The entry point of worker processes: `python -m gelora_cli.pipeline.worker COMMAND DIRECTORY [ARGUMENT...]`.

`evaluate` has a target and a number of processes as arguments, `profile` the names of the signals to measure.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gelora_cli.config.files import read_config
from gelora_cli.core import run_files
from gelora_cli.launchers.worker_process import worker
from gelora_cli.pipeline.finished import frozen_config
from gelora_cli.pipeline.inputs import resolve_inputs
from gelora_cli.pipeline.predict import work_evaluate
from gelora_cli.pipeline.signal_stage import work_signals
from gelora_cli.pipeline.stages import work_run


def main(arguments: Sequence[str]) -> None:
    """Do one process's part of a command, with the configuration frozen in its directory."""
    command, directory = arguments[0], Path(arguments[1])
    if command == "evaluate":
        config = frozen_config(directory)
        config = replace(config, launch=replace(config.launch, processes=int(arguments[3])))
        work_evaluate(directory, Path(arguments[2]), resolve_inputs(config))
        return
    # Not `frozen_config`, which reads run.json: the directory of a profile has none.
    config = read_config(directory / run_files.CONFIG)
    if command == "run":
        work_run(directory, resolve_inputs(config))
    else:
        signals = arguments[2:]
        work_signals(directory, resolve_inputs(config, signals=signals), signals)


if __name__ == "__main__":
    worker(main, sys.argv[1:])
