"""Two nodes on one machine: two agents of torchrun that meet over a loopback address, each in a folder of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.waiting import SECONDS


@dataclass(frozen=True)
class Ended:
    """How the command of a node ended."""

    code: int
    out: str
    err: str


def start_nodes(place: Path, *commands: Sequence[str]) -> list[subprocess.Popen[str]]:
    """Start a node of one process for each command, without the word gelora; node N works in `place/N`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = []
    for rank, command in enumerate(commands):
        folder = place / str(rank)
        folder.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(len(commands)), "--nproc-per-node", "1"]
        words += ["--node-rank", str(rank), "--master-addr", "127.0.0.1", "--master-port", str(port)]
        nodes.append(
            subprocess.Popen(
                [*words, "-m", "gelora_cli", *command],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return nodes


def end_nodes(nodes: Sequence[subprocess.Popen[str]]) -> list[Ended]:
    """Wait until all nodes have ended."""
    ended = []
    for node in nodes:
        out, err = node.communicate(timeout=SECONDS)
        ended.append(Ended(node.returncode, out, err))
    return ended
