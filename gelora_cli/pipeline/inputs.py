"""What a run depends on, found and checked before any work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from gelora_cli.config.checks import list_problems, reported_problem
from gelora_cli.config.class_weights import class_weight_problem, with_ordered_weights
from gelora_cli.config.schema import ModelConfig, RunConfig, TaskConfig
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_names
from gelora_cli.core.plugins import load_plugins
from gelora_cli.core.registries import METHODS, SIGNALS, TASK_KINDS
from gelora_cli.data.completion_rows import check_tokenizer
from gelora_cli.data.completions import CompletionSplit
from gelora_cli.data.holdout import hold_out_rows
from gelora_cli.data.protocol import protocol_splits, training_rows
from gelora_cli.data.reading import reading_once
from gelora_cli.data.sources import Split, complete_task, load_task_split, load_training_text
from gelora_cli.data.splits import TextSplit, sha256_of
from gelora_cli.launchers.torchrun import inside_workers
from gelora_cli.models.head_checks import check_head
from gelora_cli.models.locate import ResolvedModel, resolve_model
from gelora_cli.models.structure import check_structure
from gelora_cli.models.tokenizer import check_length, load_tokenizer
from gelora_cli.pipeline.accepted_map import ChosenNames, choose_names, remember_names
from gelora_cli.pipeline.lineage import Ancestor, find_lineage, for_task, head_of
from gelora_cli.tasks.losses import class_weights


@dataclass(frozen=True)
class ResolvedInputs:
    """Everything that a run depends on, found and checked before any work.

    Attributes:
        config: the completed configuration.
        model: what the run starts from: the base model, with the adapters of its ancestors merged.
        splits: rows by the name of their split: `train`, then the evaluated ones, the deciding one first.
        precision: `float32` or `bf16`, resolved for this machine.
        ancestors: the earlier runs that `init_from` names, oldest first.
    """

    config: RunConfig
    model: ResolvedModel
    splits: dict[str, Split]
    precision: str
    ancestors: tuple[Ancestor, ...] = ()

    @property
    def model_name(self) -> str:
        """Return the model's name and the tasks that it was tuned on before, as `minilm+sst2`."""
        return "+".join((self.config.model.name, *(ancestor.config.task.name for ancestor in self.ancestors)))

    @property
    def deciding_split(self) -> Split:
        """Return the evaluated split that decides, before a protocol divides it."""
        return next(split for name, split in self.splits.items() if name != "train")

    @property
    def fingerprints(self) -> dict[str, str]:
        """Return content hashes of the model and of every split.

        Groups count where the user names them, articles where the protocol divides a split by them.
        """
        # These enter the identity hash of a run: what is added here for every run gives all runs another directory.
        fingerprints = {"model": self.model.fingerprint}
        fingerprints |= {name: split.fingerprint() for name, split in self.splits.items()}
        if self.config.protocol == "split" and TASK_KINDS.get(self.config.task.kind).target == "answers":
            fingerprints |= {
                f"{name} (articles)": sha256_of(split.groups().tolist()) for name, split in self.splits.items()
            }
        for name, split in self.splits.items():
            if self.config.task.group is not None and split.group_names is not None:
                fingerprints[f"{name} (groups)"] = sha256_of(split.group_names)
        return fingerprints


def resolve_inputs(
    config: RunConfig, *, signals: Sequence[str] | None = None, check_devices: bool = True
) -> ResolvedInputs:
    """Find and check everything before work begins.

    Args:
        config: the completed configuration.
        signals: names of the signals that are measured without a run, which need the training rows alone; None for a
            run.
        check_devices: whether the work is done on this machine. Where it is done elsewhere, this machine need not
            have the devices, and `precision` is not to be used.

    Raises:
        GeloraError: too many processes, no such model or data, rows that don't fit the task, or a model of a kind
            without declaration whose map was not accepted.
    """
    from gelora_cli.core.devices import check_processes, resolve_precision

    if config.plugins is not None:
        load_plugins(config.plugins)  # first: the method, task kind or signal may be one of theirs
    problems: list[str] = []
    with collect_problems(problems):
        if check_devices and not inside_workers():  # an outer launcher has started its processes already
            check_processes(config.launch.processes)
    config, splits = _load_rows(config, signals, problems)
    with collect_problems(problems):
        model, ancestors = resolve_start(config)
        chosen = _check_model(model, config, splits, signals, problems)
    with collect_problems(problems):
        precision = resolve_precision(config.precision) if check_devices else config.precision
        if check_devices:
            resolve_precision(config.profile.precision, key="profile.precision")
    _check_rows(config, splits, signals, problems)
    if problems:
        # Several splits may fail for the same reason, which is shown once.
        raise GeloraError(list_problems(list(dict.fromkeys(problems))))
    config = replace(config, model=chosen.model)
    remember_names(chosen, config)
    return ResolvedInputs(config, model, splits, precision, ancestors)


