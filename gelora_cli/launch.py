"""From one frozen configuration to N worker processes, and back to one true error."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from gelora_cli.artifacts import GeloraError, RunError, StoppedError

WORKER_MODULE = "gelora_cli.pipeline"
LOST_PEER = ("connection closed", "connection reset", "connection refused", "broken pipe", "gloo", "nccl", "timed out")


def inside_workers() -> bool:
    """Whether an outer launcher (torchrun, a cluster's) already started this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def run_workers(arguments: list[str], processes: int) -> None:
    """Run `python -m gelora_cli.pipeline ARGUMENTS` in N processes that know each other, and wait for them.

    Raises:
        GeloraError: a worker failed; the message is that of the one that failed first by itself.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    os.environ.setdefault("TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1,SIGUSR2")
    try:
        elastic_launch(config, sys.executable)("-u", "-m", WORKER_MODULE, *arguments)
    except ChildFailedError as error:
        raise true_cause(error.failures) from None
    except SignalException as error:
        raise StoppedError(f"interrupted by {error.sigval.name}; give the same command again to go on") from None


def worker(main: Callable[[list[str]], None], arguments: list[str]) -> None:
    """A worker process's work: its error goes to the process that started it, which shows the one true cause.

    What a user can mend, a stop, and the loss of a peer need no traceback here; anything else has one.
    """
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    from gelora_cli.runtime import die_with_parent

    die_with_parent()
    handler = get_error_handler()
    handler.initialize()
    try:
        main(arguments)
    except Exception as error:
        handler.record_exception(error)
        expected = isinstance(error, GeloraError) or _lost_peer(str(error))
        if not expected:
            raise
        sys.exit(getattr(error, "exit_code", 1))


def _lost_peer(message: str) -> bool:
    return any(sign in message.lower() for sign in LOST_PEER)


def true_cause(failures: Mapping[int, Any]) -> GeloraError:
    """The error of the worker that failed first by itself, not of one that only lost its peer."""
    ordered = sorted(failures.items(), key=lambda item: item[1].timestamp)
    messages = [(rank, _message(failure)) for rank, failure in ordered]
    own = [item for item in messages if not _lost_peer(item[1])]
    rank, message = (own or messages)[0]
    for kind in (StoppedError, RunError, GeloraError):
        if message.startswith(f"{kind.__name__}: "):
            return kind(message.removeprefix(f"{kind.__name__}: "))
    return RunError(f"worker {rank} failed: {message}")


def _message(failure: Any) -> str:
    """What the worker's error file says, or how the process ended."""
    message = failure.message
    return str(message.get("message", message)) if isinstance(message, dict) else str(message)
