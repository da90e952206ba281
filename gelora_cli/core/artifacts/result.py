"""What a training and its evaluations gave, `result.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

SMOKE_REMARK = "smoke=true: a short trial on few rows, not a result"
"""Printed with every value of a run with `smoke=true`."""


MOST_SHOWN = 12
"""Values of a metric on a line: SQuAD v2.0 has ten, a metric with values of each label may have hundreds."""
HOLDOUT_SPLIT = "train (holdout)"
"""Name of the training rows that `data.holdout` scores instead of the task's own splits."""
HOLDOUT_REMARK = "the value is on held-out training rows (data.holdout), not on the task's own evaluated rows"
"""Printed with every value on such rows."""


@dataclass(frozen=True)
class ScoreScale:
    """The scale of the scores that a model was trained on: score = `mean` + `sd` * output of the model."""

    mean: float
    sd: float


@dataclass(frozen=True)
class EvalResult:
    """Metrics of one evaluated split.

    Attributes:
        split: Its name, such as validation.
        examples: Scored examples; questions, not windows, for question answering.
        metrics: Name to value of every metric of the task.
        reported: The name of the metric that the task reports.
        collapsed: Whether the predictions say nothing: they are all the same, not finite, or scores that all lie
            outside the range of the labels.
        seconds: Time of this evaluation.
        remark: The same in words, or that the value does not exceed the share of the most common label.
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

    def in_words(self) -> str:
        """Return all values on a line; of many only the first, the reported one among them, and how many more."""
        names = list(self.metrics)
        if len(names) > MOST_SHOWN:
            names = list(dict.fromkeys([*names[: MOST_SHOWN - 1], self.reported]))
        text = "  ".join(f"{name} {self.metrics[name]:.4f}" for name in names)
        more = len(self.metrics) - len(names)
        return f"{text}  and {more} more" if more else text


@dataclass(frozen=True)
class TrainResult:
    """What fine-tuning did: counts, times and the evaluations of every epoch.

    Attributes:
        steps: Optimizer steps.
        epochs: Passes over the training rows that were done; `train.max_steps` may end the last one early.
        examples: Rows trained on, over all epochs; for question answering windows.
        trainable_params: Parameters that the optimizer updates, with the head.
        effective_ranks: Each module's rank at the end, by full module name, in the order of the plan.
        adapter_params: What these ranks cost.
        selected_epoch: The epoch whose weights are saved; epochs count from 1.
        settled_epoch: From this epoch on the ranks keep the budget, so that only these epochs may be selected. It is 1
            for a method whose ranks are fixed.
        first_loss: The first logged loss, a mean over `train.log_steps` steps.
        last_loss: The last logged loss.
        seconds: Time of the training, without the evaluations.
        evaluation_seconds: Time of the evaluations, and of observing the geometry.
        evaluations: For each epoch, one result per split.
        planned_epochs: Passes that the schedule of the learning rate was made for: more than `epochs` where
            `train.patience` ended the training. None of a run that is older than this.
        before: One result per split before the first step. Empty for a task whose head is new, since its first
            predictions would say nothing, and of a run that is older than this.
    """

    steps: int
    epochs: int
    examples: int
    trainable_params: int
    effective_ranks: dict[str, int]
    adapter_params: int
    selected_epoch: int
    settled_epoch: int
    first_loss: float
    last_loss: float
    seconds: float
    evaluation_seconds: float
    evaluations: tuple[tuple[EvalResult, ...], ...]
    planned_epochs: int | None = None
    before: tuple[EvalResult, ...] = ()

    def value_before(self, split: str) -> float | None:
        """Return the reported metric of a split before the first step, or None if it was not evaluated then."""
        values = [result.value for result in self.before if result.split == split]
        return values[0] if values else None

    @property
    def early_stop(self) -> str:
        """Return how `train.patience` ended the training, in words; empty where it did not."""
        if self.planned_epochs is None or self.epochs >= self.planned_epochs:
            return ""
        waited = self.epochs - self.selected_epoch
        epochs = f"the {waited} epochs after it were" if waited > 1 else "the epoch after it was"
        return (
            f"stopped after {self.epochs} of {self.planned_epochs} epochs by train.patience={waited}: epoch "
            f"{self.selected_epoch} is the best, {epochs} not better"
        )


@dataclass(frozen=True)
class ReloadCheck:
    """The saved adapter in a fresh base model: its logits compared with the trained model's, and with those without it.

    Attributes:
        examples: Compared sequences.
        largest_difference: The largest difference from the trained model's logits.
        tolerance: The largest difference that passes.
        adapter_effect: The largest difference from the logits without the adapter.
        passed: Whether the difference is within the tolerance.
        warning: Says that the adapter changes no score by more than rounding; empty for an adapter that does.
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
class RunCosts:
    """What a run costs beside seconds and memory; operations are floating-point ones, counted from the shapes.

    Attributes:
        signal_flops: Operations of measuring what the plan reads, also where another run measured it. 0 of a plan that
            reads nothing; None where a measurement is older than its count, or a plug-in's.
        attach_flops: Operations of what the method itself measured before training.
        training_flops: Operations of training, forward and backward, in all processes, without the evaluations.
        inference_params: Parameters that the saved adapter adds to the model as long as it is not merged.
        mergeable: Whether it can be merged, so that it adds nothing.
        largest_rank: The largest rank of the saved adapter, which serving engines reserve for every module; None of a
            method without ranks.
    """

    signal_flops: int | None
    attach_flops: int
    training_flops: int
    inference_params: int
    mergeable: bool
    largest_rank: int | None

    @property
    def allocation_flops(self) -> int | None:
        """Return the operations before training; None where a measurement has no count."""
        return None if self.signal_flops is None else self.signal_flops + self.attach_flops


