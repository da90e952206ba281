"""How processes end."""

from __future__ import annotations

import subprocess
import sys

import pytest

UNENDING = """
import atexit, os, sys, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()  # the end of the interpreter would wait for it
atexit.register(print, "handled")
"""


@pytest.mark.parametrize(
    "ending",
    [
        "from gelora_cli.core.processes import end_process; end_process(2)",
        # one of the processes of an outer launcher
        "os.environ |= {'RANK': '0', 'WORLD_SIZE': '2', 'MASTER_ADDR': 'localhost'}\n"
        "from gelora_cli.commands.main import main; main(['nonsense'])",
    ],
    ids=["process", "command"],
)
def test_a_process_ends_after_its_exit_handlers_whatever_still_runs(ending: str) -> None:
    command = [sys.executable, "-c", UNENDING + ending]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (2, "handled\n")
