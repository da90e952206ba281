"""Names of the files in a run directory, and the directories in which runs and profiles are stored."""

from __future__ import annotations

from pathlib import Path

from gelora_cli.core.artifacts.manifest import RunManifest

CONFIG = "config.yaml"
LOG = "log.txt"
METRICS = "metrics.jsonl"
PREDICTIONS = "predictions.jsonl"
ADAPTER = "adapter"
CARD = "README.md"
DONE = "DONE"
"""The marker of a finished run, written last."""
REQUIRED_FILES = (CONFIG, RunManifest.FILE, METRICS, PREDICTIONS, "ranks.json", "result.json")
"""The files that every finished run has, in addition to its adapter."""
PEFT_CONFIG = "adapter_config.json"
PEFT_WEIGHTS = "adapter_model.safetensors"
ANSWER_FILES = ("predictions.json", "nbest.json", "na_prob.json")
CURVE = "curve.png"
TRACK = "track.png"
CONTROLS = "controls.png"
"""In the directory of a profile: the profile beside those of its controls."""
FILES = (
    DONE,  # removed first: a directory without DONE is never read as a finished run
    "result.json",
    RunManifest.FILE,
    METRICS,
    PREDICTIONS,
    "ranks.json",
    "profile.json",
    LOG,
    CARD,
    *ANSWER_FILES,
    "profile.png",
    "ranks.png",
    CURVE,
    TRACK,
    CONTROLS,
    CONFIG,
)
"""Every file that a run writes into its directory, in the order in which they are removed."""
SIGNAL_FILES = "signal-*"
"""Pattern of the files of signals other than the idim profile, of which plug-ins may add any."""
EVENT_FILES = "events.out.tfevents.*"
"""Pattern of the files of `tracker=tensorboard`."""
TRACKER_STATE = ".tracker-{name}.json"
"""What a tracker was given so far."""
TRACKER_LOG = ".tracker-{name}.log"
"""What the library of a tracker printed."""
TRACKER_FILES = (EVENT_FILES, ".tracker-*")
"""Patterns of the files of trackers, which are no part of a run: they may be changed and removed at any time."""
STAGING_PREFIX = ".adapter-"
"""Prefix of the directories in which an adapter is written before its files are moved to `adapter/`."""
CHECKPOINTS = "checkpoints"
PROFILES = ".profiles"
STATES = "states"
"""The hidden states stored so far by a profile that is being measured."""
LOCK = ".lock"
MAPS = ".maps"
"""In a directory of runs: the maps of models of undeclared kinds that were accepted, a file each."""
SWEEPS = ".sweeps"
"""In a directory of runs: a directory for each sweep whose jobs a scheduler runs."""


def run_path(runs_dir: Path, *, task: str, model: str, method: str, budget: str | None, seed: int, digits: str) -> Path:
    """Return `<runs_dir>/<task>/<model>/<method>/b<budget>-s<seed>-<digits>`, without `b<budget>-` if it is None."""
    name = f"s{seed}-{digits}"
    return runs_dir / task / model / method / (name if budget is None else f"b{budget}-{name}")


def profile_path(runs_dir: Path, digits: str) -> Path:
    """Return the directory of the profile that all runs with equal inputs share."""
    return runs_dir / PROFILES / digits
