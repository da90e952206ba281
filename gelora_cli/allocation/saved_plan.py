"""A plan that a run takes from a file or an earlier run (`ranks.path`); no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gelora_cli.allocation.peft_pattern import plan_beside, rank_pattern_json
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import expand_home


def read_plan(path: str) -> RankPlan:
    """Return the plan in a `ranks.json`, in a run directory, or beside a pattern that `gelora ranks` wrote.

    Raises:
        GeloraError: there is none, or the pattern was changed after the plan beside it was written.
    """
    source = Path(expand_home(path))
    if source.is_dir():
        return read_artifact(RankPlan, source / RankPlan.FILE)
    pattern, plan_file = _read_pattern(source), plan_beside(source)
    if pattern is None and source.suffix != plan_file.suffix and source.is_file() and plan_file.is_file():
        raise GeloraError(f"ranks.path={path} is for another trainer; give the plan beside it, ranks.path={plan_file}")
    if pattern is None:
        return read_artifact(RankPlan, source)
    if not plan_file.exists():
        raise GeloraError(
            f"ranks.path={path} holds only PEFT's arguments, and the plan {plan_file.name}, which gelora ranks writes "
            "beside it, is not there; give that plan, a ranks.json or a run directory"
        )
    plan = read_artifact(RankPlan, plan_file)
    # The plan is used, not the pattern. A changed pattern would otherwise be ignored without a word.
    if pattern != rank_pattern_json(plan):
        raise GeloraError(
            f"ranks.path={path} was changed after {plan_file.name} was written; write both again with gelora ranks"
        )
    return plan


def _read_pattern(path: Path) -> dict[str, Any] | None:
    """Return PEFT's arguments if a file holds them, else None."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and "rank_pattern" in values else None
