"""Pictures over many runs: a function for each kind, in `PLOTS`; no torch, readable in grey."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import mean
from typing import TYPE_CHECKING, Any, TypeVar

from gelora_cli.allocation.layer_checks import weak_layers
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.registries import METHODS
from gelora_cli.plots.style import DARK, DPI, INK, LIGHT, as_written, new_figure, number_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gelora_cli.report.rows import Row
    from gelora_cli.report.runs import Run

MOST_LINES, MOST_PANELS, MOST_NUMBERS, MOST_POINTS = 6, 12, 16, 60
COLOURS = ("#1f3a5f", "#c1440e", "#2e7d5b", "#8a6d00", "#7b3f91", "#0f7c9c")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*", "h")
LINES = ("-", "--", ":", "-.", (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1)))
FILLS = ("full", "none", "left", "right")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Picture:
    """A figure with the name of its files, a title, and what is to be seen in it, in words."""

    name: str
    title: str
    caption: str
    figure: Figure

    def png(self) -> bytes:
        """As PNG; equal figures give equal bytes."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        return buffer.getvalue()

    def svg(self) -> bytes:
        """As SVG, its letters as paths, so that it looks the same everywhere; equal figures give equal bytes."""
        from matplotlib import rc_context

        buffer = io.BytesIO()
        with rc_context({"svg.hashsalt": self.name}):
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()


def pictures(rows: Sequence[Row]) -> Iterator[Picture]:
    """Every picture that these rows have data for."""
    for plot in PLOTS:
        yield from plot(rows)


def idim_pictures(rows: Sequence[Row]) -> Iterator[Picture]:
    """Idim per layer with 95 % intervals, tasks and models over each other, at most `MOST_LINES` in one."""
    profiles = _profiles([run for row in rows for run in row.runs])
    for number, part in enumerate(_chunks(list(profiles.items()), MOST_LINES), start=1):
        figure, (axis,) = new_figure(height_inches=4.6, panels=(1,))
        for place, (label, profile) in enumerate(part):
            shift = (place - (len(part) - 1) / 2) * 0.09
            _idim_line(axis, profile, label, place, shift)
        _axes(axis, "layer (0 = input of block 1, i = output of block i)", "intrinsic dimension")
        axis.set_ylim(bottom=0)
        number_ticks(axis, range(max(len(profile.layers) for _, profile in part)))
        origin = "bars: 95 % interval of each layer"
        if any(weak_layers(profile.layers) for _, profile in part):
            origin += "; crosses: constant, mostly duplicates, or far fewer points than beside it"
        _titled(figure, "Intrinsic dimension of the hidden states (TwoNN)", origin)
        names = ", ".join(label for label, _ in part)
        yield Picture(f"idim-{number}", "Intrinsic dimension per layer", f"Idim per layer of {names}.", figure)


def rank_pictures(rows: Sequence[Row]) -> Iterator[Picture]:
    """Rank of each block at the end, a panel per method: the mean over modules and seeds, a bar from least to most."""
    for number, (title, members) in enumerate(_groups(row for row in rows if _has_ranks(row)), start=1):
        for part, chunk in enumerate(_chunks(members, MOST_PANELS)):
            figure, axes = new_figure(height_inches=1.3 + 0.95 * len(chunk), panels=(1,) * len(chunk))
            highest = max(most for row in chunk for _, _, most in _block_ranks(row))
            for axis, row in zip(axes, chunk, strict=True):
                _rank_panel(axis, row, highest)
            axes[-1].tick_params(labelbottom=True)
            axes[-1].set_xlabel("block")
            _titled(
                figure, "LoRA rank of each block", f"{title}; a bar from the least to the most of modules and seeds"
            )
            name = f"ranks-{number}" + (f"-{part + 1}" if part else "")
            seen = ", ".join(row.name for row in chunk)
            yield Picture(name, f"Ranks: {title}", f"Rank at the end of training per block, of {seen}.", figure)


