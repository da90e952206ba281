"""Find the methods' presets for minilm: a small grid over learning rates, judged on rows that no report uses.

GeLoRA's learning rates are not published, and the others' are for larger models. Every method has as many trials on a
task as GeLoRA. Of each GLUE task's training rows some are drawn to train on and at most 1,000 others stand in for the
dev set; the real dev set is not looked at. Of rates within 3 of 1,000 rows of the best the lowest becomes the preset.
`task=demo` is judged on its `test` split, its reported split being `validation`. What is done is not done again.

    python scripts/search_presets.py --data DIR --work runs/search --table scripts/presets_minilm.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyarrow import parquet

LEARNING_RATES = {
    "gelora": (5e-5, 1.5e-4, 5e-4),
    "adalora": (1.5e-3, 5e-3, 1.5e-2),
    "sora": (5e-4, 1.5e-3, 5e-3),
    "bitfit": (1e-3, 3e-3, 1e-2),
    "houlsby": (5e-4, 1.5e-3, 5e-3),
    "pfeiffer": (5e-4, 1.5e-3, 5e-3),
    "full": (3e-5, 1e-4, 3e-4),
}
BATCH_SIZE = 16
HELD_OUT = 1_000

Row = Mapping[str, object]


@dataclass(frozen=True)
class Search:
    """One task's grid: training rows (None: all that are generated) and epochs; `best_of`: the best rate at so many."""

    task: str
    rows: int | None
    epochs: int
    best_of: int | None = None


SEARCHES = (
    Search("demo", None, 10),
    Search("cola", 7_551, 6),
    Search("cola", 7_551, 15, best_of=6),  # one more trial, at the best rate of the three, which was still rising
    Search("sst2", 4_000, 3),
    Search("rte", 1_000, 3),
)


def main() -> None:
    """Run what is missing of the grid and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="GLUE in the hub's layout")
    parser.add_argument("--work", type=Path, default=Path("runs/search"), help="where runs and held-out rows go")
    parser.add_argument("--table", type=Path, default=Path("scripts/presets_minilm.csv"), help="rows are added to it")
    parser.add_argument("--tasks", default=",".join(dict.fromkeys(search.task for search in SEARCHES)))
    parser.add_argument("--methods", default=",".join(LEARNING_RATES))
    arguments = parser.parse_args()
    rows: list[Row] = []
    for search in SEARCHES:
        for method in arguments.methods.split(",") if search.task in arguments.tasks.split(",") else ():
            data = hold_out(arguments.data, arguments.work / "data", search)
            for rate in rates(search, method, rows):
                rows.append(trial(search, method, rate, data, arguments.work))
                add_to_table(rows[-1], arguments.table)


def rates(search: Search, method: str, rows: list[Row]) -> tuple[float, ...]:
    """Return the method's grid, or the best of it on this task at `best_of` epochs."""
    if search.best_of is None:
        return LEARNING_RATES[method]
    key = (search.task, method, search.best_of)
    tried = [row for row in rows if (row["task"], row["method"], row["epochs"]) == key]
    best = max(tried, key=lambda row: float(str(row["value"])))
    return (float(str(best["learning_rate"])),)


def hold_out(source: Path, target: Path, search: Search) -> Path:
    """Write a copy of a task's training split in the hub's layout, cut into training and held-out rows."""
    if search.rows is None:
        return target
    table = parquet.read_table(next((source / search.task).glob("train-*.parquet")))
    order = np.random.default_rng(0).permutation(len(table))
    parts = {"train": order[: search.rows], "validation": order[search.rows :][: min(HELD_OUT, len(order) // 4)]}
    (target / search.task).mkdir(parents=True, exist_ok=True)
    for split, chosen in parts.items():
        parquet.write_table(table.take(np.sort(chosen)), target / search.task / f"{split}-00000-of-00001.parquet")
    return target


def trial(search: Search, method: str, rate: float, data: Path, work: Path) -> Row:
    """One run of the product, and its row."""
    overrides = [f"task={search.task}", f"method={method}", "model=minilm", "budget=0.05M"]
    overrides += [f"runs_dir={work / 'runs'}"]
    overrides += [f"train.learning_rate={rate}", f"train.epochs={search.epochs}", f"train.batch_size={BATCH_SIZE}"]
    overrides += ["task.eval_splits=[test]", "task.test_splits=[]"] if search.rows is None else [f"data.glue={data}"]
    done = subprocess.run(
        [sys.executable, "-m", "gelora_cli", "run", *overrides], check=True, stdout=subprocess.PIPE, text=True
    )
    path = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("results:"))
    result = json.loads(Path(path).read_text(encoding="utf-8"))
    values = [evaluations[0]["metrics"][result["reported"]] for evaluations in result["train"]["evaluations"]]
    return {
        "task": search.task,
        "method": method,
        "learning_rate": rate,
        "batch_size": BATCH_SIZE,
        "epochs": search.epochs,
        "rows": search.rows or "all",
        "metric": result["reported"],
        "value": round(result["value"], 4),
        "by_epoch": " ".join(f"{value:.3f}" for value in values),
        "ranks": " ".join(map(str, result["ranks"])),
        "train_seconds": round(result["train_seconds"]),
    }


def add_to_table(row: Row, path: Path) -> None:
    """Put a row into the CSV, in the place of one for the same trial, sorted by task, method, epochs and rate."""
    known: list[Row] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            known = list(csv.DictReader(file))
    found = sorted([*(other for other in known if _trial(other) != _trial(row)), row], key=_trial)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


def _trial(row: Row) -> tuple[str, str, int, float]:
    return str(row["task"]), str(row["method"]), int(str(row["epochs"])), float(str(row["learning_rate"]))


if __name__ == "__main__":
    main()
