"""Draw what a run does in one picture: profile, ranks, fine-tuning (`docs/images/overview.png`).

    python -m scripts.overview GELORA UNIFORM docs/images/overview.png

GELORA and UNIFORM are finished runs of `gelora run experiment=demo`, the second with method=lora.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.run_files import METRICS

BLUE, GREY, ORANGE = "#1f4e79", "#b0b7bf", "#c8501e"


def main(run: Path, uniform: Path, output: Path) -> None:
    """Draw the three stages of a run, left to right, the last one beside uniform ranks."""
    profile = read_artifact(IdProfile, run / IdProfile.FILE)
    plan = read_artifact(RankPlan, run / RankPlan.FILE)
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    draw_profile(left, profile)
    draw_ranks(middle, plan)
    draw_training(right, run, uniform)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=160)


def draw_profile(axes: Axes, profile: IdProfile) -> None:
    """Draw the idim of every layer with its 95 % interval, and mark the blocks in which it grows."""
    layers = [row.layer for row in profile.layers]
    idims = [row.idim for row in profile.layers]
    axes.fill_between(layers, [row.low for row in profile.layers], [row.high for row in profile.layers], color=GREY)
    axes.plot(layers, idims, "o-", color=BLUE, zorder=3)
    for before, after in zip(profile.layers, profile.layers[1:], strict=False):
        if after.idim - before.idim > 0.1:
            axes.plot([before.layer, after.layer], [before.idim, after.idim], color=ORANGE, linewidth=4, zorder=2)
    axes.set(title="1. Measure: where do texts gain directions?", xlabel="layer", ylabel="intrinsic dimension")


def draw_ranks(axes: Axes, plan: RankPlan) -> None:
    """Draw each block's rank beside the uniform one under the same budget."""
    blocks = range(1, len(plan.ranks) + 1)
    axes.bar([block - 0.2 for block in blocks], plan.ranks, 0.4, color=ORANGE, label="GeLoRA")
    axes.bar([block + 0.2 for block in blocks], plan.uniform_ranks, 0.4, color=GREY, label="uniform")
    axes.set(title=f"2. Assign: {plan.adapter_params:,} parameters", xlabel="block", ylabel="LoRA rank")
    axes.legend(frameon=False)


def draw_training(axes: Axes, run: Path, uniform: Path) -> None:
    """Draw the reported value of both runs after every epoch."""
    for directory, color, label in ((run, ORANGE, "GeLoRA"), (uniform, GREY, "uniform")):
        values = values_by_epoch(directory)
        axes.plot(range(1, len(values) + 1), values, "o-", color=color, label=label)
    axes.set(title="3. Fine-tune, and compare", xlabel="epoch", ylabel="MCC on held-out sentences", ylim=(0, 1))
    axes.legend(frameon=False)


def values_by_epoch(run: Path) -> list[float]:
    """Return the reported value of every evaluation of a run."""
    reported = read_artifact(RunResult, run / RunResult.FILE).reported
    lines = map(json.loads, (run / METRICS).read_text(encoding="utf-8").splitlines())
    return [line[reported] for line in lines if reported in line]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