def value_pictures(rows: Sequence[Row]) -> Iterator[Picture]:
    """The reported value against the adapter's parameters on a log axis, budgets of a method joined.

    Beside it, where no row hides another of like cost: each row in a place of its own, mean with sd.
    """
    keys = dict.fromkeys((row.task, row.model, row.protocol, row.metric) for row in rows)
    for number, key in enumerate(keys, start=1):
        members = [row for row in rows if (row.task, row.model, row.protocol, row.metric) == key]
        figure, (left, right) = new_figure(height_inches=4.8, panels=(1,), columns=2)
        right.sharey(left)
        slots = {id(row): slot for slot, row in enumerate(sorted(members, key=_cost), start=1)}
        for (name, style), same in _by_name(members).items():
            _value_line(left, name, dict(style), same)
            _value_bars(right, name, dict(style), same, slots)
        _parameter_axis(left, [_cost(row) for row in members])
        _axes(left, "parameters of the adapter, log scale", _metric_name(members[0]), legend=False)
        _axes(right, "rows in the order of their parameters", "")
        right.tick_params(bottom=False, labelbottom=False, labelleft=False)
        title = f"{key[0]}, {key[1]}, protocol {key[2]}"
        _titled(figure, "Value against parameters", f"{title}; means; bars at the right: one sd to each side")
        yield Picture(f"value-{number}", f"Value and cost: {title}", f"{_metric_name(members[0])} of each row.", figure)


def curve_pictures(rows: Sequence[Row]) -> Iterator[Picture]:
    """Training loss, and the reported metric at each evaluation, as means over seeds; uniform LoRA in each picture."""
    for number, (title, members) in enumerate(_groups(rows), start=1):
        reference = [row for row in members if row.method == "lora"][:1]
        others, looks = [row for row in members if row not in reference], _looks(members)
        for part, chunk in enumerate(_chunks(others, MOST_LINES - len(reference)) or [[]]):
            figure, (top, bottom) = new_figure(height_inches=6.4, panels=(1, 1))
            for row in [*reference, *chunk]:
                _curve(top, row, looks[id(row)], _losses(row), every=0.12)
                _curve(bottom, row, looks[id(row)], _evaluations(row), every=1)
            _axes(top, "", "training loss", legend=True)
            _axes(bottom, "optimizer step", _metric_name(members[0]), legend=False)
            _titled(figure, "Training", f"{title}; means over seeds")
            name = f"curves-{number}" + (f"-{part + 1}" if part else "")
            seen = ", ".join(row.name for row in [*reference, *chunk])
            yield Picture(name, f"Training: {title}", f"Loss and {members[0].metric} over steps, of {seen}.", figure)


def course_pictures(rows: Sequence[Row]) -> Iterator[Picture]:
    """How the ranks of AdaLoRA and SoRA move: the adapter's parameters, and each block's mean rank over the steps."""
    moving = [row for row in rows if _course(row.runs[0])]
    for number, (title, members) in enumerate(_groups(moving), start=1):
        panels = (2, *(2 for _ in members))
        figure, axes = new_figure(height_inches=1.2 + 1.9 * len(panels), panels=panels)
        looks, last = _looks(members), max(_course(row.runs[0])[-1][0] for row in members)
        for row in members:
            _curve(axes[0], row, looks[id(row)], _adapter_params(row), every=0.12)
        if members[0].budget_params:
            axes[0].axhline(members[0].budget_params, color=INK, linewidth=1, linestyle=(0, (1, 1)), label="budget")
        _axes(axes[0], "", "adapter parameters")
        axes[0].margins(y=0.1)
        axes[0].set(ylim=(0, None), xlim=(-0.02 * last, 1.02 * last))
        axes[0].yaxis.set_major_formatter("{x:,.0f}")
        for axis, row in zip(axes[1:], members, strict=True):
            _heat(figure, axis, row)
        axes[-1].set_xlabel("optimizer step")
        _titled(figure, "Ranks over time", f"{title}; blocks: seed {members[0].runs[0].result.seed}, darker is higher")
        seen = ", ".join(row.name for row in members)
        caption = f"Adapter parameters (mean over seeds) and mean rank of each block's modules, of {seen}."
        yield Picture(f"course-{number}", f"Ranks over time: {title}", caption, figure)


