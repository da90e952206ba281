"""What a training and its evaluations gave, `result.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

SMOKE_REMARK = "smoke=true: a short trial on few rows, not a result"
"""Printed with every value of a run with `smoke=true`."""


@dataclass(frozen=True)
class ScoreScale:
    """The scale of the scores that a model was trained on: score = `mean` + `sd` times the model's output."""

    mean: float
    sd: float


@dataclass(frozen=True)
class EvalResult:
    """Metrics of one evaluated split; `reported` names the one that the task reports.

    `collapsed` means that the predictions say nothing: they are all the same, not finite, or scores that all lie
    outside the range of the labels. `remark` says so in words, or that the value does not exceed the share of the most
    common label.
    """

    split: str
    examples: int
    metrics: dict[str, float]
    reported: str
    collapsed: bool
    seconds: float
    remark: str = ""

    @property
    def value(self) -> float:
        """Return the reported metric's value."""
        return self.metrics[self.reported]


@dataclass(frozen=True)
class TrainResult:
    """What fine-tuning did: counts, times and the evaluations of every epoch.

    `effective_ranks` are the modules' ranks at the end, in the order of the plan, which cost `adapter_params`.
    From `settled_epoch` on the ranks keep the budget, so that only these epochs may be selected. It is 1 for a method
    whose ranks are fixed.
    """

    steps: int
    epochs: int
    examples: int
    trainable_params: int
    effective_ranks: dict[str, int]  # by full module name
    adapter_params: int
    selected_epoch: int  # epochs count from 1
    settled_epoch: int
    first_loss: float
    last_loss: float
    seconds: float
    evaluation_seconds: float
    evaluations: tuple[tuple[EvalResult, ...], ...]  # of each epoch, one result per split


@dataclass(frozen=True)
class ReloadCheck:
    """The saved adapter in a fresh base model: its logits compared with the trained model's, and with those without it.

    `warning` says that the adapter changes no score by more than rounding, and is empty for an adapter that does.
    """

    examples: int
    largest_difference: float
    tolerance: float
    adapter_effect: float
    passed: bool
    warning: str = ""

    def in_words(self) -> str:
        """Return a sentence for log and model card that says how close the scores are."""
        within = f" within {self.largest_difference:.2g}" if self.largest_difference else ""
        return (
            f"the saved adapter, loaded again, gives the same scores{within} on {self.examples} sequences; without the "
            f"adapter they differ by up to {self.adapter_effect:.2g}"
        )


@dataclass(frozen=True)
class RunResult:
    """The summary of a finished run, `result.json`.

    `value`, `results` and `last_value` belong to the splits that the protocol reports, `best_value` to the one that
    selects the epoch. `adapter_params` are left at the end, and `trained_params` is the most that was trained at any
    time. `profile_seconds` went into the profile that the run uses, and `attach_seconds` into attaching the method
    (for EVA, into its activations). `scale` is the scale of the scores that the model was trained on, and None if it
    was trained on the labels as they are.
    """

    task: str
    model: str
    method: str
    budget: str
    seed: int
    protocol: str
    selection: str
    reported: str
    value: float
    results: tuple[EvalResult, ...]
    last_value: float
    best_value: float
    best_epoch: int
    ranks: tuple[int, ...]
    effective_ranks: dict[str, int]
    adapter_params: int
    trained_params: int
    head_params: int
    collapsed: bool
    reload_check: ReloadCheck
    train: TrainResult
    profile_seconds: float
    profile_reused: bool
    attach_seconds: float
    train_seconds: float
    scale: ScoreScale | None = None
    smoke: bool = False

    FILE: ClassVar[str] = "result.json"

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what a reader must know about the value, a sentence each; most runs have none."""
        has_several_splits = len(self.results) > 1
        about_values = [
            f"{row.split}: {row.remark}" if has_several_splits else row.remark for row in self.results if row.remark
        ]
        if self.adapter_params == 0:
            about_values.append("collapsed: nothing is left of the adapter, its budget or schedule pruned all of it")
        if self.collapsed and not about_values:  # results written before there were remarks
            about_values.append("collapsed: one prediction for every row, or predictions that are not finite")
        about_run = [SMOKE_REMARK] if self.smoke else []
        about_adapter = [self.reload_check.warning] if self.reload_check.warning else []
        return (*about_run, *about_values, *about_adapter)
