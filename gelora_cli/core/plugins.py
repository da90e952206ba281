"""Plug-ins: a user's own methods, allocators, signals, task kinds, metrics, models, trackers, launchers.

A user names them by `plugins=DIR`, a folder of Python files, or by `plugins=NAME`, an installed package that has an
entry point NAME in the group `gelora.plugins`. Their files register entries as the built-in ones do, and subfolders
such as `DIR/method` hold YAML files. Nothing is imported that the user did not name, or that a finished run which is
opened again was not run with.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import expand_home
from gelora_cli.core.messages import first_line, quote_name

GROUP = "gelora.plugins"
"""The group of entry points in which an installed package names its plug-ins."""


@dataclass(frozen=True)
class PluginSource(ABC):
    """Where plug-ins come from.

    Attributes:
        name: how a saved configuration names it: the absolute path of a folder, or the name of an entry point.
        root: the folder, or the single file, whose content is part of a run's identity.
    """

    name: str
    root: Path

    @abstractmethod
    def import_files(self) -> None:
        """Import the Python files, which register their entries.

        Raises:
            GeloraError: a file can't be imported, or registers an entry that is incomplete or has a name in use.
        """

    def fingerprint(self) -> str:
        """Return the sha256 over the names and contents of the Python files, which a run's identity holds.

        What YAML files say is in the run's configuration.
        """
        digest = hashlib.sha256()
        folder = self.root if self.root.is_dir() else self.root.parent
        files = sorted(folder.rglob("*.py")) if self.root.is_dir() else [self.root]  # helpers and subfolders as well
        for path in files:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
        return digest.hexdigest()


class PluginFolder(PluginSource):
    """A folder of Python files. A file that begins with an underscore is a helper, which the others import.

    The folder becomes a package, so that its files import each other by `from .other import ...`.
    """

    def files(self) -> list[Path]:
        """Return the Python files that are imported, sorted by name."""
        return sorted(path for path in self.root.glob("*.py") if not path.name.startswith("_"))

    def import_files(self) -> None:
        """Import every file that is no helper."""
        if not self.files():
            raise GeloraError(f"plugins={self.root}: no Python file in it; a folder with NAME.py files is accepted")
        package = self._package()
        for path in self.files():
            module = f"{package}.{path.stem.replace('.', '_')}"
            if module not in sys.modules:
                with _translate_import_errors(str(path), self.root):
                    _execute(module, path)

    def _package(self) -> str:
        """Return the name of the package that the folder is, in `sys.modules` and without a place in `sys.path`."""
        name = f"gelora_plugins_{hashlib.sha256(str(self.root.resolve()).encode()).hexdigest()[:8]}"
        if name in sys.modules:
            return name
        initial = self.root / "__init__.py"
        if initial.exists():
            with _translate_import_errors(str(initial), self.root):
                _execute(name, initial, [str(self.root)])
        else:
            # An empty module with a path is all that `from .other import ...` needs.
            package = ModuleType(name)
            package.__path__ = [str(self.root)]
            sys.modules[name] = package
        return name


@dataclass(frozen=True)
class InstalledPlugins(PluginSource):
    """An installed package with an entry point."""

    entry: EntryPoint

    def import_files(self) -> None:
        """Import the module that the entry point names; it imports the rest of its package."""
        with _translate_import_errors(f"plugins={self.name}", self.root):
            self.entry.load()


_loaded: dict[str, tuple[PluginSource, str]] = {}
"""Name of each source that this process has loaded -> the source, and the fingerprint that it had then."""


def find_plugins(text: str | Path) -> PluginSource:
    """Return the source that `plugins=` names: an installed package of that name, else a folder. Nothing is imported.

    Raises:
        GeloraError: there is neither, with the nearest name.
    """
    name = str(text)
    is_plain_name = os.sep not in name and not name.startswith((".", "~"))
    installed = {entry.name: entry for entry in entry_points(group=GROUP)} if is_plain_name else {}
    if name in installed:
        return _locate_installed(installed[name])
    folder = Path(expand_home(name)).absolute()
    if folder.is_dir():
        return PluginFolder(str(folder), folder)
    siblings = [str(Path(name).parent / path.name) for path in folder.parent.glob("*") if path.is_dir()]
    close = difflib.get_close_matches(name, [*installed, *siblings], n=1)
    near = f"did you mean {quote_name(close[0])}? " if close else ""
    names = f", or the name of an installed package: {', '.join(sorted(installed))}" if installed else ""
    raise GeloraError(f"plugins={name}: no such folder; {near}accepted: a folder with NAME.py files{names}")


def load_plugins(text: str | Path) -> PluginSource:
    """Import the plug-ins that `plugins=` names, once in a process, and return their source.

    Raises:
        GeloraError: they are not there, can't be imported, or have changed since this process imported them.
    """
    source = find_plugins(text)
    fingerprint = source.fingerprint()
    if source.name in _loaded:
        if _loaded[source.name][1] != fingerprint:
            raise GeloraError(f"plugins={text}: files have changed since this process imported them; start a new one")
        return source
    source.import_files()
    _loaded[source.name] = (source, fingerprint)
    return source


def plugins_fingerprint(text: str | Path) -> str:
    """Return the fingerprint of the plug-ins that `plugins=` names; nothing is imported.

    Raises:
        GeloraError: they are not there.
    """
    return find_plugins(text).fingerprint()


def loaded_folders() -> tuple[Path, ...]:
    """Return the folders, with YAML files perhaps, of the plug-ins that this process has loaded."""
    return tuple(source.root for source, _ in _loaded.values() if source.root.is_dir())


def plugin_line(error: BaseException) -> str:
    """Return the line of a loaded plug-in in which an error arose, as ` (mine/kind.py, line 3)`; else an empty text."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if any(path == source.root or source.root in path.parents for source, _ in _loaded.values()):
            return f" ({path.parent.name}/{path.name}, line {frame.lineno})"
    return ""


