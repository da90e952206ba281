"""From `plan.yaml` to sweeps of `gelora`: settings of the scale, data that is there, overrides that win."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Transformer

from gelora_cli.commands.hydra_app import register_schemas
from gelora_cli.config.checks import list_problems
from gelora_cli.config.composing import composed_config
from gelora_cli.config.overrides import override_problems
from gelora_cli.config.schema import RunConfig
from gelora_cli.config.shipped import config_dir
from gelora_cli.core.errors import GeloraError
from scripts.planned_jobs import combinations

PLAN = Path(__file__).resolve().parent / "plan.yaml"
SCALES = ("smoke", "cpu", "paper")
ONE_VALUE = ("glue", "cost", "plans")
"""Targets whose own table takes one value of every key but `SWEPT`."""
SWEPT = ("task", "method", "seed")
SQUAD_FOLDERS = {"squad": "plain_text", "squad_v2": "squad_v2"}

Values = dict[str, Any]


class Given(str):
    """The value of an override as it was written, which needs no quotes."""


@dataclass(frozen=True)
class Request:
    """What was asked for: target, scale, places, and settings that win over the plan's."""

    target: str
    scale: str
    runs: Path
    glue: Path | None = None
    squad: Path | None = None
    given: Values = field(default_factory=dict)

    @property
    def place(self) -> Path:
        """Return where this scale's runs and reports go."""
        return self.runs / self.scale

    @property
    def output(self) -> Path:
        """Return the target's report."""
        return self.place / f"report-{self.target}"

    @property
    def made_squad(self) -> Path:
        """Return where the questions go that stand in for SQuAD."""
        return (self.place / "made").absolute()


@dataclass(frozen=True)
class Sweep:
    """One `gelora COMMAND -m`: keys to values, lists are swept; later sweeps know its first run as `@name`.

    `signals` are what `gelora profile` measures; () for its default.
    """

    values: Values
    name: str | None = None
    command: str = "run"
    signals: tuple[str, ...] = ()

    def words(self, known: Mapping[str, str]) -> list[str]:
        """Return the words after `gelora`; `known` are the run directories of named sweeps."""
        values = self.values | {
            key: known.get(value, value) for key, value in self.values.items() if key == "init_from"
        }
        signals = [f"signals=[{','.join(self.signals)}]"] if self.signals else []
        return [self.command, "-m", *map(override, values, values.values()), *signals]

    def jobs(self) -> list[Values]:
        """Return every combination of the values, the last list fastest."""
        return combinations(self.values)


def load_plan() -> Values:
    """Return the targets, scales and counts of `plan.yaml`."""
    return cast(Values, yaml.safe_load(PLAN.read_text(encoding="utf-8")))


def target_sweeps(plan: Values, request: Request) -> list[Sweep]:
    """Return all of the target's sweeps at this scale.

    Raises:
        GeloraError: the directory that was given holds none of a sweep's tasks, or an override sweeps what the target's
            table would mix.
    """
    _check_swept(request)
    target, scale = plan["targets"][request.target], plan["scales"][request.scale]
    own: list[Values] = target["sweeps"][request.scale]
    first = {"command": "profile", "task": own[0]["task"][:1]}
    profiles = [first | change for change in target.get("profiles", {}).get(request.scale, ())]
    runs = request.place / (f"runs-{request.target}" if target.get("apart") else "runs")
    return [_sweep(values, scale, request, runs) for values in [*profiles, *own]]


def _check_swept(request: Request) -> None:
    mixed = [
        f"{override(key, value)}: the table of reproduce-{request.target} takes one value of it; give the command once "
        "for each, with a directory of its own (RUNS=DIR, --runs DIR)"
        for key, value in request.given.items()
        if request.target in ONE_VALUE and isinstance(value, list) and key not in SWEPT
    ]
    if mixed:
        raise GeloraError(list_problems(mixed))