PLOTS: tuple[Callable[[Sequence[Row]], Iterator[Picture]], ...] = (
    value_pictures,
    idim_pictures,
    rank_pictures,
    curve_pictures,
    course_pictures,
)
"""A kind of picture is a function of the rows; it yields none where they have no data for it."""


def _profiles(runs: Sequence[Run]) -> dict[str, IdProfile]:
    """The different profiles, named by task and by what else differs among them."""
    found: dict[tuple[Any, ...], tuple[dict[str, str], IdProfile]] = {}
    for run in runs:
        profile = run.profile()
        if profile is not None:
            start = dict(run.settings).get("init_from", "the base model")
            said = {"task": profile.task, "model": run.result.model, "from": start}
            said |= {key: str(value) for key, value in asdict(profile.settings).items()}
            said["text"] = profile.data_fingerprint[:6]
            found.setdefault((*said.values(), profile.model_fingerprint), (said, profile))
    differs = ("model", "from", "pooling", "estimator", "discard", "max_examples", "seed", "text")
    shown = [key for key in differs if _varies(key, [said for said, _ in found.values()])]
    labels = {}
    for said, profile in found.values():
        label = ", ".join([said["task"], *(said[key] if key == "model" else f"{key} {said[key]}" for key in shown)])
        labels[label if label not in labels else f"{label}, {profile.model_fingerprint[:6]}"] = profile
    return labels


def _varies(key: str, said: Sequence[dict[str, str]]) -> bool:
    """Whether a key tells profiles of one task apart (a model: any)."""
    if key == "model":
        return len({each[key] for each in said}) > 1
    by_task = defaultdict(set)
    for each in said:
        by_task[each["task"], each["model"]].add(each[key])
    return any(len(values) > 1 for values in by_task.values())


def _idim_line(axis: Axes, profile: IdProfile, label: str, place: int, shift: float) -> None:
    layers = [row.layer + shift for row in profile.layers]
    idims = [row.idim for row in profile.layers]
    ends = [[row.idim - row.low for row in profile.layers], [row.high - row.idim for row in profile.layers]]
    ends = [[max(0.0, end) for end in side] for side in ends]
    look: dict[str, Any] = {"color": COLOURS[place], "marker": MARKERS[place], "linestyle": LINES[place]}
    axis.errorbar(layers, idims, yerr=ends, label=label, markersize=5, capsize=2.5, linewidth=1.4, **look)
    weak = {found.layer for found in weak_layers(profile.layers)}
    marked = [(x, y) for x, y, row in zip(layers, idims, profile.layers, strict=True) if row.layer in weak]
    if marked:
        axis.plot(*zip(*marked, strict=True), "x", color=INK, markersize=9, linestyle="none", clip_on=False, zorder=4)