def describe_error(error: BaseException) -> str:
    """Return the type and the message of an error, and the line of the plug-in that it comes from."""
    return f"{type(error).__name__}: {first_line(error)}{plugin_line(error)}"


def _locate_installed(entry: EntryPoint) -> InstalledPlugins:
    """Return the source of an entry point. Its root is the whole top-level package, which is found without import.

    Raises:
        GeloraError: the module that it names is not installed.
    """
    top = entry.module.partition(".")[0]  # the specification of a submodule would import its package
    spec = importlib.util.find_spec(top)
    if spec is not None and spec.submodule_search_locations:
        return InstalledPlugins(entry.name, Path(next(iter(spec.submodule_search_locations))), entry)
    if spec is not None and spec.origin is not None:
        return InstalledPlugins(entry.name, Path(spec.origin), entry)
    raise GeloraError(f"plugins={entry.name}: its package {top} can't be found; install it again")


def _execute(name: str, path: Path, search: list[str] | None = None) -> None:
    """Import a file as a module of that name; with `search` as a package."""
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=search)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs, so that dataclasses and relative imports find it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


@contextlib.contextmanager
def _translate_import_errors(what: str, root: Path) -> Iterator[None]:
    """Turn whatever a plug-in raises while it is imported into one message; an error of ours has one already.

    Raises:
        GeloraError: with the file and the line.
    """
    try:
        yield
    except GeloraError:
        raise
    except (Exception, SystemExit) as error:  # a plug-in may raise anything, and may even end the process
        # The text of a syntax error ends with its line, which comes below.
        text = error.msg if isinstance(error, SyntaxError) else first_line(error)
        reason = f"{type(error).__name__}: {text}"
        message = f"{what} can't be imported: {reason}{_line_of(root, error)}. Correct it."
        missing = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
        if missing and (root / f"{missing}.py").exists():
            message += f" Files of one folder import each other with a dot: from .{missing} import ..."
        if type(error) is ImportError and (error.path or "").startswith(str(root)):
            message += f" {Path(error.path or '').name} has no such name, or the two files import each other."
        raise GeloraError(message) from error


def _line_of(root: Path, error: BaseException) -> str:
    """Return the file below `root` and the line in which an error arose, as ` (kind.py, line 3)`."""
    if isinstance(error, SyntaxError) and error.filename:
        return "" if error.lineno is None else f" ({Path(error.filename).name}, line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(root))]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
