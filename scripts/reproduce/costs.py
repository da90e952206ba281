"""What sweeps will cost, from rows, epochs and the throughput that `plan.yaml` states for the scale; nothing is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import parquet

from gelora_cli.allocation.base import IDIM
from gelora_cli.config.complete import complete
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.registries import METHODS, SIGNALS
from scripts.planned_jobs import FORWARD
from scripts.reproduce.made_questions import made_counts
from scripts.reproduce.sweeps import Request, Sweep, Values, composed, composing, made_stand_in

PASSES = {"idim": 1.0, "activations": 2.5}
"""Time of a signal's pass over all texts, in forward passes; the sums of covariances take longer than the model."""


@dataclass(frozen=True)
class Cost:
    """Seconds and optimizer steps of a run without its profile; the profile that it shares, and the seconds of that."""

    seconds: float
    steps: int
    profile: str | None
    profile_seconds: float


def cost_text(plan: Values, request: Request, sweeps: list[Sweep]) -> str:
    """Return what the sweeps cost in all, one after the other; finished work is not deducted."""
    scale = plan["scales"][request.scale]
    if made_stand_in(request, sweeps):
        plan = plan | {"rows": plan["rows"] | {"squad": made_counts()}}
    costs = list(job_costs(plan, scale, sweeps))
    runs = sum(len(sweep.jobs()) for sweep in sweeps if sweep.command == "run")
    profiles = {cost.profile: cost.profile_seconds for cost in costs if cost.profile}
    minutes = (sum(cost.seconds for cost in costs) + sum(profiles.values())) / 60
    shown = f"{max(minutes, 1):.0f} min" if minutes < 120 else f"{minutes / 60:,.0f} h"
    rates, plural = scale["examples_per_second"], "s" * (len(profiles) != 1)
    methods = f"{text}\n" if (text := methods_text(sweeps)) else ""  # none of a target that only measures
    return (
        f"reproduce-{request.target}, SCALE={request.scale}: {plan['targets'][request.target]['says']}\n"
        f"({scale['says']})\n"
        f"{methods}"
        f"{runs:,} runs, {sum(cost.steps for cost in costs):,} optimizer steps, {len(profiles)} profile{plural}: about "
        f"{shown},\n"
        f"training {rates['text']} examples a second ({_other_rates(rates)}), {scale['source']}\n"
        "what is done is not done again"
    )


def _other_rates(rates: Values) -> str:
    """Return the rates of SQuAD and of tasks with longer texts, in words."""
    names = {"question_answering": "of SQuAD"}
    return ", ".join(f"{names.get(name, name)} {rate}" for name, rate in rates.items() if name != "text")


def methods_text(sweeps: list[Sweep]) -> str:
    """Return the methods that run under each budget, and those that have none."""
    groups: dict[str, list[str]] = {}
    for sweep in sweeps:
        for method in listed(sweep.values.get("method", "gelora")) if sweep.command == "run" else ():
            priced = not METHODS.get(method).exempt
            budget = f"budget={', '.join(listed(sweep.values.get('budget', 'auto')))}" if priced else "no budget"
            groups.setdefault(budget, []).append(method)
    return "\n".join(f"{budget}: {', '.join(dict.fromkeys(methods))}" for budget, methods in groups.items())


def listed(value: Any) -> list[str]:
    """Return the values of a sweep, or the one value, as text."""
    return list(map(str, value)) if isinstance(value, list) else [str(value)]


def job_costs(plan: Values, scale: Values, sweeps: list[Sweep]) -> Iterator[Cost]:
    """Return the cost of every job; jobs that differ by the seed alone are composed once."""
    known: dict[str, Cost] = {}
    with composing():
        for sweep in sweeps:
            for job in sweep.jobs():
                values = {key: value for key, value in job.items() if key not in ("seed", "init_from")}
                key = repr((sweep.command, sweep.signals, values))
                if key not in known:
                    config = complete(composed(values))
                    known[key] = _job_cost(plan, scale, config, sweep)
                yield known[key]


def _job_cost(plan: Values, scale: Values, config: RunConfig, sweep: Sweep) -> Cost:
    """Return the cost of one completed configuration: training, an evaluation after each epoch, and a fixed part."""
    trains = sweep.command == "run"
    rows, judged = counts(plan, config)
    text = config.task.kind != "question_answering"
    rates = scale["examples_per_second"]
    rate = float(rates.get(config.task.name, rates["text" if text else "question_answering"]))
    examples, epochs = min(rows, config.data.max_train_examples or rows), config.train.epochs or 1
    if config.data.max_eval_examples:
        judged = min(judged, config.data.max_eval_examples * len(config.task.eval_splits))
    trained = examples * epochs * plan["relative_seconds"].get(config.method.name, 1.0)
    seconds = scale["seconds_per_run"] + (trained + judged * epochs / FORWARD) / rate
    steps = -(-examples // (config.train.batch_size or 1)) * epochs
    profiled = not trains or METHODS.get(config.method.name).needs_profile(parse_budget(config.budget))
    fingerprints = {"model": config.model.name, "train": config.task.name}  # no files are read: a name for each
    profile = SIGNALS.get(IDIM).sharing_hash(config, fingerprints) if profiled else None
    measured = _profile_seconds(rows, config, sweep.signals, rate)
    return Cost(seconds, steps, profile, measured) if trains else Cost(0.0, 0, profile, measured)


def _profile_seconds(rows: int, config: RunConfig, signals: Sequence[str], rate: float) -> float:
    """Return the seconds of the passes over texts, forward and for gradients back; searches are not counted."""
    examples = min(rows, config.profile.max_examples)
    passes = sum(PASSES.get(signal, 0.0) for signal in signals or ("idim",))
    batches = config.profile.gradient_batches * config.profile.gradient_batch_size
    trained = min(examples, batches) if "gradients" in signals else 0
    return (passes * examples / FORWARD + trained) / rate


def counts(plan: Values, config: RunConfig) -> tuple[int, int]:
    """Return the rows to train on and to evaluate: of a local directory its own, else those of the published data."""
    task, source = config.task, getattr(config.data, config.task.source, None)
    place = Path(source or "") / (task.folder or task.name)
    files = [sorted(place.glob(f"{split}-*.parquet")) for split in ("train", *task.eval_splits)]
    if not source or not all(files):
        train, judged = plan["rows"][task.name]
        return int(train), int(judged)
    sizes = []
    for of_split in files:
        sizes.append(sum(parquet.read_metadata(file).num_rows for file in of_split))
    return sizes[0], sum(sizes[1:])
