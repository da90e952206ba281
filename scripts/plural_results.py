"""Collect the runs of `task=plural` on the toy decoder, and write docs/explanation/plural.md and its picture of them.

With RUNS and OTHERS, run directories go to results/plural.json first. With `--check` nothing is written.

    python -m scripts.plural_results [RUNS OTHERS] [--check]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gelora_cli.config.files import read_config
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import EvalResult, RunResult
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.done import is_done
from gelora_cli.core.files import write_atomic
from gelora_cli.core.run_files import CONFIG, PREDICTIONS
from gelora_cli.core.status import find_runs
from gelora_cli.data.demo_plural import plural_splits
from gelora_cli.plots.style import figure_head, method_style, new_figure, write_figure
from scripts.benchmarks.record import ROOT, describe_machine, library_versions

RECORD = ROOT / "results" / "plural.json"
PAGE = ROOT / "docs" / "explanation" / "plural.md"
PICTURE = ROOT / "docs" / "images" / "plural.png"
METHODS_SHOWN = ("lora", "gelora", "fisher")
COMMAND = (
    "gelora run -m task=plural model.path=runs/toy-decoder method=lora,gelora,fisher seed=0,1,2 budget=rank:8 "
    "precision=float32 runs_dir=RUNS"
)
OTHERS_COMMAND = (
    "gelora run -m task=plural model.path=runs/toy-decoder method=gelora seed=0 budget=rank:8 precision=float32 "
    "train.learning_rate=2e-4,3e-3 method.scaling=2,32 runs_dir=OTHERS"
)
METRICS = {"exact_match": "exact match", "perplexity": "perplexity of the completions"}

TEXT = """\
# A toy that learns the plural

**This is a toy.** It shows that text generation works from end to end, without a download and without a GPU. It says
nothing about published decoders, and nothing about which method is better on them. It was not run on a GPU.

The model is a Llama of 0.4 million parameters that `make toy-decoder` trains in minutes on sentences of the demo's
grammar. The task (`task=plural`) gives it a sentence in the singular. It has to write the same sentence in the plural:

> {prompt}
>
> {completion}

The {examples} evaluated sentences share no noun, verb, adjective or name with the {train_rows} training sentences. The
toy itself has seen all words: what is held out, is held out from fine-tuning only. While it was trained, it has also
seen some sentences beside their plural, so it starts above 0. Of the evaluated pairs it has seen none, and of their
prompts one (counted in `scripts.toy_decoder.make_documents`).

[![{alternative}](../images/plural.png)](../images/plural.png)

{tables}

The column *before* is the value before the first step. Means over {seeds} seeds, with the standard deviation between
seeds. An exact match is a generated text that equals the reference, character by character. Perplexity counts the end
token, and can be compared only between models with the same tokenizer.

{reading}

## Other settings

The settings above are the task's preset, with batches of 16 and adapters on all linears. They were not searched. These
are single runs with other ones, after the last epoch, beside the one of the same method and seed with the preset:

{others}

## Ranks

`fisher` gives each linear layer a rank of its own, `gelora` and `lora` one to each block.

{ranks}

## Again

```bash
make toy-decoder
{command}
{others_command}
python -m scripts.plural_results RUNS OTHERS
```

This page is written by `scripts/plural_results.py` from `results/plural.json`.

