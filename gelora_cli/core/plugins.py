"""Plug-ins: a user's own methods, allocators, task kinds, metrics, models, trackers, launchers.

They are Python files in a folder that the user names by `plugins=DIR`; each registers its entries as the built-in ones
do. Subfolders such as `DIR/method` hold their YAML files. Nothing is imported that the user did not name, or that a
finished run which is opened again was not run with.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

from gelora_cli.core.errors import GeloraError

_loaded: list[Path] = []
"""The folders that this process has loaded, in their order."""


def load_plugins(directory: Path) -> None:
    """Import every Python file in a folder, in the order of their names; one that was imported before is left alone.

    Raises:
        GeloraError: there is no such folder, no file in it, or a file can't be imported.
    """
    files = plugin_files(directory)
    if not files:
        raise GeloraError(f"plugins={directory}: no Python file in it; a folder with NAME.py files is accepted")
    for path in files:
        _load(path)
    if directory.resolve() not in _loaded:
        _loaded.append(directory.resolve())


def loaded_folders() -> tuple[Path, ...]:
    """Return the folders of plug-ins that this process has loaded."""
    return tuple(_loaded)


def plugin_files(directory: Path) -> list[Path]:
    """Return the Python files of a folder of plug-ins, sorted; files that begin with an underscore are helpers.

    Raises:
        GeloraError: there is no such folder.
    """
    if not directory.is_dir():
        raise GeloraError(f"plugins={directory}: no such folder; a folder with NAME.py files is accepted")
    return sorted(path for path in directory.glob("*.py") if not path.name.startswith("_"))


def plugins_fingerprint(directory: Path) -> str:
    """Return the sha256 over the names and contents of a folder's Python files, which a run's identity holds.

    What its YAML files say is in the run's configuration.
    """
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*.py")):
        digest.update(
            f"{path.relative_to(directory).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    return digest.hexdigest()


def _load(path: Path) -> None:
    name = f"gelora_plugins_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}_{path.stem}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except GeloraError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise GeloraError(f"{path} can't be imported: {type(error).__name__}: {error}. Correct it.") from error
