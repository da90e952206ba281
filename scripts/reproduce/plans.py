"""`plans.md` and `plans.png`: the plan of every allocator on every task, its verdict, and what its signal cost."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gelora_cli.allocation.base import IDIM, SignalArtifact
from gelora_cli.allocation.choices import distinguishing_labels, measured_choices
from gelora_cli.allocation.comparison import PlanColumn as NamedPlan
from gelora_cli.allocation.comparison import equal_plans, module_ranks, plan_agreement
from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.ranks import planned_methods
from gelora_cli.allocation.stability import NO_PREFERENCE, STABLE, UNSTABLE, agreement
from gelora_cli.config.presets import plan_settings
from gelora_cli.core.artifacts.plan import BlockRank, RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import write_atomic
from gelora_cli.core.registries import METHODS
from gelora_cli.plots.style import write_figure
from gelora_cli.signals.saved import saved_signals
from scripts.reproduce.plans_picture import Panel, plans_figure
from scripts.reproduce.sweeps import Request, Values, composed, composing
from scripts.reproduce.work import Work

FILE_METHOD = "file"  # reads the user's own ranks, so it has no plan here
SHOWN_CHOICES = ("N", "N/2", "N/4", "N/8", "n1=1", "n1=4", "n1=16", "n1=64")
SHORT_VERDICTS = {NO_PREFERENCE: "none", UNSTABLE: "unstable", STABLE: "stable"}


@dataclass
class TaskPlans:
    """What was measured on one task, and the plans that follow.

    Attributes:
        task: its name.
        job: the keys of the command that measured it.
        signals: every signal of the real, mean-pooled profile, by name.
        profiles: the profile of every choice that was measured, the real one first.
        plans: of every method whose signal is there, under the job's budget.
        shrunk: the methods whose lower bounds pass that budget.
    """

    task: str
    job: Values
    signals: Mapping[str, SignalArtifact]
    profiles: list[IdProfile]
    plans: dict[str, RankPlan] = field(default_factory=dict)
    shrunk: set[str] = field(default_factory=set)


def plan_tables(request: Request, work: Work) -> None:
    """Write `plans.md`, a section per task, and `plans.png`, a panel per task."""
    tasks = measured_tasks(work)
    if not tasks:
        print("reproduce: no profile ended well, so there is no table", file=sys.stderr)
        return
    with composing():
        for task in tasks:
            add_plans(task)
    sections = ["\n".join(task_section(task)) for task in tasks]
    request.output.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join([*sections, "\n".join(NOTES)]) + "\n"
    write_atomic(request.output / "plans.md", text)
    panels = [Panel(task.task, block_means(task), verdicts(task)) for task in tasks]
    model, budget = tasks[0].signals[IDIM].model, tasks[0].job["budget"]  # type: ignore[attr-defined]
    write_figure(plans_figure(panels, f"{model}, budget {budget}, nothing trained"), request.output / "plans.png")
    print(f"\n{text}tables and picture: {request.output}/plans.md, plans.png")


def measured_tasks(work: Work) -> list[TaskPlans]:
    """Return the tasks in the order in which they were measured, each with all its profiles."""
    tasks: dict[str, TaskPlans] = {}
    for sweep, paths in work.found:
        for path in paths:  # fewer than the sweep has jobs, if a profile failed
            signals = saved_signals([path])
            profile = signals[IDIM]
            assert isinstance(profile, IdProfile)  # the artifact of that signal
            job = sweep.jobs()[0] | {"task": profile.task}
            task = tasks.setdefault(profile.task, TaskPlans(profile.task, job, signals, []))
            if profile not in task.profiles:
                task.profiles.append(profile)
    return list(tasks.values())


def add_plans(task: TaskPlans) -> None:
    """Plan every method whose signal is there; one that can't meet the budget goes below its lower bounds."""
    budget = parse_budget(str(task.job["budget"]))
    for method in planned_methods():
        if method == FILE_METHOD or not set(METHODS.get(method).signals(budget)) <= set(task.signals):
            continue
        plan, is_shrunk = _plan(task.job | {"method": method}, task.signals)
        task.plans[method] = plan
        if is_shrunk:
            task.shrunk.add(method)


def _plan(job: Values, signals: Mapping[str, SignalArtifact]) -> tuple[RankPlan, bool]:
    """Return a plan under the job's budget, and whether it is below its lower bounds."""
    config = composed({key: value for key, value in job.items() if not key.startswith("profile.")})
    settings: dict[str, Any] = plan_settings(config)
    model_map, budget = next(iter(signals.values())).model_map, parse_budget(str(job["budget"]))
    try:
        return plan_method(model_map, signals, budget, **settings), False
    except GeloraError:
        return plan_method(model_map, signals, budget, **(settings | {"on_deficit": "shrink"})), True


