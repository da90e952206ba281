"""One run on the processes that an outer launcher, torchrun or a cluster's, has started."""

from __future__ import annotations

import atexit
import contextlib
import functools
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from gelora_cli.core.distributed import join_processes, leave_process_group
from gelora_cli.core.errors import GeloraError, RunError
from gelora_cli.core.messages import first_line
from gelora_cli.launchers.failure import is_lost_peer

T = TypeVar("T")
WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
LONGEST_REASON = 150
"""Characters that are shown of what torch says of a lost process."""
LAUNCHER_VARIABLES = (
    *WORLD_SIZES,
    *("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"),
    *("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    *("MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE", "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE"),
)
"""The environment variables from which torch and accelerate read the rank of a process and the number of processes."""


def inside_workers() -> bool:
    """Return whether an outer launcher has started this process as one of several."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"))


def drop_leftover_launcher() -> None:
    """Remove variables of other launchers, which would make accelerate wait for processes that do not exist.

    An outer launcher is in charge if RANK, WORLD_SIZE and MASTER_ADDR are set and WORLD_SIZE is not 1. The variables
    of accelerate itself are always removed: gelora chooses all that accelerate reads from them.

    Raises:
        GeloraError: a launcher is in charge, but a variable of it is no valid number.
    """
    for name in [name for name in os.environ if name.startswith(("ACCELERATE_", "FSDP_", "MEGATRON_LM_"))]:
        del os.environ[name]
    # torchrun --nproc-per-node=1 and notebooks set a world of one process, which needs no group.
    if inside_workers() and os.environ["WORLD_SIZE"].strip() != "1":
        _check_numbers()
        return
    removed = {name: os.environ.pop(name) for name in LAUNCHER_VARIABLES if name in os.environ}
    if any(removed.get(name, "1").strip() != "1" for name in WORLD_SIZES):
        names = ", ".join(removed)
        print(f"gelora: ignored {names} of the environment: without MASTER_ADDR no launcher leads", file=sys.stderr)


def _check_numbers() -> None:
    """Refuse variables of an outer launcher that are no numbers, or a rank that the number of processes excludes.

    Raises:
        GeloraError: with the variable to unset.
    """
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"):
        value = os.environ.get(name, "0")
        highest = int(os.environ["WORLD_SIZE"]) - 1 if name in ("RANK", "LOCAL_RANK") else math.inf
        if not value.strip().isdecimal() or int(value) > highest:
            raise GeloraError(
                f"{name}={value} in the environment is not what a launcher (torchrun) sets; if none leads here: unset "
                "RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR"
            )


def run_on_rank0(work: Callable[[], T], follow: Callable[[list[str]], None]) -> T | None:
    """Do `work` on rank 0, and `follow` on the other processes of an outer launcher.

    Rank 0 works alone until `broadcast_command` calls for all processes. The others then `follow` with its arguments.
    They return None when rank 0 ends.

    Raises:
        RunError: another process is gone, as where its machine was lost.
    """
    with _name_lost_peer():
        return _run_or_follow(work, follow)


def _run_or_follow(work: Callable[[], T], follow: Callable[[list[str]], None]) -> T | None:
    if os.environ["RANK"] != "0":
        while (arguments := _broadcast(None)) is not None:
            follow(arguments)
        _leave_group_at_exit()
        return None
    try:
        result = work()
    except GeloraError:
        # Processes that are at work wait for tensors of this one, and would take the message for such a tensor.
        if not _Followers.at_work:
            _broadcast(None)
        raise
    _broadcast(None)
    _leave_group_at_exit()
    return result


@contextlib.contextmanager
def broadcast_command(arguments: list[str]) -> Iterator[None]:
    """Have the other processes do their part of the work in this block; if that fails, each ends by itself."""
    _broadcast(arguments)
    _Followers.at_work = True
    with _name_lost_peer():  # here, too: what is recorded of the run says it
        yield
    _Followers.at_work = False


@contextlib.contextmanager
def _name_lost_peer() -> Iterator[None]:
    """Say that another process is gone where torch names a closed connection, which is no fault of this one.

    Raises:
        RunError: with what torch says.
    """
    try:
        yield
    except GeloraError:
        raise
    except Exception as error:
        if not is_lost_peer(str(error)):
            raise
        rank, processes, reason = os.environ["RANK"], os.environ["WORLD_SIZE"], first_line(error)[:LONGEST_REASON]
        raise RunError(
            f"process {rank} of {processes} lost another one ({reason}). What that one or its machine printed says "
            "why. Give the same command on every machine again to resume"
        ) from error


@functools.cache
def _leave_group_at_exit() -> None:
    """Have this process leave the group when it ends, once: until then further commands may need the group."""
    atexit.register(leave_process_group)


class _Followers:
    """Whether the other processes are at work, so that no message can reach them."""

    at_work = False


def _broadcast(arguments: list[str] | None) -> list[str] | None:
    """Return on every process what rank 0 gives."""
    from accelerate.utils import broadcast_object_list

    join_processes()
    received: list[str] | None = broadcast_object_list([arguments])[0]
    return received
