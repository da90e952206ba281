"""The options that benchmarks share, and how one ends."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from scripts.benchmarks.measuring import skip
from scripts.benchmarks.record import ROOT, BenchmarkRecord


def benchmark_parser(description: str | None, quick: str) -> argparse.ArgumentParser:
    """Return a parser with `--quick`, whose help says what is left of the measurement then."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{quick}; writes no record")
    return parser


def add_glue(parser: argparse.ArgumentParser) -> None:
    """Add `--glue`, which the environment variable GELORA_DATA gives a default."""
    data = os.environ.get("GELORA_DATA")
    default = Path(data) / "glue" if data else None
    parser.add_argument("--glue", type=Path, default=default, metavar="DIR", help="GLUE in the hub's layout")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, for machines without the package of MiniLM."""
    parser.add_argument("--model", type=Path, metavar="DIR", help="MiniLM's directory; else its package's")


def require_glue(glue: Path | None) -> Path:
    """Return the folder of `--glue`; leave the benchmark out if CoLA is not there."""
    if glue is None or not (glue / "cola").is_dir():
        skip("left out: it needs GLUE in the hub's layout; give --glue DIR or GELORA_DATA")
    return glue


def finish(record: BenchmarkRecord, *, quick: bool) -> None:
    """Write the record and say where; a quick run replaces none."""
    if quick:
        print("nothing written: --quick")
    else:
        print(f"written: {record.write().relative_to(ROOT)}")
