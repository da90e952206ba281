"""Signals that were measured before, read from a run directory or a file; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gelora_cli.allocation.base import SignalArtifact
from gelora_cli.allocation.ranks import profile_command
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import SIGNALS


def read_signals(names: Sequence[str], path: Path) -> dict[str, SignalArtifact]:
    """Return saved signals by name.

    Args:
        names: which ones.
        path: the directory of a run or of a shared signal, or the file of the first signal; the files of the others
            are then expected beside it.

    Raises:
        GeloraError: a file is missing, damaged, or of another signal.
    """
    directory = path if path.is_dir() else path.parent
    signals: dict[str, SignalArtifact] = {}
    for name in names:
        kind = SIGNALS.get(name).artifact
        source = path if not signals and not path.is_dir() else directory / kind.FILE
        if not source.exists():
            raise GeloraError(
                f"{source} can't be read: No such file or directory. Measure the {SIGNALS.get(name).title}: "
                f"{profile_command([name])}"
            )
        signals[name] = read_artifact(kind, source)
    return signals


def saved_signals(paths: Sequence[Path]) -> dict[str, SignalArtifact]:
    """Return every signal whose file is in one of several directories, or is one of several files, by name.

    Raises:
        GeloraError: a file is damaged, two paths hold different files of a signal, or the signals are not of one model.
    """
    signals: dict[str, SignalArtifact] = {}
    sources: dict[str, Path] = {}
    for path in paths:
        for name, source in _signal_files(path).items():
            artifact = read_artifact(SIGNALS.get(name).artifact, source)
            if name in signals and signals[name] != artifact:
                raise GeloraError(
                    f"{sources[name]} and {source} are different measurements of the signal {name}; give one of them"
                )
            signals[name], sources[name] = artifact, source
    _check_same_model(signals, sources)
    return signals


def _signal_files(path: Path) -> dict[str, Path]:
    """Return the files of signals at a path, by the name of the signal.

    Raises:
        GeloraError: there is none.
    """
    files = {name: SIGNALS.get(name).artifact.FILE for name in SIGNALS.names()}
    if path.is_dir():
        present = {name: path / file for name, file in files.items() if (path / file).exists()}
    else:
        present = {name: path for name, file in files.items() if path.name == file}
    if not present:
        accepted = ", ".join(sorted(files.values()))
        raise GeloraError(
            f"{path} is no file of a signal, nor a directory that holds one; accepted: {accepted}, or the directory of "
            "a run or profile. gelora profile measures signals"
        )
    return present


def _check_same_model(signals: dict[str, SignalArtifact], sources: dict[str, Path]) -> None:
    """Refuse signals of models with different blocks; the heads may be those of different tasks.

    Raises:
        GeloraError: naming two files.
    """
    names = list(signals)
    for name in names[1:]:
        if signals[name].model_map.blocks != signals[names[0]].model_map.blocks:
            raise GeloraError(
                f"{sources[names[0]]} and {sources[name]} were measured on different models; give signals of one model"
            )
