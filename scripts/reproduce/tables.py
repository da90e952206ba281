"""What a report does not show: the methods' seconds beside GeLoRA's, and what a setting makes of profile and ranks."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, median

from gelora_cli.allocation.planning import plan_method
from gelora_cli.config.presets import plan_settings
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import write_atomic
from gelora_cli.core.registries import METHODS
from gelora_cli.report.published import PublishedFigure, read_published
from gelora_cli.report.rows import profile_seconds
from scripts.reproduce.sweeps import Request, Sweep, Values, composed, composing, load_plan
from scripts.reproduce.work import Work

PUBLISHED = Path(__file__).resolve().parent.parent / "published.csv"
ADAPTIVE = ("adalora", "sora")
MEANS = {
    "glue6": ("cola", "sst2", "qnli", "rte", "mrpc", "stsb"),
    "glue8": ("mnli", "sst2", "cola", "qqp", "qnli", "rte", "mrpc", "stsb"),
}

Runs = dict[int, RunResult]  # seed to run
Setting = tuple[str, str, str, str]  # model, method, budget, modules


def finished(work: Work) -> list[RunResult]:
    """Return the results of the runs that ended well."""
    return [read_artifact(RunResult, path / RunResult.FILE) for path in work.runs]


def published_notes(runs: Iterable[RunResult]) -> list[str]:
    """Name the tasks without published figures, and those with figures of other models only, which give no gap."""
    notes = []
    for task, model in sorted({(run.task, run.model) for run in runs}):
        models = {figure.model for figure in published(task)}
        if not models:
            notes.append(f"no published figure for {task}")
        elif not models & {"", model}:
            notes.append(f"published figures for {task} are of {', '.join(sorted(models))}: no gap to {model} is told")
    return notes


def cost_table(request: Request, work: Work) -> None:
    """Write `cost.md`: median seconds of each method's parts, and how much less GeLoRA takes, seed by seed."""
    groups: dict[tuple[str, str], Runs] = defaultdict(dict)
    for run in finished(work):
        groups[run.task, run.method][run.seed] = run
    lines = [
        "| task | method | seeds | profile s | attach s | training s | all s | GeLoRA less by | without its profile "
        "| of that, beside the published |",
        "|---" * 10 + "|",
    ]
    lines += [cost_row(task, method, runs, groups[task, "gelora"]) for (task, method), runs in sorted(groups.items())]
    models = {run.model for runs in groups.values() for run in runs.values()}
    _write(request, "cost.md", [*lines, "", *cost_notes(models)])


def cost_row(task: str, method: str, runs: Runs, gelora: Runs) -> str:
    """Return a method's medians over its seeds; comparisons are medians over the seeds that both have."""
    both = [(gelora[seed], run) for seed, run in runs.items() if seed in gelora and method != "gelora"]
    parts = [
        median(profile_seconds(run) for run in runs.values()),
        median(run.attach_seconds for run in runs.values()),
        median(run.train_seconds for run in runs.values()),
        median(all_seconds(run) for run in runs.values()),
    ]
    whole, bare = less_percent([(all_seconds(a), all_seconds(b)) for a, b in both]), less_percent(trained(both))
    cells = [
        *(f"{value:.1f}" for value in parts),
        *("-" if less is None else f"{less:+.1f} %" for less in (whole, bare)),
    ]
    adaptive = method in ADAPTIVE
    beside = "-" if bare is None or not adaptive else beside_published(bare)
    return f"| {task} | {method}{' (adaptive)' * adaptive} | {len(runs)} | {' | '.join(cells)} | {beside} |"


def all_seconds(run: RunResult) -> float:
    """Return the seconds of profile, attaching and training, without evaluations."""
    return profile_seconds(run) + run.attach_seconds + run.train_seconds


def trained(both: list[tuple[RunResult, RunResult]]) -> list[tuple[float, float]]:
    """Return the seconds of attaching and training, of GeLoRA and of the other method."""
    return [(a.attach_seconds + a.train_seconds, b.attach_seconds + b.train_seconds) for a, b in both]


def less_percent(pairs: list[tuple[float, float]]) -> float | None:
    """Return the median of `100 * (1 - gelora / other)` over pairs of seconds, None without pairs."""
    return median(100 * (1 - gelora / other) for gelora, other in pairs) if pairs else None


def beside_published(less: float) -> str:
    """Say whether a saving in percent lies in the published range, or how far from its nearer end."""
    lowest, highest = (figure.value for figure in published("time"))
    if lowest <= less <= highest:
        return f"within {lowest} to {highest} %"
    end = lowest if less < lowest else highest
    return f"{abs(less - end):.1f} {'below' if less < lowest else 'above'} {lowest} to {highest} %"


def cost_notes(models: Iterable[str]) -> list[str]:
    """Say what the table's numbers are, and the published ones."""
    lowest, highest = published("time")
    return [
        "Medians over seeds; the methods took turns, seed by seed, on one machine. Negative: GeLoRA takes longer. A "
        "profile is measured once for all seeds, and here counted whole for each.",
        "",
        f"Published, of {lowest.model}: {lowest.value} to {highest.value} % less than adaptive methods "
        f"({lowest.source}). So it stands beside the column without the profile, of adaptive methods; ours is of "
        f"{', '.join(sorted(models))}.",
    ]


