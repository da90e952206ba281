"""Step 2 of a comparison: runs to rows, a method over its seeds, with what it reached and what it cost; no torch.

`make_rows` is the entry point.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gelora_cli.allocation.formatting import EXEMPT_BUDGET
from gelora_cli.allocation.stability import NOT_MEASURED, verdict_word
from gelora_cli.core.artifacts.result import HOLDOUT_REMARK, SMOKE_REMARK, RunResult
from gelora_cli.core.registries import METHODS, METRICS
from gelora_cli.report.row_costs import RowCosts, row_costs
from gelora_cli.report.runs import CONTRADICTION, COPY, GELORA, UNIFORM, RowKey, Run, UnusedRun
from gelora_cli.report.settings import describe_differences

DEFAULT_DIGITS = 4


@dataclass(frozen=True)
class Row:
    """The finished runs of one key.

    Parameters and memory are the most of all seeds; seconds and examples per second are their means.

    Attributes:
        key: what the runs have in common.
        name: the method's name, with what sets the row apart from other rows of the method.
        runs: the runs in the order of their seeds.
        unfinished: how many runs belong here and give no number, by status.
        duplicates: runs of controls with GeLoRA's plan, whose numbers are not used again.
    """

    key: RowKey
    name: str
    runs: tuple[Run, ...]
    unfinished: Mapping[str, int] = field(default_factory=dict)
    duplicates: tuple[Run, ...] = ()

    @property
    def methods(self) -> list[str]:
        """Return its method, and each control that is shown in it."""
        return list(dict.fromkeys([self.method, *(run.result.method for run in self.duplicates)]))

    @property
    def name_of_method(self) -> dict[str, str]:
        """Return a name for its method and for each control that is shown in it, with what sets the row apart."""
        joined = " = ".join(self.methods)
        if not self.name.startswith(joined):
            return {self.method: self.name}
        return {method: method + self.name.removeprefix(joined) for method in self.methods}

    @property
    def names(self) -> tuple[str, ...]:
        """Return the name of its method and of each control that is shown in it, each with what sets the row apart."""
        return tuple(self.name_of_method.values())

    def is_of(self, name: str) -> bool:
        """Return whether this is a name of the row, or of its method or a control that is shown in it."""
        return name in self.names or name in {run.result.method for run in self.all_runs}

    @property
    def all_runs(self) -> tuple[Run, ...]:
        """Return its runs, and those of the controls that are shown in it."""
        return (*self.runs, *self.duplicates)

    @property
    def seeds(self) -> set[int]:
        """Return the seeds of its runs."""
        return {run.result.seed for run in self.runs}

    @property
    def task(self) -> str:
        """Return the task's name."""
        return self.key.task

    @property
    def model(self) -> str:
        """Return the model's name."""
        return self.key.model

    @property
    def budget(self) -> str:
        """Return the budget's canonical text; `exempt` of a method that has none."""
        return self.key.budget

    @property
    def protocol(self) -> str:
        """Return how the epoch is selected."""
        return self.key.protocol

    @property
    def method(self) -> str:
        """Return the method's name, without settings."""
        return self.key.method

    @property
    def smoke(self) -> bool:
        """Return whether its runs are short trials on few rows, which no number of a real run is averaged with."""
        return self.runs[0].result.smoke

    @property
    def on_holdout(self) -> bool:
        """Return whether its values are on held-out training rows, which are in no average with others."""
        return self.runs[0].result.on_holdout

    @property
    def trial_mark(self) -> str:
        """Return what names and titles say of values that are no results; nothing of others."""
        return trial_mark(smoke=self.smoke, on_holdout=self.on_holdout)

    @property
    def exempt(self) -> bool:
        """Return whether the method has no budget."""
        return self.budget == EXEMPT_BUDGET

    @property
    def metric(self) -> str:
        """Return the metric that the task reports."""
        return self.runs[0].result.reported

    @property
    def digits(self) -> int:
        """Return the decimals of the metric's values; 4 for a plug-in's metric that isn't loaded."""
        metric = self.runs[0].config.task.metric
        return METRICS.get(metric).digits if metric in METRICS else DEFAULT_DIGITS

    @property
    def points_factor(self) -> float | None:
        """Return what values are multiplied by to be in points, 0 to 100; None where that is not known."""
        metric = self.runs[0].config.task.metric
        return METRICS.get(metric).points_factor(self.metric) if metric in METRICS else None

    @property
    def values(self) -> list[float]:
        """Return the reported value of each seed, collapsed ones included."""
        return [run.result.value for run in self.runs]

    @property
    def value_by_seed(self) -> dict[int, float]:
        """Return the reported value of each seed, collapsed ones included, by seed."""
        return {run.result.seed: run.result.value for run in self.runs}

    @property
    def mean(self) -> float:
        """Return the mean over all seeds."""
        return statistics.mean(self.values)

    @property
    def mean_before(self) -> float | None:
        """Return the mean before the first step; None where a seed was not evaluated then."""
        values = [run.result.train.value_before(run.result.results[0].split) for run in self.runs]
        known = [value for value in values if value is not None]
        return statistics.mean(known) if len(known) == len(values) else None

    @property
    def sd(self) -> float | None:
        """Return the standard deviation of a sample (n - 1); None for one seed."""
        return statistics.stdev(self.values) if len(self.runs) > 1 else None

    @property
    def collapsed(self) -> int:
        """Return how many seeds collapsed."""
        return sum(run.result.collapsed for run in self.runs)

    @property
    def trials(self) -> int | None:
        """Return how many trials are behind its settings, the fewest of its runs; None where that is unknown of any."""
        counts = [run.config.preset_trials for run in self.runs]
        known = [count for count in counts if count is not None]
        return min(known) if len(known) == len(counts) else None

    @property
    def linked(self) -> int:
        """Return how many seeds were not trained again, since a run of another method has the same ranks."""
        return sum(run.manifest.same_as is not None for run in self.runs)

    @property
    def mean_without_collapsed(self) -> float | None:
        """Return the mean of the other seeds, where some collapsed and some did not."""
        others = [run.result.value for run in self.runs if not run.result.collapsed]
        return statistics.mean(others) if others and self.collapsed else None

    @property
    def adapter_params(self) -> int:
        """Return the adapter's parameters at the end."""
        return max(run.result.adapter_params for run in self.runs)

    @property
    def trained_params(self) -> int:
        """Return the most adapter parameters that ever trained; pruning methods start with more than they keep."""
        return max(run.result.trained_params for run in self.runs)

    @property
    def head_params(self) -> int:
        """Return the parameters of the head, which no budget counts."""
        return max(run.result.head_params for run in self.runs)

    @property
    def budget_params(self) -> int | None:
        """Return the bound in parameters; None for `auto` and exempt methods."""
        return self.runs[0].plan.budget_params

    @property
    def share(self) -> float | None:
        """Return how much of the budget the adapter uses, in percent."""
        return 100 * self.adapter_params / self.budget_params if self.budget_params else None

    @property
    def stability(self) -> str | None:
        """Return the verdicts on its plans, each with its mean agreement; None where nothing decides them."""
        agreements: dict[str, list[float]] = {}
        for run in self.runs:
            stability = run.plan.stability
            if stability is not None and stability.verdict != NOT_MEASURED:
                shares = [] if stability.agreement is None else [stability.agreement]
                word = verdict_word(stability)
                agreements[word] = agreements.get(word, []) + shares
        texts = []
        for verdict, shares in agreements.items():
            texts.append(f"{verdict} ({statistics.mean(shares):.2f})" if shares else verdict)
        return ", ".join(texts) or None

    @property
    def start_seconds(self) -> float:
        """Return the seconds before the first step: attaching, and the profile, which runs share."""
        return statistics.mean(profile_seconds(run.result) + run.result.attach_seconds for run in self.runs)

    @property
    def train_seconds(self) -> float:
        """Return the seconds of training."""
        return statistics.mean(run.result.train_seconds for run in self.runs)

    @property
    def peak_megabytes(self) -> float | None:
        """Return the most memory of any process, in units of 10^6 bytes."""
        peaks = [run.manifest.peak_bytes for run in self.runs if run.manifest.peak_bytes]
        return max(peaks) / 1e6 if peaks else None

    @property
    def training_examples(self) -> int | None:
        """Return how many rows an epoch trains on, or windows of questions; None where `train.max_steps` cut one."""
        run = self.runs[0]
        train = run.result.train
        is_cut = run.config.train.max_steps is not None and train.epochs > 1
        return None if is_cut else train.examples // max(train.epochs, 1)

    @property
    def evaluated_examples(self) -> int:
        """Return how many rows the reported value is on."""
        return self.runs[0].result.results[0].examples

    @property
    def costs(self) -> RowCosts | None:
        """Return what it costs beside seconds and memory; None where a run does not have it recorded."""
        return row_costs(self.runs)

    @property
    def examples_per_second(self) -> float | None:
        """Return training examples over seconds of training."""
        trained = [run.result.train for run in self.runs if run.result.train.seconds > 0]
        return statistics.mean(train.examples / train.seconds for train in trained) if trained else None

    @property
    def metrics(self) -> dict[str, list[float]]:
        """Return every reported metric's values; those of a second split end with its name, `accuracy_mismatched`."""
        values: dict[str, list[float]] = {}
        for run in self.runs:
            for ending, evaluated in run.results_by_ending():
                for name, value in evaluated.metrics.items():
                    values.setdefault(name + ending, []).append(value)
        return values

    @property
    def label_metrics(self) -> dict[str, str]:
        """Return the names in `metrics` of the values of single labels -> the label, a second split's with its name."""
        task = self.runs[0].config.task
        if task.metric not in METRICS:  # a plug-in's that isn't loaded
            return {}
        labels = METRICS.get(task.metric).for_labels(task.labels).label_values()
        named: dict[str, str] = {}
        for ending, _ in self.runs[0].results_by_ending():
            split = f" ({ending[1:]})" if ending else ""
            named |= {name + ending: label + split for label, name in labels.items()}
        return named

    @property
    def notes(self) -> str:
        """Return what a reader must know of this row's numbers."""
        notes = []
        if self.smoke:
            notes.append(SMOKE_REMARK)
        if self.on_holdout:
            notes.append(HOLDOUT_REMARK)
        if len(self.runs) == 1:
            notes.append("one seed")
        if self.collapsed:
            notes.append(f"{self.collapsed} collapsed")
        if stopped := sum(bool(run.result.train.early_stop) for run in self.runs):
            notes.append(f"{stopped} stopped early")
        if self.linked:
            notes.append(f"{self.linked} linked: the same run as another method's")
        for status, count in sorted(self.unfinished.items()):
            if status == COPY:
                notes.append("1 copy left out" if count == 1 else f"{count} copies left out")
            elif status == CONTRADICTION:
                notes.append(f"{count} with another result left out")
            else:
                notes.append(f"{count} {status}")
        return ", ".join(notes)


