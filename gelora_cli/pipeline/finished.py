"""Opening a finished run again: its frozen configuration, and whether model and data are those that it had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gelora_cli.config.checks import frozen_problems
from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.done import clean_finished_run, is_done, verify_checksums
from gelora_cli.core.errors import GeloraError
from gelora_cli.models.locate import ResolvedModel
from gelora_cli.pipeline.inputs import ResolvedInputs, resolve_start
from gelora_cli.pipeline.run_config import open_config


def reopen_run(directory: Path) -> ResolvedInputs:
    """Resolve a finished run with its model, in its precision, without rows.

    Raises:
        GeloraError: it is unfinished or damaged, or its model is not there or is another one.
    """
    config = finished_config(directory)
    resolved, ancestors = resolve_start(config)
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    _check_model(directory, manifest, resolved)
    return ResolvedInputs(config, resolved, {}, manifest.precision, ancestors)


def finished_config(directory: Path) -> RunConfig:
    """Return the configuration of a finished run, once its files are seen to be intact.

    Raises:
        GeloraError: it is unfinished or damaged.
    """
    if not directory.is_dir():
        raise GeloraError(f"{directory}: no such directory; give that of a finished run (gelora ls DIR lists them)")
    if not is_done(directory):
        raise GeloraError(
            f"{directory} is not a finished run: it holds no file DONE. Give the directory of a finished run "
            "(gelora ls DIR lists them), or finish this one with the command that began it"
        )
    verify_checksums(directory)  # before config.yaml is read, whose text may be damaged
    clean_finished_run(directory)
    return frozen_config(directory)


def frozen_config(directory: Path) -> RunConfig:
    """Return a run's frozen configuration, in the precision that the run had; its plug-ins are loaded.

    Raises:
        GeloraError: it can't be read, or was edited to a value that no run has.
    """
    # `auto` was resolved on the machine of the run, and may mean another precision on this one.
    precision = read_artifact(RunManifest, directory / RunManifest.FILE).precision
    config = replace(open_config(directory), precision=precision)
    if problems := frozen_problems(config):
        raise GeloraError(f"{directory / run_files.CONFIG} was edited: {problems[0]}. Restore it, or do the run again.")
    return config


def check_unchanged(directory: Path, inputs: ResolvedInputs) -> None:
    """Refuse another model or other data than the run had.

    Raises:
        GeloraError: naming what is another.
    """
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    _check_model(directory, manifest, inputs.model)
    for name, digest in inputs.fingerprints.items():
        if manifest.fingerprints.get(name) != digest:
            raise GeloraError(f"the split {name} is not the one that {directory} was run on; restore that data")


def _check_model(directory: Path, manifest: RunManifest, resolved: ResolvedModel) -> None:
    if manifest.fingerprints.get("model") != resolved.fingerprint:
        raise GeloraError(f"{resolved.source} is not the model that {directory} was trained on; restore that model")
