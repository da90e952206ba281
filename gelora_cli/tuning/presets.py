"""Presets from a study: for each method a YAML file that `gelora run --config-dir` takes."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import yaml

from gelora_cli.config.paths import slug
from gelora_cli.config.tuned import FOLDER, TunedPreset, counting_keys
from gelora_cli.core.artifacts.study import MethodStudy, SearchedKey, SettingValue, Study
from gelora_cli.core.files import write_atomic

FIRST_LINE = (
    "# Written by gelora tune. A run takes it by --config-dir {directory}, but for the keys that it is given.\n"
)
SEEDS = 5
"""Seeds of the runs that a study proposes with its settings: enough for a test of their differences."""


def write_presets(study: Study, directory: Path) -> tuple[Path, ...]:
    """Write the best settings of each method into `directory/tuned/`, and return the files.

    Files of other studies in the directory stay; those of the same task, model, budget and label are replaced. A method
    of which no trial is done has none.

    Args:
        study: the study, as far as it is.
        directory: what `gelora run --config-dir` names.
    """
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for method in study.methods:
        preset = tuned_preset(study, method)
        if preset is not None:
            path = folder / f"{slug(f'{study.task}-{study.model}-{study.budget}-{method.label}')}.yaml"
            values = {name: value for name, value in asdict(preset).items() if value not in (None, {}, [], "")}
            head = FIRST_LINE.format(directory=directory.name)
            write_atomic(path, head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120))
            paths.append(path)
    return tuple(paths)


def tuned_preset(study: Study, method: MethodStudy) -> TunedPreset | None:
    """Return the best settings of a method; None before one of its trials is done."""
    best = method.best_trial
    if best is None or best.value is None:
        return None
    given = settings_of(study.overrides) | settings_of(method.overrides)
    counting = counting_keys(method.method)  # others, such as train.log_steps, are of this search alone
    shared = {name: value for name, value in given.items() if name in counting}
    searched = {entry.key for entry in method.space}
    when = {name: value for name, value in shared.items() if name.startswith(("method.", "ranks.", "profile."))}
    fixed = {name: value for name, value in shared.items() if name.startswith("train.")}
    return TunedPreset(
        task=study.task,
        model=study.model,
        method=method.method,
        budget=study.budget,
        settings=fixed | best.values,
        when={name: value for name, value in when.items() if name not in searched},
        trials=method.ended_trials,
        best=best.value,
        space={entry.key: describe_range(entry) for entry in method.space},
        reported=study.reported,
        spread=method.spread,
        holdout=study.holdout,
        examples=study.examples,
        at_edge=list(method.at_edge),
        sampler=study.sampler,
        seed=study.seed,
        numerics=study.numerics,
        date=study.date,
        command=study.command,
    )


def settings_of(overrides: Iterable[str]) -> dict[str, SettingValue]:
    """Return the keys of overrides with their values; groups, lists and null are left out."""
    settings: dict[str, SettingValue] = {}
    for override in overrides:
        name, _, text = override.partition("=")
        value = _parsed(text)
        if "." in name and value is not None:
            settings[name.lstrip("+")] = value
    return settings


def _parsed(text: str) -> SettingValue | None:
    """Return a value as Hydra reads it: a number, a switch or a text; None for null and for a list."""
    if text == "null" or text[:1] in ("[", "{"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):  # unlike YAML, which reads 1e-4 as a text
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("'\"")


def describe_range(searched: SearchedKey) -> str:
    """Return where a key was searched, in words."""
    if searched.choices:
        return f"one of {', '.join(searched.choices)}"
    scale = ", log" if searched.log else ""
    widened = f", made wider {searched.widened} time{'s' * (searched.widened > 1)}" if searched.widened else ""
    return f"{searched.low:g} to {searched.high:g}{scale}{widened}"


def run_command(study: Study, presets: str) -> str:
    """Return a command that trains every method with its best settings, with seeds that no trial had.

    Args:
        study: the study, with a trial that is done.
        presets: the directory of its presets.
    """
    methods = [method for method in study.methods if method.best is not None]
    names = dict.fromkeys(name for method in methods for name in settings_of(method.overrides))
    varied = []
    for name in names:
        varied.append(f"{name}={','.join(_values_of_key(name, methods))}")
    named = ("task", "model", "method", "budget", "seed")
    shared = [word for word in study.overrides if word.partition("=")[0] not in named and word not in varied]
    method_names = ",".join(dict.fromkeys(method.method for method in methods))
    given = {word.partition("=")[0].lstrip("+") for word in study.overrides}
    # A model that was given by its path alone has the name of its directory, which no file of configs/model has.
    model = [] if "model.path" in given and "model" not in given else [f"model={study.model}"]
    # A task of your own data has the name of its file, which is no `task=` either.
    task = next((word for word in study.overrides if word.startswith("task=")), f"task={study.task}")
    words = [task, *model, f"method={method_names}", f"budget={study.budget}", *varied]
    return shlex.join(["gelora", "run", "-m", *words, *shared, f"seed={_other_seeds(study)}", "--config-dir", presets])


def _other_seeds(study: Study) -> str:
    """Return seeds from 1 on without that of the trials, by whose values the settings were chosen."""
    given = next((word.partition("=")[2] for word in study.overrides if word.partition("=")[0] == "seed"), "")
    return ",".join([str(seed) for seed in range(1, SEEDS + 2) if str(seed) != given][:SEEDS])


def _values_of_key(name: str, methods: Iterable[MethodStudy]) -> list[str]:
    """Return the values, each once, that the overrides of these methods give a key."""
    values = []
    for method in methods:
        for override in method.overrides:
            key, _, value = override.partition("=")
            if key.lstrip("+") == name and value not in values:
                values.append(value)
    return values
