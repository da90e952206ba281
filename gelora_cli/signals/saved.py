"""Signals that were measured before, read from a run directory or a file; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gelora_cli.allocation.base import SignalArtifact
from gelora_cli.core.codec import read_artifact
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
        signals[name] = read_artifact(kind, source)
    return signals