def _sweep(own: Values, scale: Values, request: Request, runs: Path) -> Sweep:
    values = {key: value for key, value in own.items() if key not in ("name", "command", "task", "signals")}
    answering = own["task"][0] in SQUAD_FOLDERS
    tasks, places = (_questions if answering else _texts)(own["task"], scale, request)
    shared = scale["shared"] | (scale["question_answering"] if answering else {})
    below = {key: value for key, value in shared.items() if key not in values}
    whole = {"task": tasks, **below, **places, "runs_dir": str(runs), **values, **request.given}
    return Sweep(whole, own.get("name"), own.get("command", "run"), tuple(own.get("signals", ())))


def _texts(tasks: list[str], scale: Values, request: Request) -> tuple[list[str], Values]:
    """Return the tasks that there is data for, and where: the directory given, the generated task, or the hub."""
    if request.glue is None:
        return (["demo"], {}) if scale.get("stand_in") else (tasks, {})
    there = [task for task in tasks if list((request.glue / task).glob("train-*.parquet"))]
    return _some(tasks, there, request.glue), {"data.glue": str(request.glue.absolute())}


def _questions(tasks: list[str], scale: Values, request: Request) -> tuple[list[str], Values]:
    if request.squad is None:
        return (["squad"], {"data.squad": str(request.made_squad)}) if scale.get("stand_in") else (tasks, {})
    found = {task: _squad_directory(request.squad, task) for task in tasks}
    there = [task for task in tasks if found[task] is not None]
    return _some(tasks, there, request.squad), {f"data.{task}": str(found[task]) for task in there}


def made_stand_in(request: Request, sweeps: Sequence[Sweep]) -> bool:
    """Return whether a sweep runs on the questions that the script makes."""
    return any(sweep.values.get("data.squad") == str(request.made_squad) for sweep in sweeps)


def _squad_directory(given: Path, task: str) -> Path | None:
    """Return where a SQuAD version lies: the directory given, or the one beside it that has the task's name."""
    places = (given.absolute(), given.absolute().parent / task)
    return next((place for place in places if list((place / SQUAD_FOLDERS[task]).glob("train-*.parquet"))), None)


def _some(wanted: list[str], there: list[str], place: Path) -> list[str]:
    missing = [task for task in wanted if task not in there]
    if not there:
        raise GeloraError(f"{place} holds none of {', '.join(wanted)}; give the hub's layout, DIR/TASK/train-*.parquet")
    if missing:
        print(f"reproduce: {place} has no {', '.join(missing)}: left out", file=sys.stderr)
    return there


def given_values(words: Sequence[str]) -> Values:
    """Return overrides as keys and values; a sweep is a list.

    Raises:
        GeloraError: every word that is no override of `gelora run`, or one that adds or removes a key.
    """
    problems, _ = override_problems("run", list(words), None)
    problems += [f"{word}: only key=value is accepted here" for word in words if word[0] in "+~"]
    if problems:
        raise GeloraError(list_problems(problems))
    return dict(map(_given, OverridesParser.create().parse_overrides(list(words))))


def _given(found: Override) -> tuple[str, Any]:
    if found.is_sweep_override():
        return found.key_or_group, [Given(text) for text in found.sweep_iterator(transformer=Transformer.encode)]
    return found.key_or_group, Given(str(found.input_line).partition("=")[2])


def override(key: str, value: Any) -> str:
    """Return one Hydra override; a list is a sweep."""
    return f"{key}={','.join(map(_quoted, value if isinstance(value, list) else [value]))}"


def _quoted(value: Any) -> str:
    """Return a value as Hydra reads it back, quoted where it would read another one."""
    text = str(value)
    return (
        text
        if isinstance(value, Given) or re.fullmatch(r"[A-Za-z0-9_./:%+@-]+", text)
        else '"' + text.replace('"', '\\"') + '"'
    )


@contextmanager
def composing() -> Iterator[None]:
    """Let `composed` work within it: start Hydra with the product's groups."""
    register_schemas()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


def composed(values: Values) -> RunConfig:
    """Return one job's configuration, as `gelora run` composes it."""
    return cast(RunConfig, composed_config(compose("run", [*map(override, values, values.values())])))
