"""Several commands one after the other in every process of one group, which starts once for all of them.

torchrun --standalone --nproc-per-node 2 -m tests.helpers.many '[["run", "task=cola"], ["run", "task=rte"]]'
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from gelora_cli.commands.main import command_line
from gelora_cli.core.processes import end_process

LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
TWO = (*LAUNCH, "-m", "tests.helpers.many")


def on_two_processes(commands: Sequence[Sequence[str]]) -> subprocess.CompletedProcess[str]:
    """Give the commands, without the word gelora, to two processes."""
    return subprocess.run([*TWO, json.dumps(commands)], capture_output=True, text=True, check=False, timeout=400)


if __name__ == "__main__":
    end_process(max(command_line(arguments) for arguments in json.loads(sys.argv[1])))  # as `main` does