def task_section(task: TaskPlans) -> list[str]:
    """Return a task's section: plans, agreements, and what other choices would give."""
    profile = task.profiles[0]
    lines = [
        f"## {task.task}",
        "",
        f"{profile.model}, {profile.examples_used:,} rows, budget {task.job['budget']}.",
        "",
        "| allocator | rank of each block | units | verdict | other sample | uniform | signal s | of idim |",
        "|---" * 8 + "|",
        *(plan_row(task, method) for method in task.plans),
        "",
    ]
    lines += [f"Equal plans: {', '.join(group)}.\n" for group in equal_plans(_named(task))]
    lines += agreement_matrix(task.plans)
    if len(task.profiles) > 1:
        lines += ["", *choice_table(task)]
    return lines


def _named(task: TaskPlans) -> list[NamedPlan]:
    return [NamedPlan((method,), plan) for method, plan in task.plans.items()]


def plan_row(task: TaskPlans, method: str) -> str:
    """Return a method's row: its ranks, its verdict, and the seconds of the signal that it reads."""
    plan, stability = task.plans[method], task.plans[method].stability
    verdict, sample = ("control", None) if stability is None else (stability.verdict, stability.agreement)
    uniform = plan_agreement(plan, task.plans["lora"])
    seconds = None if stability is None else signal_seconds(task, method)  # a control asks no signal where ranks go
    idim_seconds = task.signals[IDIM].seconds
    cells = [
        method + "*" * (method in task.shrunk),
        " ".join(map(rank_text, plan.blocks)),
        f"{sum(module_ranks(plan))}",
        verdict,
        _number(sample),
        _number(uniform),
        "-" if seconds is None else f"{seconds:.1f}",
        "-" if seconds is None else f"{seconds / idim_seconds:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def signal_seconds(task: TaskPlans, method: str) -> float | None:
    """Return the seconds of the signals that a method reads under a budget in parameters; None if it reads none."""
    names = METHODS.get(method).signals(parse_budget(str(task.job["budget"])))
    return sum(task.signals[name].seconds for name in names) if names else None


def rank_text(row: BlockRank) -> str:
    """Return a block's rank, or the mean of its modules' ranks where each has its own."""
    return str(row.rank) if row.module_ranks is None else f"{mean_rank(row):.1f}"


def mean_rank(row: BlockRank) -> float:
    """Return the mean rank of a block's modules."""
    return row.rank if row.module_ranks is None else sum(row.module_ranks) / len(row.module_ranks)


def agreement_matrix(plans: Mapping[str, RankPlan]) -> list[str]:
    """Return the share of the units above one per module that each pair of plans has in common."""
    lines = [f"| agreement | {' | '.join(plans)} |", "|---" * (len(plans) + 1) + "|"]
    for method, plan in plans.items():
        cells = [_number(plan_agreement(plan, other)) for other in plans.values()]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def choice_table(task: TaskPlans) -> list[str]:
    """Return GeLoRA's plan under each measured choice: pooling, control, size of the sample, scale."""
    labels = distinguishing_labels(task.profiles)
    lines = [
        "| gelora from | read at | idim of layers 0 to L | rank of each block | verdict | agreement with the first |",
        "|---" * 6 + "|",
    ]
    first: RankPlan | None = None
    for profile, label in zip(task.profiles, labels, strict=True):
        for title, choice in measured_choices(profile).items():
            if title not in SHOWN_CHOICES:
                continue
            plan, is_shrunk = _choice_plan(task, choice)
            first = first or plan
            verdict = plan.stability.verdict if plan.stability and title == "N" else "-"
            ranks = " ".join(map(str, plan.ranks)) + "*" * is_shrunk
            idims = " ".join(f"{layer.idim:.1f}" for layer in choice.layers)
            common = f"{agreement(first.ranks, plan.ranks):.2f}"
            lines.append(
                f"| {' '.join(filter(None, label)) or 'real'} | {title} | {idims} | {ranks} | {verdict} | {common} |"
            )
    return lines


def _choice_plan(task: TaskPlans, profile: IdProfile) -> tuple[RankPlan, bool]:
    with composing():
        return _plan(task.job, {IDIM: profile})


def block_means(task: TaskPlans) -> dict[str, list[float]]:
    """Return the mean rank of each block's modules by method."""
    return {method: list(map(mean_rank, plan.blocks)) for method, plan in task.plans.items()}


def verdicts(task: TaskPlans) -> dict[str, str]:
    """Return the verdict on each plan that has one."""
    return {method: plan.stability.verdict for method, plan in task.plans.items() if plan.stability}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


NOTES: Sequence[str] = (
    "- Units: of rank, over all modules. A plan with a rank per module shows the mean of a block's modules.",
    "- Other sample: the share of the units above one that the plans of two samples have in common. Uniform: the share "
    "that the plan has in common with `lora`.",
    "- Signal s: seconds of the measurement that the allocator reads. Of idim: the same, divided by the seconds of the "
    "idim profile.",
    "- `*`: below the lower bounds, which pass this budget (`ranks.on_deficit=shrink`).",
    "- Read at: N, all rows; N/2 to N/8, means of smaller samples; n1=k, GRIDE from the k-th and 2k-th neighbour.",
    "",
    "No plan was trained here, so nothing says which is better.",
)
