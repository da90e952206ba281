"""One of the N worker processes of a run: its work, and its report to the process that started it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import NoReturn

from gelora_cli.core.distributed import leave_process_group
from gelora_cli.core.processes import die_with_parent, end_process
from gelora_cli.launchers.failure import failure_of
from gelora_cli.launchers.signals import WORKER_OF

REPORT_TO = "GELORA_REPORT_TO"
"""Environment variable with the file descriptor to which a worker writes its error."""


def worker(main: Callable[[list[str]], None], arguments: list[str]) -> NoReturn:
    """Do a worker's part of the work, and end the process.

    The worker prints nothing about an error: the process that started it shows the one that caused the others.
    """
    die_with_parent(int(os.environ[WORKER_OF]))  # before the work: a killed parent leaves no worker behind
    try:
        main(arguments)
        leave_process_group()
    except (Exception, SystemExit) as error:  # a plug-in may try to end the process
        _report(error)  # before the exit, since the parent reads it as soon as the process has ended
        sys.exit(getattr(error, "exit_code", 1))
    end_process(0)


def _report(error: BaseException) -> None:
    """Send the error to the process that started this one."""
    with os.fdopen(int(os.environ[REPORT_TO]), "wb") as reports:
        reports.write(json.dumps(asdict(failure_of(error, int(os.environ["RANK"])))).encode())