def _load_rows(
    config: RunConfig, signals: Sequence[str] | None, problems: list[str]
) -> tuple[RunConfig, dict[str, Split]]:
    """Return the configuration with its completed task, and the rows of each split that has no problem.

    The rows are those that the run works on: training rows that `data.holdout` holds out are a split of their own.
    """
    splits: dict[str, Split] = {}
    with collect_problems(problems), reading_once():
        if signals is None:
            config = replace(config, task=complete_task(config.task, config.data))
            # Held-out training rows take the place of the task's own evaluated splits, which are then not read.
            for name in ("train", *(() if config.data.holdout else config.task.eval_splits)):
                with collect_problems(problems):
                    splits[name] = _labelled_split(config, name)
        else:
            task, splits["train"] = _training_rows(config, signals)
            config = replace(config, task=task)
    if config.task.labels:
        config = replace(config, task=_with_known_labels(config.task, problems))
    if config.data.holdout and "train" in splits:
        # Before anything looks at the rows: signals, the scale of scores and drawn rows see the reduced split alone.
        with collect_problems(problems):
            splits["train"], held_out = hold_out_rows(splits["train"], config.data.holdout)
            if signals is None:
                splits[held_out.name] = held_out
    return config, splits


def _check_model(
    model: ResolvedModel,
    config: RunConfig,
    splits: Mapping[str, Split],
    signals: Sequence[str] | None,
    problems: list[str],
) -> ChosenNames:
    """Check that a model can do the task, and return the names of its blocks and linears.

    That texts are too long for it is added to `problems`, so that it is shown beside what is wrong with its head.

    Raises:
        GeloraError: the model can't do the task, or its map was not accepted.
    """
    check_structure(model)
    with collect_problems(problems):
        # A measurement without a run generates nothing.
        new_tokens = TASK_KINDS.get(config.task.kind).new_tokens(config.task) if signals is None else 0
        check_length(model, config.task.max_length, new_tokens)
    # Labels may be wrong or unknown, and they don't change what class of transformers has the head.
    check_head(model, head_of(replace(config, task=replace(config.task, labels=[]))))
    _check_prompts(model, splits)
    return choose_names(config, model)


def _with_known_labels(task: TaskConfig, problems: list[str]) -> TaskConfig:
    """Return the task with its class weights in the order of its labels, which may be those of the rows.

    Weights that are not one for each label, and a reported value of a label that there is not, are added to `problems`.
    """
    wrong_weights, wrong_value = class_weight_problem(task), reported_problem(task)
    problems += [problem for problem in (wrong_weights, wrong_value) if problem]
    return task if wrong_weights else with_ordered_weights(task)


def _check_rows(
    config: RunConfig, splits: Mapping[str, Split], signals: Sequence[str] | None, problems: list[str]
) -> None:
    """Add to `problems` that the training rows are too few for what is to be done with them, as far as they are known.

    How a protocol divides them is only looked at where nothing else is wrong.
    """
    if "train" in splits:
        names = needed_signals(config) if signals is None else signals
        with collect_problems(problems):
            _check_distinct_texts(splits["train"], max([SIGNALS.get(name).fewest_texts for name in names], default=0))
    if not problems:
        with collect_problems(problems):
            _check_training_rows(config, splits, signals)