def _groups(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """Rows of equal task, model, budget, protocol and metric, under a title in words."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        budget = "exempt from budgets" if row.exempt else f"budget {row.budget}"
        title = f"{row.task}, {row.model}, {budget}, protocol {row.protocol}"
        found.setdefault((title, row.metric), []).append(row)
    return [(title, members) for (title, _), members in found.items()]


def _has_ranks(row: Row) -> bool:
    plan = row.runs[0].plan
    return bool(plan.blocks) and plan.unit != "bottleneck"


def _block_ranks(row: Row) -> list[tuple[float, int, int]]:
    """Of each block the mean, the least and the most of its modules' ranks at the end, over seeds."""
    found = []
    for index, block in enumerate(row.runs[0].plan.blocks):
        ranks = [
            run.result.effective_ranks.get(name, 0)
            for run in row.runs
            for name in run.plan.blocks[index].modules or block.modules
        ]
        found.append((mean(ranks), min(ranks), max(ranks)) if ranks else (0.0, 0, 0))
    return found


def _rank_panel(axis: Axes, row: Row, highest: int) -> None:
    ranks = _block_ranks(row)
    blocks = list(range(1, len(ranks) + 1))
    axis.bar(blocks, [middle for middle, _, _ in ranks], color=LIGHT, edgecolor=DARK, linewidth=0.8, width=0.7)
    for block, (middle, least, most) in zip(blocks, ranks, strict=True):
        if least < most:
            axis.vlines(block, least, most, color=INK, linewidth=1.2)
        if len(blocks) <= MOST_NUMBERS:
            text = f"{middle:.1f}".removesuffix(".0")
            axis.annotate(text, (block - 0.3, 0), (0, 3), textcoords="offset points", fontsize=8, ha="left")
    axis.set_ylim(0, 1.12 * highest)
    axis.set_ylabel("rank")
    _name_panel(axis, row)
    axis.tick_params(labelbottom=False)
    axis.locator_params(axis="y", nbins=3, integer=True)
    number_ticks(axis, blocks)


def _by_name(rows: Sequence[Row]) -> dict[tuple[str, tuple[tuple[str, Any], ...]], list[Row]]:
    """Rows of one method and settings over budgets, with their look."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.name + (" (exempt)" if row.exempt else ""), []).append(row)
    seen: dict[str, int] = defaultdict(int)
    styled = {}
    for name, members in found.items():
        method = members[0].method
        styled[name, tuple(_look(method, seen[method]).items())] = members
        seen[method] += 1
    return styled


def _looks(rows: Sequence[Row]) -> dict[int, dict[str, Any]]:
    """The look of each row (by `id`), of which a method may have several."""
    seen: dict[str, int] = defaultdict(int)
    looks = {}
    for row in rows:
        looks[id(row)] = _look(row.method, seen[row.method])
        seen[row.method] += 1
    return looks


def _look(method: str, again: int = 0) -> dict[str, Any]:
    """Colour, marker and line of a method, the same in every picture; another fill and line where it comes again."""
    place = METHODS.place(method)
    fill = FILLS[again % len(FILLS)]
    look = {"color": COLOURS[place % len(COLOURS)], "linestyle": LINES[(place + place // 6 + again) % len(LINES)]}
    return {**look, "marker": MARKERS[place % len(MARKERS)], "fillstyle": fill}


def _cost(row: Row) -> int:
    """The adapter's parameters, as a log axis takes them."""
    return max(row.adapter_params, 1)


def _parameter_axis(axis: Axes, params: Sequence[int]) -> None:
    """A log axis around these, with ticks written as budgets are: 0.3M."""
    from matplotlib.ticker import LogLocator

    axis.set_xscale("log")
    axis.set_xlim(min(params) / 1.6, 1.6 * max(params))
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g}M")
    axis.xaxis.set_minor_formatter("")


def _value_line(axis: Axes, name: str, look: dict[str, Any], rows: Sequence[Row]) -> None:
    ordered = sorted(rows, key=_cost)
    costs, means = [_cost(row) for row in ordered], [row.mean for row in ordered]
    axis.plot(costs, means, label=name, markersize=7, linewidth=1.2, **look)


def _value_bars(axis: Axes, name: str, look: dict[str, Any], rows: Sequence[Row], slots: dict[int, int]) -> None:
    """Mean and sd of each row, at its slot by `id`."""
    bars = [row.sd or 0.0 for row in rows]
    single = " (one seed)" if all(len(row.runs) == 1 for row in rows) else ""
    axis.errorbar(
        [slots[id(row)] for row in rows],
        [row.mean for row in rows],
        yerr=bars if any(bars) else None,
        label=name + single,
        markersize=7,
        capsize=3,
        **{**look, "linestyle": "none"},
    )


Points = list[tuple[int, float]]


def _losses(row: Row) -> Points:
    return _thinned(
        _mean_points([[(line["step"], line["loss"]) for line in lines if "loss" in line] for lines in _lines(row)])
    )


