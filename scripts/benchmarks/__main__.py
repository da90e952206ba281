"""Run the benchmarks one after the other, then write docs/benchmarks.md: what `make benchmarks` does.

    python -m scripts.benchmarks [--only NAME ...]

A pass that was stopped resumes: what it has measured with this code is not measured again, until all of it is done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gelora_cli.core.files import write_atomic
from scripts.benchmarks.measuring import SKIPPED
from scripts.benchmarks.page import ORDER
from scripts.benchmarks.record import ROOT

PROGRESS = ROOT / "runs" / "benchmarks" / "progress.json"
FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Progress:
    """What a pass has measured so far, and the fingerprint of the code that it measured."""

    code: str
    done: tuple[str, ...] = ()


def main() -> int:
    """Run what is left of a pass; return 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of {', '.join(available())}")
    options = parser.parse_args()
    if unknown := set(options.only or ()) - set(available()):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(available())}")
    is_pass = options.only is None
    names = options.only or [name for name in available() if name not in read_progress().done]
    failed = []
    for name in names:
        status = run(name)
        if status not in (0, SKIPPED):
            failed.append(name)
        elif is_pass and status == 0:
            add_progress(name)
    if is_pass and not failed:
        PROGRESS.unlink(missing_ok=True)  # the next pass measures everything again
    subprocess.run([sys.executable, "-m", "scripts.benchmarks.page"], cwd=ROOT, check=True)
    if failed:
        print(f"failed: {', '.join(failed)}; the same command goes on with these", file=sys.stderr)
    return 1 if failed else 0


def available() -> list[str]:
    """Return the names of the benchmarks that have a script, in the order of the page."""
    return [name for name in ORDER if (FOLDER / f"{name}.py").exists()]


def run(name: str) -> int:
    """Run one script in a process of its own, and return its exit code."""
    print(f"\n== {name} ==", flush=True)
    begun = time.monotonic()
    status = subprocess.run([sys.executable, "-m", f"scripts.benchmarks.{name}"], cwd=ROOT, check=False).returncode
    print(f"== {name}: {_outcome(status)} after {time.monotonic() - begun:.0f} s ==", flush=True)
    return status


def _outcome(status: int) -> str:
    if status == 0:
        return "measured"
    return "left out" if status == SKIPPED else f"failed with exit code {status}"


def read_progress(path: Path = PROGRESS) -> Progress:
    """Return what this pass has measured; nothing, if the code has changed since."""
    code = code_fingerprint()
    if path.exists():
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["code"] == code:
            return Progress(code, tuple(values["done"]))
    return Progress(code)


def add_progress(name: str, path: Path = PROGRESS) -> None:
    """Note that a benchmark is measured."""
    progress = read_progress(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(asdict(Progress(progress.code, (*progress.done, name)))) + "\n")


def code_fingerprint(folders: Sequence[Path] = (ROOT / "gelora_cli", FOLDER)) -> str:
    """Return the sha256 of all Python files of the code that is measured and of the benchmarks."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
