"""A plan that a run takes over from a file or an earlier run (`ranks.path`); no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gelora_cli.allocation.peft_pattern import plan_beside, rank_pattern_json
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError


def read_plan(path: str) -> RankPlan:
    """Return the plan in a `ranks.json`, in a run directory, or beside a pattern that `gelora ranks` wrote.

    Raises:
        GeloraError: there is none, or the pattern is not that of the plan beside it.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        return read_artifact(RankPlan, place / RankPlan.FILE)
    pattern = _pattern_in(place)
    if pattern is None:
        return read_artifact(RankPlan, place)
    beside = plan_beside(place)
    if not beside.exists():
        raise GeloraError(
            f"ranks.path={path} holds PEFT's arguments alone, and the plan {beside.name} that gelora ranks writes "
            "beside it is not there; give that plan, a ranks.json or a run directory"
        )
    plan = read_artifact(RankPlan, beside)
    if pattern != rank_pattern_json(plan):
        raise GeloraError(
            f"ranks.path={path} was changed since {beside.name} was written; write it again: gelora ranks"
        )
    return plan


def _pattern_in(path: Path) -> dict[str, Any] | None:
    """Return PEFT's arguments from a file that holds them; None from any other."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "rank_pattern" in found else None
