"""The configuration of a run that is opened again, with the plug-ins that it was run with."""

from __future__ import annotations

from pathlib import Path

from gelora_cli.config.files import read_config
from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.plugins import find_plugins, load_plugins


def open_config(directory: Path) -> RunConfig:
    """Return a run's configuration once its plug-ins are loaded.

    Nothing is imported that has changed since the run.

    Raises:
        GeloraError: the configuration can't be read, or its plug-ins are gone or have changed.
    """
    config = read_config(directory / run_files.CONFIG)
    if config.plugins is None:
        return config
    try:
        now = find_plugins(config.plugins).fingerprint()
    except GeloraError as error:
        what = "bring that folder back" if Path(config.plugins).is_absolute() else "install that package again"
        raise GeloraError(f"{directory} was run with plugins={config.plugins}, which is not there; {what}") from error
    before = read_artifact(RunManifest, directory / RunManifest.FILE).fingerprints.get("plugins", "")
    if before != now:
        raise GeloraError(
            f"the plug-ins in {config.plugins} are not those that {directory} was run with: the sha256 of its Python "
            f"files was {before[:8]} and is now {now[:8]}. Restore them, or do the run again with the new ones"
        )
    load_plugins(config.plugins)
    return read_config(directory / run_files.CONFIG)  # again: the keys of a plug-in's method have their types now
