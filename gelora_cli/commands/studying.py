"""`gelora tune` from its overrides to the finished study: methods, spaces, checks, trials as jobs of a launcher."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gelora_cli.commands.study_text import announce_study, dry_run_text, study_files, study_table, trial_line
from gelora_cli.commands.sweeping import (
    ComposedJob,
    check_inputs,
    checked_outcomes,
    choose_launcher,
    complete_jobs,
    compose_jobs,
)
from gelora_cli.config.arguments import Arguments
from gelora_cli.config.checks import list_problems
from gelora_cli.config.identity import NUMERICS, identity_hash
from gelora_cli.config.key_values import with_values
from gelora_cli.config.keys import keys_of
from gelora_cli.config.tuned_folder import INTERNAL
from gelora_cli.core.artifacts.study import Study, Trial
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.directories import create_directory
from gelora_cli.core.environment import utc_now
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.files import expand_home
from gelora_cli.core.locks import lock_directory
from gelora_cli.core.registries import COMMANDS, LAUNCHERS
from gelora_cli.launchers.base import Launcher
from gelora_cli.launchers.job import Job, Outcome
from gelora_cli.plots.tuning import draw_study
from gelora_cli.tuning.baseline import study_baseline
from gelora_cli.tuning.presets import write_presets
from gelora_cli.tuning.search import PlannedTrial, Search
from gelora_cli.tuning.space import parse_space, read_space, space_file
from gelora_cli.tuning.study import StudiedMethod, StudySettings, open_study, study_directory
from gelora_cli.tuning.summary import PICTURE, PRESETS, write_summary
from gelora_cli.tuning.widening import point_value

if TYPE_CHECKING:
    from gelora_cli.commands.tune import TuneCommandConfig
    from gelora_cli.config.schema import RunConfig

SETS_METHODS_APART = ("method", "ranks", "profile")
"""Groups and sections of which methods of one study may have different values."""
SAYS_NOTHING_OF_RUNS = ("tune", "launch")
NOT_OF_A_TRIAL = ("runs_dir", "archives", "force", "dry_run", "debug", *INTERNAL)
"""Keys that are no part of what all trials have in common."""


@dataclass(frozen=True)
class Composed:
    """A study as the user asked for it, with everything that is needed to start a trial.

    Attributes:
        methods: the methods.
        jobs: the composed configuration of each method, in the same order.
        settings: what the user asked for.
        overrides: what all trials have in common.
        flags: Hydra's flags.
        words: the command as it was typed.
    """

    methods: tuple[StudiedMethod, ...]
    jobs: tuple[ComposedJob, ...]
    settings: StudySettings
    overrides: tuple[str, ...]
    flags: list[str]
    words: list[str]

    @property
    def command(self) -> str:
        """Return the command as a shell takes it."""
        return shlex.join(["gelora", *self.words])

    def without_trials(self, config: RunConfig) -> Study:
        """Return the record of the study before its first trial; `config` is the completed one of any trial."""
        return Study(
            task=config.task.name,
            model=config.model.name,
            budget=parse_budget(config.budget).name,
            reported=config.task.reported or "",
            holdout=self.settings.holdout,
            examples=None,
            sampler=self.settings.sampler,
            seed=self.settings.seed,
            trials=self.settings.trials,
            overrides=self.overrides,
            numerics=NUMERICS,
            date=utc_now(),
            methods=tuple(method.without_trials() for method in self.methods),
            command=self.command,
        )

    def trial_jobs(self, planned: Sequence[PlannedTrial]) -> list[Job]:
        """Return the jobs of trials, as a launcher takes them.

        Raises:
            GeloraError: what is wrong with the values of any.
        """
        by_label = dict(zip((method.label for method in self.methods), self.jobs, strict=True))
        composed = []
        for item in planned:
            job, values = by_label[item.label], item.trial.values
            config = cast("TuneCommandConfig", job.config).run_config
            config = with_values(config, {"data.holdout": self.settings.holdout, **values})
            # A preset of an earlier study (--config-dir) never sets what this one searches.
            config = replace(config, keys_given=[*config.keys_given, *values])
            words = [f"{name}={value}" for name, value in values.items()]
            composed.append(
                ComposedJob(
                    overrides=[*_without(job.overrides, ("tune",)), f"data.holdout={self.settings.holdout}", *words],
                    label=f"{item.label}, trial {item.trial.number}: {' '.join(words)}",
                    config=config,
                )
            )
        return complete_jobs(composed, COMMANDS.get("run"), self.flags, self.words)


def run_study(flags: list[str], overrides: list[str], words: list[str]) -> int:
    """Run a study, or what is left of it, and return the exit code.

    Raises:
        GeloraError: what is wrong with any method, before the first trial starts.
    """
    study = compose_study(flags, overrides, words)
    configs = [job.config for job in study.jobs]
    launcher = choose_launcher(configs)
    first = study.trial_jobs([first_trial(method, study.settings) for method in study.methods])
    with launcher:
        check_inputs(launcher, first)
        if configs[0].dry_run:
            labels, trials = [method.label for method in study.methods], study.settings.trials
            return estimate_runs(launcher, first, lambda outcomes: dry_run_text(labels, outcomes, trials))
        return continue_study(study, first, launcher, directory_of_study(study, first))


def continue_study(study: Composed, first: Sequence[Job], launcher: Launcher, directory: Path) -> int:
    """Run what is left of the study in a directory, or a new one, and return the exit code.

    Args:
        study: the study as it was composed.
        first: the first trial of each method.
        launcher: what runs the trials.
        directory: where the study is kept.

    Raises:
        GeloraError: the file of the study is damaged, or another process works on it.
    """
    create_directory(directory)
    with lock_directory(directory, "the study"):
        config = first[0].config
        opened = open_study(directory, study.without_trials(config), config.archives)
        return _search_study(study, opened, launcher, directory)


def _search_study(study: Composed, opened: Study, launcher: Launcher, directory: Path) -> int:
    """Run what is left of a study, print its table, and return the exit code."""

    def report(label: str, trial: Trial) -> None:
        print(trial_line(search.study, label, trial), flush=True)

    def run_trials(planned: Sequence[PlannedTrial]) -> Iterator[Outcome]:
        # A signal between two jobs raises; what ended before it is recorded.
        with contextlib.suppress(StoppedError, KeyboardInterrupt):
            yield from checked_outcomes(launcher, study.trial_jobs(planned))

    search = Search(opened, study.settings, study.methods, directory, report)
    print(announce_study(search.study, directory), flush=True)
    finished = search.run(run_trials)
    baseline = study_baseline(finished, directory)
    print(study_table(finished, interrupted=search.interrupted, baseline=baseline), flush=True)
    if search.interrupted:
        return StoppedError.exit_code
    write_presets(finished, directory / PRESETS)
    draw_study(finished, directory / PICTURE)
    write_summary(finished, directory, baseline)
    print(study_files(finished, directory), flush=True)
    has_failed = any(trial.status == "failed" for method in finished.methods for trial in method.trials)
    return 1 if has_failed else 0


def estimate_runs(launcher: Launcher, jobs: Sequence[Job], text: Callable[[Sequence[Outcome]], str]) -> int:
    """Estimate each job, print what `text` makes of the outcomes, fewer after a signal, and return the exit code."""
    outcomes: list[Outcome] = []
    with contextlib.suppress(StoppedError, KeyboardInterrupt):
        outcomes += checked_outcomes(launcher, jobs)
    print(text(outcomes), flush=True)
    if len(outcomes) < len(jobs):
        return StoppedError.exit_code
    return max(outcome.code for outcome in outcomes)


def compose_study(flags: list[str], overrides: list[str], words: list[str]) -> Composed:
    """Compose the methods of a study and their spaces.

    Raises:
        GeloraError: all that is wrong.
    """
    jobs = compose_jobs(COMMANDS.get("tune"), flags, overrides)
    jobs = list({tuple(job.overrides): job for job in jobs}.values())
    common = set(jobs[0].overrides).intersection(*(job.overrides for job in jobs))
    apart: list[list[str]] = []
    for job in jobs:
        apart.append([word for word in job.overrides if word not in common])
    config = cast("TuneCommandConfig", jobs[0].config)
    problems = [*_apart_problems(apart), *_key_problems(config, common)]
    methods = []
    extra = Arguments(flags, []).config_dir
    for job, words_apart in zip(jobs, apart, strict=True):
        try:
            methods.append(_studied_method(job, words_apart, extra))
        except GeloraError as error:
            problems += str(error).split("\n")
    if problems:
        raise GeloraError(list_problems(list(dict.fromkeys(problems))))
    settings = StudySettings(
        trials=config.tune.trials,
        holdout=config.tune.holdout,
        sampler=config.tune.sampler,
        seed=config.tune.seed,
        widen=config.tune.widen,
    )
    shared = [word for word in jobs[0].overrides if word in common]
    shared = _without(shared, (*SAYS_NOTHING_OF_RUNS, *NOT_OF_A_TRIAL, "method"))
    return Composed(tuple(methods), tuple(jobs), settings, tuple(shared), flags, words)


def _apart_problems(apart: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the keys that may not differ between the methods of a study."""
    names = dict.fromkeys(key_of_override(word) for words in apart for word in words)
    for name in names:
        if name.split(".")[0] not in SETS_METHODS_APART:
            yield (
                f"{name}: several values are several studies: all methods of one have the same {name}, so that only "
                f"methods differ; give the command once for each value"
            )