def trial_mark(*, smoke: bool, on_holdout: bool) -> str:
    """Return what a name says of values that stand apart from results: of short trials, or on held-out rows."""
    return (" [smoke]" if smoke else "") + (" [held-out training rows]" if on_holdout else "")


def profile_seconds(result: RunResult) -> float:
    """Return the seconds of the profile that a method's ranks follow; uniform ranks need none, though one is drawn."""
    return 0.0 if result.method == UNIFORM else result.profile_seconds


def make_rows(runs: Iterable[Run], unused: Iterable[UnusedRun] = ()) -> list[Row]:
    """Return a row per task, model, budget, protocol, settings and method, in the order of tasks, models and methods.

    A control that is a duplicate of GeLoRA (see `duplicate_of`) has no row of its own: GeLoRA's is named after both.
    Where rows of a method differ in a setting, such as the learning rate, their names say it.
    """
    by_key: dict[RowKey, list[Run]] = {}
    for run in runs:
        by_key.setdefault(run.key, []).append(run)
    duplicates: dict[RowKey, list[RowKey]] = {}
    for key in sorted(by_key):
        original = duplicate_of(key, by_key)
        if original is not None:
            duplicates.setdefault(original, []).append(key)
    without_row = {key for keys in duplicates.values() for key in keys}
    unfinished = Counter((run.key, run.status) for run in unused)
    return [
        _make_row([key, *duplicates.get(key, [])], by_key, unfinished)
        for key in sorted(by_key, key=_order)
        if key not in without_row
    ]