@dataclass(frozen=True)
class RunResult:
    """The summary of a finished run, `result.json`.

    Attributes:
        task: The task's name.
        model: The model's name.
        method: The method's name.
        budget: The budget as it is written, such as 0.05M.
        seed: The random seed.
        protocol: Which weights are reported: last, dev or split.
        selection: The same in words.
        reported: The name of the reported metric.
        value: The value of the run: the reported metric of the reported weights, on the first reported split.
        results: All metrics of the reported weights, for each reported split.
        last_value: The reported metric after the last epoch.
        best_value: The reported metric of the best epoch, on the split that selects the epoch.
        best_epoch: The number of that epoch; epochs count from 1.
        ranks: The planned rank of each block.
        effective_ranks: The rank of each module at the end, by full module name.
        adapter_params: Parameters of the adapter that are left at the end.
        trained_params: The most parameters of the adapter that were trained at any time.
        head_params: Parameters of the task's head, which the budget does not count.
        collapsed: Whether the predictions of a reported split say nothing, or nothing is left of the adapter.
        reload_check: The saved adapter, loaded again and compared.
        train: What the training did.
        profile_seconds: Time that measuring the profile took, also where another run measured it.
        profile_reused: Whether another run had measured the profile.
        attach_seconds: Time of attaching the method (for EVA, of its activations).
        train_seconds: Time of the training, without the evaluations.
        scale: The scale of the scores that the model was trained on; null if trained on the labels as they are.
        smoke: Whether it was a short trial with `smoke=true`, which is no result.
        costs: Operations, and what the adapter takes once it is used; None of a run that is older than this.
        start_differences: How far earlier runs (`init_from`) with weights in another type than float32 were from what
            was merged of them, by the name of the run (see `pipeline.stored_start`); empty where there were none.
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
    costs: RunCosts | None = None
    start_differences: dict[str, float] = field(default_factory=dict)

    FILE: ClassVar[str] = "result.json"

    @property
    def on_holdout(self) -> bool:
        """Return whether the value is on held-out training rows (`data.holdout`), or on a half of them."""
        return self.results[0].split.startswith(HOLDOUT_SPLIT)

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
        if self.on_holdout:
            about_run.append(HOLDOUT_REMARK)
        about_adapter = [self.reload_check.warning] if self.reload_check.warning else []
        return (*about_run, *about_values, *about_adapter)