def _key_problems(config: TuneCommandConfig, common: Iterable[str]) -> Iterator[str]:
    """Yield what doesn't go together with a study."""
    if any(key_of_override(word) == "data.holdout" for word in common):
        yield f"data.holdout={config.data.holdout}: gelora tune sets it for its trials; give tune.holdout=SHARE"
    if config.force:
        yield (
            "force=true: a study goes on where it was, and no trial that is done is run again; leave it out, or "
            "remove the directory of the study"
        )
    if not LAUNCHERS.get(config.launch.launcher).runs_here:
        yield (
            f"launch.launcher={config.launch.launcher}: gelora tune chooses trials by those before, on one machine; "
            "leave it out, and give the whole command to the cluster, such as sbatch --wrap 'gelora tune ...'"
        )
    if config.tune.sampler == "tpe" and (config.launch.parallel or 1) > 1:
        yield (
            f"launch.parallel={config.launch.parallel}: tune.sampler=tpe proposes each trial from those before, one "
            "after the other; leave it out, or take tune.sampler=sobol"
        )


def _studied_method(job: ComposedJob, apart: Sequence[str], extra: Path | None) -> StudiedMethod:
    """Return a method with its label and its space.

    Raises:
        GeloraError: what is wrong with the space, a line each.
    """
    config = cast("TuneCommandConfig", job.config)
    run = config.run_config
    name = run.method.name
    others = [word for word in apart if key_of_override(word) != "method"]
    label = " ".join([name, *others])
    chosen = next((word for word in job.overrides if key_of_override(word) == "method"), f"method={name}")
    own = [word for word in job.overrides if key_of_override(word).startswith("method.")]
    file = Path(expand_home(config.tune.space)) if config.tune.space else space_file(run, extra)
    values = read_space(file)
    if config.tune.space:  # one file for all methods: each takes of it what it has
        known = {entry.name for entry in keys_of(run)}
        values = {key: given for key, given in values.items() if key in known or not key.startswith("method.")}
    try:
        space = parse_space(values, run, [key_of_override(word) for word in job.overrides])
    except GeloraError as error:
        raise GeloraError("\n".join(f"{file.name} for {label}: {line}" for line in str(error).split("\n"))) from error
    if not space:
        raise GeloraError(f"{label}: every searched key is given ({', '.join(values)}), so that nothing is searched")
    declared = {entry.name: entry for entry in keys_of(run)}
    return StudiedMethod(
        label=label,
        method=name,
        overrides=tuple(dict.fromkeys([chosen, *own, *others])),
        space=space,
        declared={searched.key: declared[searched.key] for searched in space},
    )