def _thinned(points: Points) -> Points:
    """At most `MOST_POINTS`: each the mean over neighbouring steps, at the last of them."""
    width = -(-len(points) // MOST_POINTS) or 1
    return [(part[-1][0], mean(value for _, value in part)) for part in _chunks(points, width)]


def _evaluations(row: Row) -> Points:
    """The reported metric on the reported split at each evaluation."""
    split, metric = row.runs[0].result.results[0].split, row.metric
    return _mean_points(
        [[(line["step"], line[metric]) for line in lines if line.get("split") == split] for lines in _lines(row)]
    )


def _adapter_params(row: Row) -> Points:
    """Over the steps, from what is trained at the start."""
    return _mean_points([[(step, params) for step, params, _ in _course(run)] for run in row.runs])


def _lines(row: Row) -> list[list[dict[str, Any]]]:
    return [run.metric_lines() for run in row.runs]


def _mean_points(courses: Sequence[Points]) -> Points:
    """The mean over seeds at every step that all of them have."""
    by_step: dict[int, list[float]] = defaultdict(list)
    for course in courses:
        for step, value in dict(course).items():
            by_step[step].append(value)
    return sorted((step, mean(values)) for step, values in by_step.items() if len(values) == len(courses))


def _curve(axis: Axes, row: Row, look: dict[str, Any], points: Points, every: float) -> None:
    """A line with markers at every so many points, or at that share of the line."""
    if points:
        axis.plot(*zip(*points, strict=True), label=row.name, markevery=every, markersize=5, linewidth=1.3, **look)


def _course(run: Run) -> list[tuple[int, int, list[int]]]:
    """Step, adapter parameters and the modules' ranks, at the start and where a run logged them, if it did."""
    if run.result.method not in ("adalora", "sora"):
        return []
    lines = [line for line in run.metric_lines() if "ranks" in line]
    start = [(0, run.result.trained_params, [block.rank for block in run.plan.blocks for _ in block.modules])]
    return [*start, *((line["step"], line["adapter_params"], line["ranks"]) for line in lines)] if lines else []


def _heat(figure: Figure, axis: Axes, row: Row) -> None:
    """Steps to the right, blocks upwards, the mean rank of a block's modules as shade, each around its step."""
    course, blocks = _course(row.runs[0]), row.runs[0].plan.blocks
    starts = [0]
    for block in blocks:
        starts.append(starts[-1] + len(block.modules))
    shades = [
        [mean(ranks[low:high]) if high > low else 0.0 for _, _, ranks in course] for low, high in pairwise(starts)
    ]
    steps = [step for step, _, _ in course]
    edges = [steps[0], *((one + next_one) / 2 for one, next_one in pairwise(steps)), steps[-1]]
    rows = [number + 0.5 for number in range(len(blocks) + 1)]
    mesh = axis.pcolormesh(edges, rows, shades, cmap="Blues", vmin=0, rasterized=True)
    figure.colorbar(mesh, ax=axis, label="mean rank", pad=0.01)
    axis.grid(visible=False)
    axis.set_ylabel("block")
    _name_panel(axis, row)
    axis.locator_params(axis="y", nbins=6, integer=True)


def _name_panel(axis: Axes, row: Row) -> None:
    as_written([axis.set_title(row.name, loc="left", fontsize=9, color=INK, pad=3)])


def _metric_name(row: Row) -> str:
    metric = row.metric.replace("_", " ")
    return f"{metric} (0 to 100)" if row.digits == 2 else metric


def _axes(axis: Axes, x: str, y: str, *, legend: bool = True) -> None:
    """Names of the axes, and a legend at the right, outside."""
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    if legend:
        box: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
        as_written(axis.legend(frameon=False, fontsize=9, handlelength=3.2, **box).get_texts())


def _titled(figure: Figure, title: str, subtitle: str) -> None:
    head = figure.suptitle(f"{title}\n", x=0.012, ha="left", fontsize=13, fontweight="bold", color=INK)
    head.set_parse_math(False)
    place = figure.axes[0].annotate(
        subtitle,
        (0.012, 0.985),
        xycoords="figure fraction",
        xytext=(0, -24),
        textcoords="offset points",
        fontsize=9,
        color=INK,
        annotation_clip=False,
    )
    place.set_parse_math(False)
    place.set_in_layout(False)


def _chunks(items: Sequence[Item], size: int) -> list[list[Item]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