*Measured on {measured}: {machine}. {versions}.*
"""


@dataclass(frozen=True, kw_only=True)
class PluralRun:
    """One run.

    Attributes:
        learning_rate: that of the run.
        scaling: alpha / r of its adapters, `method.scaling`.
        ranks: the largest planned rank in each block.
        examples: evaluated sentences.
        values: the metrics before training, then after each epoch.
        wrong: generated texts that are not the reference, after the last epoch.
        one_word: those of them with as many words as the reference, of which one is another.
    """

    method: str
    seed: int
    learning_rate: float
    scaling: float
    ranks: tuple[int, ...]
    adapter_params: int
    examples: int
    train_rows: int
    values: tuple[dict[str, float], ...]
    wrong: int
    one_word: int


@dataclass(frozen=True, kw_only=True)
class PluralRecord:
    """All runs, what they were asked to do, and one row of the task; `others` have other settings than the preset's."""

    command: str
    others_command: str
    prompt: str
    completion: str
    runs: tuple[PluralRun, ...]
    others: tuple[PluralRun, ...]
    machine: str = field(default_factory=describe_machine)
    versions: dict[str, str] = field(default_factory=library_versions)
    measured: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="?", metavar="RUNS", help="a directory of finished runs")
    parser.add_argument("others", type=Path, nargs="?", metavar="OTHERS", help="those with other settings")
    parser.add_argument("--check", action="store_true", help="exit code 1 if the page is not what the record gives")
    arguments = parser.parse_args()
    if arguments.runs:
        if not arguments.others:
            parser.error("RUNS needs OTHERS, the runs with other settings")
        values = asdict(collect(arguments.runs, arguments.others))
        write_atomic(RECORD, json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    record = read_record()
    text = page_text(record)
    if arguments.check:
        return int(PAGE.read_text(encoding="utf-8") != text)
    draw(record, PICTURE)
    write_atomic(PAGE, text)
    print(f"written: {PAGE.relative_to(ROOT)}, of {len(record.runs)} runs")
    return 0


def collect(directory: Path, others: Path) -> PluralRecord:
    """Return the finished runs below a directory, and those with other settings below another one.

    Raises:
        SystemExit: there is none, or one has no values before training.
    """
    runs = _runs_below(directory)
    preset = _settings(runs[0])
    different = [run for run in _runs_below(others) if _settings(run) != preset]
    example = plural_splits()["validation"][0]
    return PluralRecord(
        command=COMMAND,
        others_command=OTHERS_COMMAND,
        prompt=example.singular,
        completion=example.plural,
        runs=tuple(runs),
        others=tuple(sorted(different, key=_settings)),
    )


def _settings(run: PluralRun) -> tuple[float, float]:
    return run.learning_rate, run.scaling


def _runs_below(directory: Path) -> list[PluralRun]:
    finished = [path for path in find_runs(directory) if is_done(path)]
    runs = [_run_of(path) for path in finished if read_artifact(RunResult, path / RunResult.FILE).task == "plural"]
    if not runs:
        raise SystemExit(f"{directory} holds no finished run of task=plural")
    return sorted(runs, key=lambda run: (METHODS_SHOWN.index(run.method), run.seed))


def _run_of(directory: Path) -> PluralRun:
    result = read_artifact(RunResult, directory / RunResult.FILE)
    config = read_config(directory / CONFIG)
    assert config.train.learning_rate is not None  # of a finished run
    evaluations = (result.train.before, *result.train.evaluations)
    if not result.train.before:
        raise SystemExit(f"the run of method={result.method} seed={result.seed} has no values before training")
    rows = map(json.loads, (directory / PREDICTIONS).read_text(encoding="utf-8").splitlines())
    wrong = [row for row in rows if row["prediction"].strip() != row["label"].strip()]
    return PluralRun(
        method=result.method,
        seed=result.seed,
        learning_rate=config.train.learning_rate,
        scaling=read_artifact(RankPlan, directory / RankPlan.FILE).scaling,
        ranks=result.ranks,
        adapter_params=result.adapter_params,
        examples=result.results[0].examples,
        train_rows=result.train.examples // result.train.epochs,
        values=tuple(_shown_values(evaluated[0]) for evaluated in evaluations),
        wrong=len(wrong),
        one_word=sum(differs_in_one_word(row["prediction"], row["label"]) for row in wrong),
    )


def differs_in_one_word(text: str, reference: str) -> bool:
    """Return whether a text has as many words as the reference, and all but one of them."""
    words, right = text.split(), reference.split()
    return len(words) == len(right) and sum(a != b for a, b in zip(words, right, strict=True)) == 1


def _shown_values(result: EvalResult) -> dict[str, float]:
    return {name: result.metrics[name] for name in METRICS}


def read_record() -> PluralRecord:
    """Return what results/plural.json holds."""
    values = json.loads(RECORD.read_text(encoding="utf-8"))
    for name in ("runs", "others"):
        values[name] = tuple(_decode_run(run) for run in values[name])
    return PluralRecord(**values)


def _decode_run(values: dict[str, Any]) -> PluralRun:
    return PluralRun(**values | {"ranks": tuple(values["ranks"]), "values": tuple(values["values"])})


def page_text(record: PluralRecord) -> str:
    """Return the page of a record; equal records give equal bytes."""
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    first = record.runs[0]
    return TEXT.format(
        prompt=record.prompt,
        completion=record.completion,
        examples=first.examples,
        train_rows=f"{first.train_rows:,}",
        alternative=f"Exact match and perplexity of {', '.join(by_method(record))}, by epoch",
        tables="\n".join(_table(record, metric) for metric in METRICS).rstrip(),
        seeds=len(by_method(record)[first.method]),
        reading=_reading(record),
        others=_others(record),
        ranks=_ranks(record),
        command=record.command,
        others_command=record.others_command,
        measured=record.measured,
        machine=record.machine,
        versions=versions,
    )


def by_method(record: PluralRecord) -> dict[str, list[PluralRun]]:
    """Return the runs of each method, in the order of the record."""
    groups: dict[str, list[PluralRun]] = {}
    for run in record.runs:
        groups.setdefault(run.method, []).append(run)
    return groups


def series(runs: Sequence[PluralRun], metric: str) -> list[list[float]]:
    """Return the values of all seeds before training and after each epoch."""
    moments: list[list[float]] = []
    for results in zip(*(run.values for run in runs), strict=True):
        moments.append([values[metric] for values in results])
    return moments


def _table(record: PluralRecord, metric: str) -> str:
    """Return mean and standard deviation of a metric, with a row for each method."""
    epochs = [f"epoch {epoch}" for epoch in range(1, len(record.runs[0].values))]
    lines = [f"| {METRICS[metric]} | before | {' | '.join(epochs)} |", "|---|" + "---|" * (len(epochs) + 1)]
    for method, runs in by_method(record).items():
        cells = [_mean_and_sd(values) for values in series(runs, metric)]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mean_and_sd(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def _reading(record: PluralRecord) -> str:
    """Return what the table of exact matches says, in words."""
    at_end = {method: series(runs, "exact_match")[-1] for method, runs in by_method(record).items()}
    before = [run.values[0]["exact_match"] for run in record.runs]
    after = [run.values[-1]["exact_match"] for run in record.runs]
    means = [statistics.mean(values) for values in at_end.values()]
    spread = max(max(values) - min(values) for values in at_end.values())
    wrong, one_word = sum(run.wrong for run in record.runs), sum(run.one_word for run in record.runs)
    distance = max(means) - min(means)
    return f"""\
All runs begin at an exact match of {_range(before)} and end at {_range(after)}. At the end the means of the
methods lie within {distance:.3f} of each other, and the seeds of one method within {spread:.3f}. So this says
nothing about which method is better. Of the {wrong:,} wrong texts of all runs {one_word:,} differ from the
reference in one word."""


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3f}", f"{max(values):.3f}"
    return low if low == high else f"{low} to {high}"


def _others(record: PluralRecord) -> str:
    """Return a row for each run with other settings and the one beside them, and what the largest product did."""
    first = record.others[0]
    same = [run for run in record.runs if (run.method, run.seed) == (first.method, first.seed)]
    lines = [
        "| `train.learning_rate` | `method.scaling` | product | exact match | perplexity |",
        "|---|---|---|---|---|",
    ]
    runs = sorted([*record.others, *same], key=_product)
    for run in runs:
        values = run.values[-1]
        cells = [f"{run.learning_rate:g}", f"{run.scaling:g}", f"{_product(run):g}"]
        preset = " (preset)" if run in same else ""
        cells += [f"{values['exact_match']:.3f}", f"{values['perplexity']:.3f}"]
        lines.append(f"| {cells[0]}{preset} | {' | '.join(cells[1:])} |")
    best = max(runs, key=lambda run: run.values[-1]["exact_match"])
    largest = runs[-1]
    before, after = (largest.values[moment]["perplexity"] for moment in (0, -1))
    return "\n".join(lines) + (
        f"\n\nAll are of `method={first.method} seed={first.seed}`. The best of these single runs has a product of "
        f"{_product(best):g}.\nWith the largest product, perplexity on the held-out words goes from {before:.3f} to "
        f"{after:.3f}."
    )


def _product(run: PluralRun) -> float:
    return run.learning_rate * run.scaling


def _ranks(record: PluralRecord) -> str:
    """Return the planned ranks of each run."""
    lines = ["| method | seed | largest rank of each block | adapter parameters |", "|---|---|---|---|"]
    for run in record.runs:
        ranks = " ".join(map(str, run.ranks))
        lines.append(f"| `{run.method}` | {run.seed} | {ranks} | {run.adapter_params:,} |")
    return "\n".join(lines)


def draw(record: PluralRecord, path: Path) -> None:
    """Draw both metrics over the epochs: the mean of each method, and a thin line for each seed."""
    figure, panels = new_figure(3.8, (1,), columns=2)
    for axis, (metric, name) in zip(panels, METRICS.items(), strict=True):
        for method, runs in by_method(record).items():
            style = method_style(method)
            epochs = range(len(runs[0].values))
            axis.plot(epochs, [statistics.mean(v) for v in series(runs, metric)], label=method, **style)
            for run in runs:
                axis.plot(epochs, [v[metric] for v in run.values], color=style["color"], linewidth=0.5, alpha=0.6)
        axis.set_xticks(range(len(record.runs[0].values)))
        axis.set_xlabel("epoch (0: before training)")
        axis.set_ylabel(name)
    panels[0].set_ylim(0, 1)
    figure_head(
        figure, "A toy learns the plural", "held-out words; the mean of the seeds, each seed thin", legend_of=panels[0]
    )
    write_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