def means_table(request: Request, work: Work) -> None:
    """Write `means.md`: each method's mean over the tasks of GeLoRA's and of AdaLoRA's tables, beside the published."""
    scores: dict[Setting, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for path in work.runs:
        run = read_artifact(RunResult, path / RunResult.FILE)
        modules = read_artifact(RankPlan, path / RankPlan.FILE).modules
        scores[run.model, run.method, run.budget, modules][run.task].append(task_score(run))
    lines = [
        "| mean of | model | method | budget | modules | seeds | ours | published | gap | source |",
        "|---" * 10 + "|",
    ]
    for name, tasks in MEANS.items():
        for setting, found in sorted(scores.items()):
            if set(tasks) <= set(found):
                lines += mean_rows(name, setting, [found[task] for task in tasks], published(name))
    missing = [f"{name}: needs {', '.join(tasks)} of one method" for name, tasks in MEANS.items()]
    _write(request, "means.md", lines if len(lines) > 2 else ["No mean can be made.", *missing])


def task_score(run: RunResult) -> float:
    """Return a task's value in a published mean: of MNLI both splits averaged, of QQP accuracy and F1."""
    if run.task == "mnli":
        return fmean(result.value for result in run.results)
    return fmean((run.value, run.results[0].metrics["f1"])) if run.task == "qqp" else run.value


def mean_rows(name: str, setting: Setting, values: list[list[float]], known: list[PublishedFigure]) -> list[str]:
    """Return a method's mean of its tasks' means over the seeds, beside each published figure of that method."""
    mean, seeds = fmean(map(fmean, values)), min(map(len, values))
    start = f"| {name} | {' | '.join(setting)} | {seeds} | {mean:.4f} |"
    rows = []
    for figure in (figure for figure in known if fits(figure, setting)):
        gap = f"{mean - figure.value:+.4f}" if same_budget(figure, setting) else "-"
        rows.append(f"{start} {figure.value:.4f} | {gap} | {figure.source} |")
    return rows or [f"{start} - | - | - |"]


def fits(figure: PublishedFigure, setting: Setting) -> bool:
    """Return whether a figure is of this model, method and modules, and of no other budget."""
    model, method, _, modules = setting
    known = figure.method == method and figure.model in ("", model) and figure.modules in ("", modules)
    return known and (not figure.budget or same_budget(figure, setting))


def same_budget(figure: PublishedFigure, setting: Setting) -> bool:
    """Return whether a gap can be given: the budgets are equal, or the published size is no budget of ours."""
    _, method, budget, _ = setting
    own = METHODS.get(method).exempt or METHODS.get(method).has_own_sizes
    return own or (bool(figure.budget) and parse_budget(figure.budget).name == budget)


def published(task: str) -> list[PublishedFigure]:
    """Return the published figures of a task or a mean."""
    return [figure for figure in published_figures() if figure.task == task]


@functools.cache
def published_figures() -> list[PublishedFigure]:
    """Return all published figures."""
    return read_published(PUBLISHED)


def ablation_table(request: Request, work: Work) -> None:
    """Write `ablations.md`: for each value of each setting the idims and the ranks that follow, all else as it is."""
    target = load_plan()["targets"]["ablations"]
    lines = ["| setting | idim of layers 0 to L | ranks of the blocks | adapter |", "|---|---|---|---|"]
    profiles = [(sweep, paths) for sweep, paths in work.found if sweep.command == "profile"]
    with composing():
        for sweep, paths in profiles:
            lines += profile_rows(sweep, paths)
        if profiles and profiles[0][1]:
            lines += replanned(target["plans"], *profiles[0])
    _write(request, "ablations.md", lines)


def profile_rows(sweep: Sweep, paths: list[Path]) -> list[str]:
    """Return a row for each profile of a sweep, planned for the budget."""
    changed = [key for key, value in sweep.values.items() if isinstance(value, list) and key != "task"]
    if len(paths) != len(sweep.jobs()):
        return [f"| {', '.join(changed)} | a profile failed, so it is not known which these are | | |"]
    return [ablation_row(job, changed, path) for job, path in zip(sweep.jobs(), paths, strict=True)]


def replanned(changes: list[Values], sweep: Sweep, paths: list[Path]) -> list[str]:
    """Plan the first profile, whose settings are the defaults, again under other rules."""
    rows = []
    for change in changes:
        changed = [key for key, value in change.items() if isinstance(value, list)]
        for job in Sweep(sweep.jobs()[0] | change).jobs():
            rows.append(ablation_row(job, changed, paths[0]))
    return rows


def ablation_row(job: Values, changed: list[str], profile: Path) -> str:
    """Return one setting's idims and ranks under the job's budget."""
    found = read_artifact(IdProfile, profile / IdProfile.FILE)
    config = composed(job)
    name = ", ".join(f"{key}={job[key]}" for key in changed) + (" (budget=auto)" if config.budget == "auto" else "")
    idims = " ".join(f"{layer.idim:.2f}" for layer in found.layers)
    try:
        plan: RankPlan = plan_method(
            found.model_map, {"idim": found}, parse_budget(config.budget), **plan_settings(config)
        )
    except GeloraError as error:
        return f"| {name} | {idims} | {str(error).splitlines()[0]} | |"
    return f"| {name} | {idims} | {' '.join(map(str, plan.ranks))} | {plan.adapter_params:,} |"


def _write(request: Request, name: str, lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    request.output.mkdir(parents=True, exist_ok=True)
    write_atomic(request.output / name, text)
    print(f"\n{text}table: {request.output / name}")
