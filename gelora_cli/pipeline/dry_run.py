"""What a run would cost, from a few of its real steps and batches; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gelora_cli.allocation.base import IDIM, SignalArtifact, total_operations
from gelora_cli.allocation.formatting import format_plan
from gelora_cli.allocation.planning import has_largest_ranks
from gelora_cli.archive.reading import find_done
from gelora_cli.config.complete import complete
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.artifacts.manifest import Estimate
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import BlockRank, RankPlan
from gelora_cli.core.locks import check_available
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.memory import peak_bytes
from gelora_cli.core.messages import join_names, teraflop
from gelora_cli.core.registries import SIGNALS
from gelora_cli.data.batches import epoch_batches, sorted_batches
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.pipeline.attach_stage import attach_method
from gelora_cli.pipeline.costs import training_operations
from gelora_cli.pipeline.forecast import RunForecast
from gelora_cli.pipeline.inputs import ResolvedInputs, needed_signals, resolve_inputs
from gelora_cli.pipeline.linking import find_equal_run
from gelora_cli.pipeline.locations import (
    check_signals,
    load_valid_signal,
    run_directory,
    run_fingerprints,
    signal_directory,
)
from gelora_cli.pipeline.plan_stage import flat_profile, make_plan
from gelora_cli.pipeline.session import Session, open_session
from gelora_cli.pipeline.signal_cost import SignalCost, signal_cost, signal_costs_text
from gelora_cli.pipeline.signal_stage import signal_context, warn_unread
from gelora_cli.pipeline.stage_settings import evaluates_first, train_settings
from gelora_cli.pipeline.start_log import describe_run

if TYPE_CHECKING:
    from gelora_cli.methods.base import AdaptedModel

ESTIMATE_STEPS = 4
"""Steps and batches that are timed: enough to average over short and long rows, and seconds even on a CPU."""


def estimate(
    config: RunConfig, *, measure: bool = True, show: Callable[[str], None] = lambda text: None
) -> tuple[str, Estimate | None]:
    """Return what a run would cost: as text, with its plan, and as numbers, from a few real steps; write nothing.

    Where the weights are missing, or memory would not suffice here, only the forecast of its memory is given, and no
    numbers.

    Args:
        config: the composed configuration.
        measure: whether a run would measure what is not measured; `gelora train` does not, so it must be there.
        show: is given task, model and method, and the forecast before anything is loaded, which may fail for want of
            memory.

    Raises:
        GeloraError: what `run` would refuse before any work, or a budget that the method can't meet.
    """
    inputs = resolve_inputs(complete(config))
    show(describe_run(inputs))
    memory = RunForecast(inputs)
    show(memory.in_words())
    if memory.reason_not_to_try:
        return memory.reason_not_to_try, None
    return _timed_estimate(inputs, measure)


def _timed_estimate(inputs: ResolvedInputs, measure: bool) -> tuple[str, Estimate]:
    """Return what a run would cost, from a few of its real steps."""
    config, fingerprints = inputs.config, run_fingerprints(inputs)
    directory = run_directory(inputs, fingerprints)
    check_available(directory)  # asks without creating the directory or taking its lock: a dry run writes nothing
    if not measure:
        check_signals(inputs, fingerprints)
    warn_unread(config, needed_signals(config))
    signals, unmeasured = _saved_signals(inputs, fingerprints)
    session = open_session(inputs, None)
    LOGGER.info("head: %s", session.loaded.head_origin)
    if IDIM in unmeasured:
        signals[IDIM] = flat_profile(session.inputs, session.loaded.map)
    # The cost hardly depends on which block has which rank.
    plan = make_plan(session, signals, assume_even=True, judged=not unmeasured)
    train = session.train_split()
    plan_text = _unmeasured_plan(plan, session, unmeasured) if unmeasured else format_plan(plan)
    signal_costs = {name: signal_cost(session, name) for name in unmeasured}  # before an adapter is on the model
    measuring = _signal_operations(session, signals, unmeasured)  # before an adapter is on the model, too
    attached = attach_method(session, plan, train)
    training, evaluation = _training_cost(session, attached, train)
    finished = not config.force and find_done(directory, config.archives) is not None
    known_plan = None if unmeasured else plan
    trained = None if config.force or finished else find_equal_run(inputs, fingerprints, known_plan)
    cost = Estimate(
        train_seconds=training,
        evaluation_seconds=evaluation,
        attach_seconds=session.seconds["attach"],
        signals={str(unmeasured[name]): signal.seconds for name, signal in signal_costs.items()},
        peak_bytes=peak_bytes(session.accelerator.device),
        processes=config.launch.processes,
        done=finished or trained is not None,
    )
    allocating = "unknown" if measuring is None else f"{teraflop(measuring + attached.attach_operations)} TFLOP"
    training_flops = training_operations(session, attached.plan, train)
    lines = [
        f"run directory: {directory}",
        plan_text,
        _cost_text(session, cost, signal_costs, len(train)),
        f"operations: allocating {allocating}, training {teraflop(training_flops)} TFLOP",
    ]
    if finished:
        lines.append("This run is finished: the command would do nothing.")
    if trained is not None:
        lines.append(
            f"It has the ranks of {trained.directory}, which is finished: it would be linked to that run, not trained."
        )
    return "\n".join(lines), cost


def _saved_signals(
    inputs: ResolvedInputs, fingerprints: Mapping[str, str]
) -> tuple[dict[str, SignalArtifact], dict[str, Path]]:
    """Return the signals that were measured before, and the directories of those that are still to be measured."""
    saved: dict[str, SignalArtifact] = {}
    unmeasured: dict[str, Path] = {}
    for name in needed_signals(inputs.config):
        signal = SIGNALS.get(name)
        directory = signal_directory(signal, inputs, fingerprints)
        artifact = load_valid_signal(signal, directory)
        if artifact is None:
            unmeasured[name] = directory
        else:
            saved[name] = artifact
    return saved, unmeasured


def _signal_operations(
    session: Session, signals: Mapping[str, SignalArtifact], unmeasured: Mapping[str, Path]
) -> int | None:
    """Return the operations of all signals that the plan reads, measured or not; None if one has no count."""
    counts = [total_operations([artifact]) for name, artifact in signals.items() if name not in unmeasured]
    for name, directory in unmeasured.items():
        counts.append(SIGNALS.get(name).operations(signal_context(session, directory)))
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _unmeasured_plan(plan: RankPlan, session: Session, unmeasured: Iterable[str]) -> str:
    """Return what can be said of a plan before its signals are measured; `plan` is that of even ones."""
    config, model_map = session.config, session.loaded.map
    signals = join_names(f"the {SIGNALS.get(name).title}" for name in unmeasured)
    budget = f"at most the budget's {plan.budget_params:,}" if plan.budget_params else "what the rule gives"
    is_uniform = config.method.name == "lora" and plan.budget_params  # its ranks don't depend on the profile
    ranks = " ".join(map(str, plan.ranks)) if is_uniform else f"unknown before {signals} is measured"
    params_per_rank = sum(_params_of_a_rank(row, plan.unit, model_map) for row in plan.blocks if row.rank)
    lines = [
        f"ranks of the {len(plan.blocks)} blocks: {ranks}",
        f"adapter: {budget} parameters; one rank more in every block costs {params_per_rank:,} (method.modules="
        f"{config.method.modules})",
        f"head {plan.head_params:,}, backbone {plan.backbone_params:,}",
        *plan.structure,
    ]
    if plan.budget_params and plan.budget_params > plan.adapter_params and has_largest_ranks(plan, model_map):
        lines.append(
            f"warning: budget={config.budget} is more than any ranks can use: at most {plan.adapter_params:,} "
            "parameters, where each rank is the smallest side of its modules. The rest stays unused."
        )
    return "\n".join(lines)


def _params_of_a_rank(row: BlockRank, unit: str, model_map: ModelMap) -> int:
    """Return what one rank more in every module of a block costs."""
    if row.module_ranks is None and unit != "rank":  # a row of LoRA ranks may hold fixed parameters, too
        return row.params // row.rank
    linears = model_map.blocks[row.block - 1].linears  # whose ranks may differ, even if their weights don't
    return sum(linear.unit_params for linear in linears if linear.name in row.modules)


def _training_cost(session: Session, attached: AdaptedModel, train: EncodedSplit) -> tuple[float, float]:
    """Return the seconds of training and of all its evaluations, from a few steps and batches."""
    from gelora_cli.training.loop import Trainer
    from gelora_cli.training.timing import no_results, padded_tokens, time_steps

    settings, config = train_settings(session), session.config
    trainer = Trainer(
        attached,
        train,
        settings,
        pad_token_id=session.pad_token_id,
        accelerator=session.accelerator,
        evaluate=no_results,
        callbacks=(),
        arithmetic=session.step_arithmetic,
    )
    times = time_steps(trainer, ESTIMATE_STEPS + 1)
    timed = times[1:] or times  # the first step warms up
    total = padded_tokens(train, epoch_batches(train.lengths, settings.batch_size, settings.seed, 1))  # of an epoch
    epochs = trainer.total_steps / trainer.steps_per_epoch  # a fraction where train.max_steps ends within an epoch
    training = epochs * total * sum(seconds for _, seconds in timed) / sum(tokens for tokens, _ in timed)
    # One at the end of each epoch, a last one that is cut short included, and perhaps one before the first step.
    evaluations = trainer.planned_epochs + evaluates_first(config)
    evaluation = 0.0
    for split in session.eval_splits():
        batches = sorted_batches(split.lengths, config.train.eval_batch_size)
        rows = np.concatenate(batches[:: max(1, len(batches) // ESTIMATE_STEPS)][:ESTIMATE_STEPS])
        start = time.perf_counter()
        session.forward(attached.model, split.take(rows))
        seconds = time.perf_counter() - start
        evaluation += seconds * len(split) / len(rows) * evaluations
    return training, evaluation


def _row_note(session: Session, costs: Mapping[str, SignalCost]) -> str:
    """Return that a limit of training rows is none of the measured ones, as the rest of a line; empty without one."""
    profile, limit = session.config.profile, session.config.data.max_train_examples
    rows = min(profile.max_examples, len(session.inputs.splits["train"]))
    if limit is None or limit >= rows or not any(cost.seconds for cost in costs.values()):
        return ""
    return f" ({rows:,} rows, whatever data.max_train_examples is; profile.max_examples={limit} takes fewer)"


def _cost_text(session: Session, cost: Estimate, signal_costs: Mapping[str, SignalCost], examples: int) -> str:
    config, settings = session.config, train_settings(session)
    # Of a GPU the tensors are counted, of a CPU all that the process holds.
    is_cpu = session.accelerator.device.type == "cpu"
    counted = "tensors, Python and its libraries" if is_cpu else "tensors on the GPU"
    lines = [
        signal_costs_text(signal_costs) + _row_note(session, signal_costs),
        f"training: {settings.total_steps(examples)} steps of {settings.batch_size}, about {cost.train_seconds:.0f} s"
        + f", at most: train.patience={settings.patience} may end it earlier" * (settings.patience is not None),
        f"evaluation: about {cost.evaluation_seconds:.0f} s in all; attaching: {cost.attach_seconds:.1f} s",
        f"memory, measured in a few steps: {cost.peak_bytes / 1e9:.2f} GB at most for each process, with {counted}",
        f"settings: {config.preset_source}",
    ]
    if config.launch.processes > 1:
        lines.append(f"The seconds are those of one process; {config.launch.processes} processes share the work.")
    if config.profile.track:
        lines.append("The measurements of profile.track=true are not counted.")
    return "\n".join(lines)