def first_trial(method: StudiedMethod, settings: StudySettings) -> PlannedTrial:
    """Return the first trial of a method, by which a study is checked and named before it begins."""
    values = {}
    for searched in method.space:
        values[searched.key] = point_value(
            searched, space=method.space, before=None, seed=settings.seed, number=1, index=0
        )
    return PlannedTrial(method.label, Trial(1, values))


def directory_of_study(study: Composed, first: Sequence[Job]) -> Path:
    """Return where the study is kept, named by task, model and budget; model and data are looked up for that."""
    from gelora_cli.pipeline.inputs import resolve_inputs, with_resolved
    from gelora_cli.pipeline.locations import run_fingerprints

    inputs = resolve_inputs(first[0].config)
    runs = {}
    for method, job in zip(study.methods, first, strict=True):
        own = replace(inputs, config=replace(with_resolved(job.config, inputs.config), precision=inputs.precision))
        runs[method.label] = identity_hash(own.config, run_fingerprints(own))
    config = inputs.config
    name = f"{config.task.name}-{config.model.name}-b{parse_budget(config.budget).name}"
    return study_directory(Path(config.runs_dir), name, study.settings, study.methods, runs)


def _without(words: Iterable[str], names: Sequence[str]) -> list[str]:
    """Return overrides without those of some keys, groups and sections."""
    return [word for word in words if key_of_override(word).split(".")[0] not in names]


def key_of_override(word: str) -> str:
    """Return the key or group of an override."""
    return word.partition("=")[0].lstrip("+")
