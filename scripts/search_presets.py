"""Find GeLoRA's presets for minilm: a small grid over learning rates, judged on rows that no report uses.

GeLoRA's learning rates are not published. Of each GLUE task's training rows some are drawn to train on and at most
1,000 others stand in for the dev set; the real dev set is not looked at. `task=demo` is judged on its `test` split, its
reported split being `validation`. A trial that is done is not done again.

    python scripts/search_presets.py --data DIR --work runs/search --table scripts/presets_minilm.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyarrow import parquet

LEARNING_RATES = (5e-5, 1.5e-4, 5e-4)
BATCH_SIZE = 16
HELD_OUT = 1_000


@dataclass(frozen=True)
class Search:
    """One task's grid: training rows (None: all that the generator makes) and epochs."""

    task: str
    rows: int | None
    epochs: int
    rates: tuple[float, ...] = LEARNING_RATES


SEARCHES = (
    Search("demo", None, 10),
    Search("cola", 7_551, 6),
    Search("cola", 7_551, 15, rates=(1.5e-4,)),  # of the three the only one that learns in six epochs, and still rising
    Search("sst2", 4_000, 3),
    Search("rte", 1_000, 3),
)


def main() -> None:
    """Run what is missing of the grid and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="GLUE in the hub's layout")
    parser.add_argument("--work", type=Path, default=Path("runs/search"), help="where runs and held-out rows go")
    parser.add_argument("--table", type=Path, default=Path("scripts/presets_minilm.csv"))
    parser.add_argument("--tasks", default=",".join(search.task for search in SEARCHES))
    arguments = parser.parse_args()
    rows = []
    for search in SEARCHES:
        if search.task in arguments.tasks.split(","):
            data = hold_out(arguments.data, arguments.work / "data", search)
            rows += [trial(search, rate, data, arguments.work) for rate in search.rates]
            write_table(rows, arguments.table)


def hold_out(source: Path, target: Path, search: Search) -> Path:
    """A copy of a task's training split in the hub's layout, cut into training and held-out rows."""
    if search.rows is None:
        return target
    table = parquet.read_table(next((source / search.task).glob("train-*.parquet")))
    order = np.random.default_rng(0).permutation(len(table))
    parts = {"train": order[: search.rows], "validation": order[search.rows :][: min(HELD_OUT, len(order) // 4)]}
    (target / search.task).mkdir(parents=True, exist_ok=True)
    for split, chosen in parts.items():
        parquet.write_table(table.take(np.sort(chosen)), target / search.task / f"{split}-00000-of-00001.parquet")
    return target


def trial(search: Search, rate: float, data: Path, work: Path) -> dict[str, object]:
    """One run of the product, and its row."""
    overrides = [f"task={search.task}", "model=minilm", "budget=0.05M", f"runs_dir={work / 'runs'}"]
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


def write_table(rows: list[dict[str, object]], path: Path) -> None:
    """The table so far, as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
