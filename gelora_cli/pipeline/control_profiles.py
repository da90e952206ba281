"""A profile beside those of its controls: what is measured for the comparison, and the picture of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gelora_cli.allocation.base import IDIM
from gelora_cli.allocation.layer_checks import CONTROLS
from gelora_cli.config.complete import complete
from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.registries import SIGNALS
from gelora_cli.pipeline.locations import load_valid_signal
from gelora_cli.pipeline.signal_stage import measure_signals
from gelora_cli.plots.profiles import controls_figure
from gelora_cli.plots.style import write_figure
from gelora_cli.signals.base import Signal


def compare_controls(config: RunConfig, profile: IdProfile) -> Path | None:
    """Draw a real profile and every control of it that is measured; return the picture, None without a control.

    The real profile is measured where `profile` is a control and it is not there yet. The picture is written beside it.

    Args:
        config: the resolved configuration by which `profile` was measured.
        profile: a real profile or a control.
    """
    if config.profile.control is not None:
        measure_signals(replace(_controlled(config, None), force=False), (IDIM,))
    completed = complete(config)
    directory = _directory(completed, profile, None)
    signal: Signal[IdProfile] = SIGNALS.get(IDIM)
    controls = {}
    for name in CONTROLS:
        control = load_valid_signal(signal, _directory(completed, profile, name))
        if control is not None:
            controls[name] = control
    real = load_valid_signal(signal, directory)
    if real is None or not controls:
        return None
    path = directory / run_files.CONTROLS
    write_figure(controls_figure(real, controls), path)
    return path


def _directory(config: RunConfig, profile: IdProfile, control: str | None) -> Path:
    """Return the directory of the profile with another control, of the same model and texts as `profile`."""
    fingerprints = {"model": profile.model_fingerprint, "train": profile.data_fingerprint}
    digits = SIGNALS.get(IDIM).sharing_hash(_controlled(config, control), fingerprints)
    return run_files.profile_path(Path(config.runs_dir), digits)


def _controlled(config: RunConfig, control: str | None) -> RunConfig:
    return replace(config, profile=replace(config.profile, control=control))