def duplicate_of(key: RowKey, by_key: Mapping[RowKey, Sequence[Run]]) -> RowKey | None:
    """Return the key of GeLoRA's row that a control repeats; None where it does not.

    It does where its plan is GeLoRA's for every seed, and GeLoRA has all of its seeds.
    """
    gelora = key._replace(method=GELORA)
    if key == gelora or gelora not in by_key:
        return None
    # By the plans: runs of one seed with equal ranks are the same run, whatever their methods are called.
    patterns = {run.result.seed: run.plan.rank_pattern for run in by_key[gelora]}
    for run in by_key[key]:
        is_planned = run.plan.ranks == run.plan.gelora_ranks
        if not is_planned or run.plan.rank_pattern != patterns.get(run.result.seed):
            return None
    return gelora


def _order(key: RowKey) -> tuple[object, ...]:
    """Return where a row stands: exempt methods come last, the others in the order of the registry."""
    is_exempt = key.budget == EXEMPT_BUDGET
    return (key.task, key.model, is_exempt, key.budget, key.protocol, METHODS.position(key.method), key.settings)


def _make_row(
    keys: Sequence[RowKey], by_key: Mapping[RowKey, Sequence[Run]], unfinished: Mapping[tuple[RowKey | None, str], int]
) -> Row:
    """Make the row of the first of these keys; the others are duplicates of it."""
    key = keys[0]
    first = by_key[key][0].result
    same_method = [
        other.settings
        for other, (run, *_) in by_key.items()
        if other.without_settings() == key.without_settings()
        # A trial has another name anyway, and its limits are no settings that anybody chose between.
        and (run.result.smoke, run.result.on_holdout) == (first.smoke, first.on_holdout)
    ]
    name = " = ".join(each.method for each in keys) + describe_differences(key.settings, same_method)
    name += trial_mark(smoke=first.smoke, on_holdout=first.on_holdout)
    counts: Counter[str] = Counter()
    for (of_key, status), count in unfinished.items():
        if of_key in keys:
            counts[status] += count
    duplicates: list[Run] = []
    for duplicate in keys[1:]:
        duplicates += _by_seed(by_key[duplicate])
    return Row(key, name, tuple(_by_seed(by_key[key])), counts, tuple(duplicates))


def _by_seed(runs: Iterable[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: run.result.seed)
