"""The paper's tables and figures, as sweeps of `gelora` and a report beside the published figures.

`plan.yaml` says what each target runs at each scale. First it is said what that will cost and which methods run under
which budget; then every command is shown as anyone can give it, and run. What is done is not done again, so the same
line goes on where it was.

    python -m scripts.reproduce glue --scale smoke [--runs DIR] [--glue DIR] [--squad DIR] [--dry] [OVERRIDE ...]
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gelora_cli.core.errors import StoppedError
from scripts.reproduce.costs import cost_text
from scripts.reproduce.made_questions import write_questions
from scripts.reproduce.plans import plan_tables
from scripts.reproduce.sweeps import (
    SCALES,
    Request,
    Values,
    given_values,
    load_plan,
    made_stand_in,
    override,
    target_sweeps,
)
from scripts.reproduce.tables import PUBLISHED, ablation_table, cost_table, finished, means_table, published_notes
from scripts.reproduce.work import Work
from scripts.script_main import exit_code, handed_to

SCRIPTS = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a target; 0 where every job and the report ended well."""
    plan = load_plan()
    parser = argparse.ArgumentParser(
        prog="python -m scripts.reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=plan["targets"])
    parser.add_argument("--scale", choices=SCALES, default="smoke")
    parser.add_argument("--runs", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--glue", type=Path, help="GLUE in the hub's layout")
    parser.add_argument("--squad", type=Path, help="SQuAD v1.1 in that layout; v2.0 in it, or beside it as squad_v2")
    parser.add_argument("--dry", action="store_true", help="say what it costs and show the commands, run nothing")
    parser.add_argument("overrides", nargs="*", help="such as protocol=split, for every command")
    given = parser.parse_intermixed_args(arguments)

    def work() -> int:
        values = given_values(given.overrides)
        request = Request(given.target, given.scale, given.runs, given.glue, given.squad, values)
        return reproduce(plan, request, dry=given.dry)

    return exit_code("reproduce", work)


def reproduce(plan: Values, request: Request, *, dry: bool) -> int:
    """Say what the target costs, run its sweeps, and end in a report; a sweep that fails does not stop the others."""
    sweeps = target_sweeps(plan, request)
    print(cost_text(plan, request, sweeps), flush=True)
    if dry:
        print("\n".join(f"  gelora {shlex.join(sweep.words({}))}" for sweep in sweeps))
        return 0
    if made_stand_in(request, sweeps):
        write_questions(request.made_squad)
    work = Work()
    with handed_to(work.stop):
        for sweep in sweeps:
            if not work.stopped:
                work.do(sweep)
    if work.stopped:
        print("reproduce: stopped; the same command goes on", file=sys.stderr)
        return StoppedError.exit_code
    finish(request, work)
    failed = "some jobs failed, see above; " if work.code else ""
    print(f"\nreproduce-{request.target}: {failed}{results(request, work)}")
    return work.code


def finish(request: Request, work: Work) -> None:
    """Write the target's own tables and pictures, and the report."""
    if work.found and request.target in FINISH:
        FINISH[request.target][0](request, work)
    for note in published_notes(finished(work)):
        print(f"reproduce: {note}")
    if work.trains:
        report(request, work)


def results(request: Request, work: Work) -> str:
    """Say where the results are; a target that trains nothing has no report."""
    if work.trains:
        return f"report in {request.output}/report.html{beside(request, '; beside it: ')}"
    return beside(request, f"in {request.output}: ")


def beside(request: Request, start: str) -> str:
    """Return the target's own tables and pictures by name after `start`; empty where it has none."""
    return start + FINISH[request.target][1] if request.target in FINISH else ""


def report(request: Request, work: Work) -> None:
    """Report the runs beside the published figures."""
    if not work.runs:
        print("reproduce: no run ended well, so there is no report", file=sys.stderr)
        return
    title = f"reproduce-{request.target}, SCALE={request.scale}{beside(request, '; beside this page: ')}"
    words = [*map(str, work.runs), *map(override, ("output", "published", "title"), (request.output, PUBLISHED, title))]
    work.call("gelora", ("-m", "gelora_cli"), ["report", *words])


def figures(request: Request, work: Work) -> None:
    """Draw figure 3 of the runs before and after intermediate-task tuning, 5 of a run's ranks; 1, 4, the theorems."""
    request.output.mkdir(parents=True, exist_ok=True)
    compared: list[str] = []
    for sweep, paths in work.found:
        if sweep.name is None:
            compared += map(str, paths)
    small = ["--texts", "200", "--probes", "1"] if request.scale == "smoke" else []
    pattern = work.named.get("@pattern")
    draw(work, "figure3.py", [*compared, "--output", str(request.output / "figure3.png")] if compared else None)
    for number, more in {"1": [], "4": [], "theorem": small, "5": ["--run", pattern] if pattern else None}.items():
        words = None if more is None else ["--figure", number, "--output", str(request.output), *more]
        draw(work, "figures.py", words)


def draw(work: Work, script: str, words: Sequence[str] | None) -> None:
    """Draw by one of the scripts beside this one; do nothing where the run that it needs failed."""
    if words is not None:
        work.call(f"python scripts/{script}", [str(SCRIPTS / script)], words)


FINISH: dict[str, tuple[Callable[[Request, Work], None], str]] = {
    "glue": (means_table, "means.md"),
    "figures": (figures, "figure3.png, figure-1, -4, -5 and theorem-3.1, -3.2 (png, svg)"),
    "cost": (cost_table, "cost.md"),
    "ablations": (ablation_table, "ablations.md"),
    "plans": (plan_tables, "plans.md, plans.png"),
}
"""What a target does at its end, and what that leaves beside the report."""


if __name__ == "__main__":
    sys.exit(main())