def _check_training_rows(config: RunConfig, splits: Mapping[str, Split], signals: Sequence[str] | None) -> None:
    """Check that a protocol can divide the rows of a run, and that class weights can be balanced to those it trains on.

    Raises:
        GeloraError: too few rows, or a label without one.
    """
    if signals is None:
        train = protocol_splits(config.task, config.protocol, splits).train
        class_weights(config.task, training_rows(train, config))
    elif any(SIGNALS.get(name).needs_labels for name in signals):
        class_weights(config.task, splits["train"])


def with_resolved(config: RunConfig, resolved: RunConfig) -> RunConfig:
    """Return a configuration with what was completed of another one that has the same model and data."""
    names = resolved.model
    model = replace(config.model, blocks=names.blocks, linears=names.linears, accept_map=names.accept_map)
    return replace(config, task=resolved.task, model=model)


def _training_rows(config: RunConfig, signals: Sequence[str]) -> tuple[TaskConfig, Split]:
    """Return the completed task and its training rows, with their labels if a signal needs them.

    Raises:
        GeloraError: no such data, or no labels.
    """
    labelled = [name for name in signals if SIGNALS.get(name).needs_labels]
    if not labelled:
        return load_training_text(config.task, config.data)
    try:
        config = replace(config, task=complete_task(config.task, config.data))
        return config.task, _labelled_split(config, "train")
    except GeloraError as error:
        _, text = load_training_text(config.task, config.data)  # raises what is wrong with the text itself
        if text.labels is not None:
            raise
        raise GeloraError(
            f"signals=[{','.join(signals)}]: {join_names(labelled)} can't be measured without labels: {error}. Give "
            "rows with labels, or leave it out"
        ) from error


def _check_distinct_texts(train: Split, fewest: int) -> None:
    """Refuse fewer different texts than a signal needs, before anything is written.

    Raises:
        GeloraError: with the numbers.
    """
    if isinstance(train, TextSplit | CompletionSplit) and (distinct := len(train.distinct_texts())) < fewest:
        raise GeloraError(
            f"{len(train):,} training rows with {distinct:,} different texts: a profile needs at least {fewest}. "
            "Give more rows, or take a method that measures none, such as method=adalora budget=rank:4"
        )


@contextmanager
def collect_problems(problems: list[str]) -> Iterator[None]:
    """Collect the message of an error, so that all of them are shown together."""
    try:
        yield
    except GeloraError as error:
        problems.append(str(error))


def _check_prompts(model: ResolvedModel, splits: Mapping[str, Split]) -> None:
    """Refuse a tokenizer that can't write the prompts and completions of a run.

    Raises:
        GeloraError: it has no end token, or its chat template refuses a conversation.
    """
    of_prompts = [split for split in splits.values() if isinstance(split, CompletionSplit)]
    if not of_prompts:
        return
    tokenizer = load_tokenizer(model)
    for split in of_prompts:
        check_tokenizer(split, tokenizer)


def _labelled_split(config: RunConfig, name: str) -> Split:
    split = load_task_split(config.task, config.data, name)
    if split.labels is None:
        raise GeloraError(f"task={config.task.name}: split {name} has no labels")
    return split


def resolve_start(config: RunConfig) -> tuple[ResolvedModel, tuple[Ancestor, ...]]:
    """Return the model that a run starts from, and the earlier runs that are merged into its base model."""
    also = TASK_KINDS.get(config.task.kind).model_files
    # A dry run forecasts the memory of a model whose weights are still to be fetched.
    base = resolve_base(config.model, also, needs_weights=not config.dry_run)
    start, ancestors = find_lineage(base, config.init_from)
    return for_task(start, config.task), ancestors


def resolve_base(model: ModelConfig, also: tuple[str, ...] = (), *, needs_weights: bool = True) -> ResolvedModel:
    """Return the base model that a configuration names, with some more of its files (see `resolve_model`)."""
    return resolve_model(
        hub=model.hub,
        path=model.path,
        revision=model.revision,
        package=model.package,
        sha256=model.sha256,
        needs_weights=needs_weights,
        also=also,
    )


def needed_signals(config: RunConfig) -> tuple[str, ...]:
    """Return the names of the signals that the plan of a run is made from; none of a run with a saved plan."""
    if config.ranks.path is not None:
        return ()
    return METHODS.get(config.method.name).signals(parse_budget(config.budget))
