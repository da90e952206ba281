"""The configuration of a run that is opened again, with the plug-ins that it was run with."""

from __future__ import annotations

from pathlib import Path

from gelora_cli.config.files import read_config
from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.plugins import load_plugins, plugins_fingerprint


def open_config(directory: Path) -> RunConfig:
    """Return a run's configuration once its plug-ins are loaded.

    Nothing is imported that has changed since the run.

    Raises:
        GeloraError: the configuration can't be read, or its plug-ins are gone or have changed.
    """
    config = read_config(directory / run_files.CONFIG)
    if config.plugins is None:
        return config
    plugins = Path(config.plugins)
    if not plugins.is_dir():
        raise GeloraError(f"{directory} was run with plugins={plugins}, which is not there; bring that folder back")
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    if manifest.fingerprints.get("plugins") != plugins_fingerprint(plugins):
        raise GeloraError(f"the plug-ins in {plugins} are not those that {directory} was run with; restore them")
    load_plugins(plugins)
    return config
