"""The manifest `run.json`: what ran where and on what, and how it ended."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from gelora_cli.config.identity import NUMERICS
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.environment import utc_now
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.files import translate_write_errors
from gelora_cli.core.run_files import LOG
from gelora_cli.launchers.failure import WorkerError
from gelora_cli.pipeline.inputs import ResolvedInputs


@contextmanager
def recorded_manifest(
    directory: Path, inputs: ResolvedInputs, fingerprints: dict[str, str], command: str
) -> Iterator[None]:
    """Keep run.json true: `running` until the work ends, then `done`, `failed` or `interrupted` with the error."""
    manifest = _new_manifest(inputs, fingerprints, command)
    with suppress(GeloraError):  # a resumed run keeps its time of creation; a new one has none
        manifest = replace(manifest, created=read_artifact(RunManifest, directory / RunManifest.FILE).created)
    write_artifact(manifest, directory)  # before the work: a run that is killed leaves `running`
    try:
        yield
    except BaseException as error:  # also an interrupt and SystemExit, which end a run as well
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit | StoppedError)
        if isinstance(error, GeloraError):
            error.directory = str(directory)
        with suppress(GeloraError):  # a full disk refuses this too; the first error is the one to show
            _log_traceback(directory, error)
            _end_manifest(directory, "interrupted" if interrupted else "failed", str(error) or type(error).__name__)
        raise
    _end_manifest(directory, "done", None)


def _log_traceback(directory: Path, error: BaseException) -> None:
    """Append to log.txt where an unexpected error arose, here or in a worker. An error for the user needs no traceback.

    Raises:
        GeloraError: the disk is full.
    """
    expected = isinstance(error, GeloraError) and not isinstance(error.__cause__, WorkerError)
    if expected or isinstance(error, KeyboardInterrupt | SystemExit):
        return
    path = directory / LOG
    with translate_write_errors(path), path.open("a", encoding="utf-8", errors="backslashreplace") as log:
        log.writelines(traceback.format_exception(error))


def _new_manifest(inputs: ResolvedInputs, fingerprints: dict[str, str], command: str) -> RunManifest:
    """Return the manifest of a run that begins: its device, versions, commit and inputs."""
    import torch

    from gelora_cli.core.devices import device_name
    from gelora_cli.core.environment import git_commit, versions

    config = inputs.config
    return RunManifest(
        status="running",
        command=command,
        created=utc_now(),
        updated=utc_now(),
        pid=os.getpid(),
        host=socket.gethostname(),
        processes=config.launch.processes,
        device=device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        precision=inputs.precision,
        versions=versions(),
        git_commit=git_commit(),
        fingerprints=fingerprints,
        seconds={},
        peak_bytes=None,
        error=None,
        numerics=NUMERICS,
        dtype=config.model.dtype,
    )


def _end_manifest(directory: Path, status: str, error: str | None) -> None:
    """Write how a run ended; the file is read again, since the session wrote seconds and peak memory to it."""
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    write_artifact(replace(manifest, status=status, updated=utc_now(), error=error), directory)
