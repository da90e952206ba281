"""What a run came to: `result.json`, predictions, pictures, the card, and remarks with what to try."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import EvalResult, ReloadCheck, RunCosts, RunResult, TrainResult
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.files import json_text, write_atomic
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.data.protocol import ProtocolSplits
from gelora_cli.pipeline.card import model_card
from gelora_cli.pipeline.description import card_facts
from gelora_cli.pipeline.session import Session
from gelora_cli.pipeline.signal_stage import MeasuredSignals
from gelora_cli.plots.base import RunData, write_run_pictures
from gelora_cli.trackers.json_lines import read_metric_lines

if TYPE_CHECKING:
    from gelora_cli.training.evaluation import Evaluation


def make_result(
    session: Session,
    plan: RankPlan,
    signals: MeasuredSignals,
    trained: TrainResult,
    check: ReloadCheck,
    costs: RunCosts,
) -> RunResult:
    """Put together what a run came to, from its plan, its signals, its training, the reload check and its costs."""
    from gelora_cli.training.selection import best_epoch

    config, splits = session.config, session.protocol_splits
    results = _reported(splits, trained.evaluations[trained.selected_epoch - 1])
    first = trained.settled_epoch - 1  # no earlier epoch is accepted: the adapter was still above its budget
    best, best_value = best_epoch(trained.evaluations[first:])  # counts from 1 within those epochs
    return RunResult(
        task=config.task.name,
        model=session.inputs.model_name,
        method=config.method.name,
        budget=plan.budget,
        seed=config.seed,
        protocol=config.protocol,
        selection=splits.rule.format(epoch=trained.selected_epoch),
        reported=config.task.reported,
        value=results[0].value,
        results=results,
        last_value=_reported(splits, trained.evaluations[-1])[0].value,
        best_value=best_value,
        best_epoch=best + first,
        ranks=plan.ranks,
        effective_ranks=trained.effective_ranks,
        adapter_params=trained.adapter_params,
        trained_params=plan.trained_params,
        head_params=plan.head_params,
        collapsed=any(result.collapsed for result in results) or trained.adapter_params == 0,
        reload_check=check,
        train=trained,
        profile_seconds=signals.seconds,
        profile_reused=signals.reused,
        attach_seconds=round(session.seconds["attach"], 3),
        train_seconds=trained.seconds,
        smoke=config.smoke,
        scale=session.scale,
        costs=costs,
        start_differences=session.start_differences,
    )


def _reported(splits: ProtocolSplits, results: Sequence[EvalResult]) -> tuple[EvalResult, ...]:
    """Return the results of the reported splits."""
    return tuple(result for result in results if result.split in splits.reported)


def write_result(
    directory: Path, session: Session, result: RunResult, plan: RankPlan, evaluated: list[Evaluation]
) -> None:
    """Write predictions, the task's own files, the result, the pictures that wait for it and the card."""
    lines = "".join(json_text(row) + "\n" for evaluation in evaluated for row in evaluation.rows)
    write_atomic(directory / run_files.PREDICTIONS, lines)
    for name in evaluated[0].files:
        content = {key: value for evaluation in evaluated for key, value in evaluation.files[name].items()}
        write_atomic(directory / name, json_text(content, indent=1) + "\n")
    write_artifact(result, directory)  # before pictures and card, which only show it
    metrics = read_metric_lines(directory / run_files.METRICS)
    write_run_pictures(directory, RunData(plan=plan, result=result, metrics=metrics), after_training=True)
    facts = card_facts(directory, session.inputs, session.loaded)
    write_atomic(directory / run_files.CARD, model_card(result, plan, facts))
    # For log.txt alone: the command prints value and remarks on standard output.
    LOGGER.debug("%s: %.4f", result.reported, result.value)
    for remark in with_remedies(result, session.config):
        LOGGER.debug("%s", remark)


def with_remedies(result: RunResult, config: RunConfig) -> tuple[str, ...]:
    """Return the remarks on a run, with what to try where it has collapsed."""
    if not result.collapsed or result.reload_check.warning:
        return result.remarks
    kind = TASK_KINDS.get(config.task.kind)
    longer = "more train.patience" if result.train.early_stop else "more train.epochs"
    rate = config.train.learning_rate or 0
    lower, higher = (
        f"train.learning_rate={rate / 10:.3g} (a tenth)",
        f"train.learning_rate={rate * 3:.3g} (three times)",
    )
    guess, last = kind.guess_loss(config.task), result.train.last_loss
    about_loss = []
    if guess is not None and last <= 1.1 * guess:  # it did not diverge, so that a lower rate alone would learn less
        tries = [longer, higher, f"{lower} if the training loss was lower before"]
        if last >= 0.9 * guess:
            about_loss = [f"little was learned: the training loss ended at {last:.4f}, and guessing gives {guess:.4f}"]
    else:
        tries = [lower, longer]
    if config.protocol == "last":
        tries.append("protocol=split (the best epoch)")
    tries = kind.remedies(config.task, tries, standardized=result.scale is not None)
    return (*result.remarks, *about_loss, f"what may help: {', '.join(tries)}")
