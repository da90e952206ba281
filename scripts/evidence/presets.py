"""The settings that the studies found, as they are committed, and those that tasks without a study take from others.

    python -m scripts.evidence.presets [STUDY...] [--scale cpu]

takes the presets of finished studies (directories that `gelora tune` wrote), and carries them to other tasks as
`plan.yaml` says, with its factor of the learning rate. So anyone runs the rounds without tuning again. A task that the
plan carries settings to has these, whether or not it has a study of its own. Without STUDY it carries again.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import yaml

from gelora_cli.config.paths import slug
from gelora_cli.config.tuned import FOLDER, TunedPreset, read_tuned
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import write_atomic
from scripts.evidence.plan import UNSET, Presets, Scale, load_scale, scale_names
from scripts.script_main import exit_code

VARIANT = "method.variant"
OWN_LINE = "# Found by gelora tune on this task.\n"
CARRIED_LINE = (
    "# Carried: found by gelora tune on task={task}, with {factor:g} times its learning rate, as plan.yaml says.\n"
)
RATE = "train.learning_rate"
PATH_KEYS = ("data.glue", "runs_dir", "model.path")


def main() -> int:
    """Take the presets of studies; 2 where one of them is not finished."""
    return exit_code("evidence", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", type=Path, help="directories of studies, such as RUNS/tune/NAME")
    parser.add_argument("--scale", choices=scale_names(), default="cpu")
    options = parser.parse_args()
    scale = load_scale(options.scale)
    files = take_presets(scale, options.studies) if options.studies else carry(scale)
    print("\n".join(str(file) for file in files))
    return 0


def committed_presets(scale: Scale) -> Presets:
    """Return the presets of a scale by task, method and form of the update."""
    return {preset_key(preset): preset for preset in read_tuned(scale.presets / FOLDER).values()}


def preset_key(preset: TunedPreset) -> tuple[str, str, str]:
    """Return the task, method and form of the update that a preset is for."""
    return preset.task, preset.method, str(preset.when.get(VARIANT, UNSET[VARIANT]))


def take_presets(scale: Scale, studies: Sequence[Path]) -> list[Path]:
    """Write the presets of studies into the scale's directory, those of tasks that take them too; return the files.

    Raises:
        GeloraError: a study has no presets, or one with fewer trials than the plan asks for.
    """
    presets: list[TunedPreset] = []
    for study in studies:
        of_study = list(read_tuned(study / "presets" / FOLDER).values())
        if not of_study:
            raise GeloraError(f"{study}: no presets in it; give the directory of a study that gelora tune has finished")
        presets += of_study
    unfinished = [
        f"{preset.task} {preset.method}: {preset.trials}" for preset in presets if preset.trials < scale.trials
    ]
    if unfinished:
        raise GeloraError(f"fewer than {scale.trials} trials: {', '.join(unfinished)}; give the study's command again")
    files = [_write(scale, preset, OWN_LINE) for preset in presets if preset.task not in scale.carried]
    return [*files, *carry(scale)]


def carry(scale: Scale) -> list[Path]:
    """Write the settings of the tasks that take them from another, from that one's committed presets.

    Args:
        scale: the plan, with the task behind each, and for each method the factor of the learning rate.
    """
    files = []
    for preset in committed_presets(scale).values():
        factor = scale.rate_factor(preset.method)
        settings = dict(preset.settings)
        if RATE in settings and factor != 1:
            settings[RATE] = two_digits(float(settings[RATE]) * factor)
        for task, source in scale.carried.items():
            if source == preset.task:
                head = CARRIED_LINE.format(task=source, factor=factor)
                files.append(_write(scale, replace(preset, task=task, settings=settings), head))
    return files


def two_digits(value: float) -> float:
    """Return a number with its first two digits, rounded."""
    return float(f"{value:.2g}")


def _write(scale: Scale, preset: TunedPreset, head: str) -> Path:
    """Write a preset as `gelora tune` does, without the directories of the machine that it was found on."""
    task, method, variant = preset_key(preset)
    form = "" if variant == UNSET[VARIANT] else f"-{variant}"
    path = scale.presets / FOLDER / f"{slug(f'{task}-{preset.model}-{preset.budget}-{method}{form}')}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    values = asdict(replace(preset, command=_without_paths(preset.command)))
    values = {name: value for name, value in values.items() if value not in (None, {}, [], "")}
    write_atomic(path, head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120))
    return path


def _without_paths(command: str) -> str:
    """Return a command with `DIR` in place of directories."""
    words = []
    for word in shlex.split(command):
        key, equals, _ = word.partition("=")
        words.append(f"{key}=DIR" if equals and key in PATH_KEYS else word)
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
