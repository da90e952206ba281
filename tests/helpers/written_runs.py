"""Shared by the tests of several packages, first met in test_grid.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gelora_cli.config.files import write_config
from gelora_cli.config.identity import NUMERICS
from gelora_cli.config.schema import MethodConfig, RunConfig, TrainConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import EvalResult, ReloadCheck, RunResult, TrainResult
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.done import mark_done
from gelora_cli.core.environment import utc_now
from tests.helpers.plans import PLAN

EVALUATED = EvalResult("validation", 10, {"accuracy": 0.5}, "accuracy", False, 0.1)


TRAINED = TrainResult(5, 1, 80, 100, {"query": 2}, 90, 1, 1, 0.7, 0.6, 4.0, 0.5, ((EVALUATED,),))


def write_run(
    root: Path, method: str, seed: int, value: float, *, same: bool = False, collapsed: bool = False, rate: float = 0.1
) -> Path:
    """Write a finished run, as far as the table reads it."""
    directory = root / method / f"s{seed}-{rate}"
    directory.mkdir(parents=True)
    method_config, train = MethodConfig.of(method, modules="attention", scaling=32.0), TrainConfig(learning_rate=rate)
    write_config(RunConfig(method=method_config, train=train, seed=seed), directory / run_files.CONFIG)
    now = utc_now()
    ranks = PLAN.ranks if same else tuple(rank + 1 for rank in PLAN.ranks)
    plan: RankPlan = replace(PLAN, method=method, gelora_ranks=ranks)
    result = RunResult(
        task="demo",
        model="minilm",
        method=method,
        budget=plan.budget,
        seed=seed,
        protocol="last",
        selection="",
        reported="accuracy",
        value=value,
        results=(EVALUATED,),
        last_value=value,
        best_value=value,
        best_epoch=1,
        ranks=plan.ranks,
        effective_ranks=plan.rank_pattern,
        adapter_params=plan.adapter_params,
        trained_params=plan.trained_params + 7,
        head_params=2,
        collapsed=collapsed,
        reload_check=ReloadCheck(1, 0.0, 1.0, 2.0, True),
        train=TRAINED,
        profile_seconds=2.0,
        profile_reused=False,
        attach_seconds=0.5,
        train_seconds=4.0 + seed,
    )
    manifest = RunManifest(
        "done", "gelora run", now, now, 1, "h", 1, "cpu", "float32", {}, None, {}, {}, 5_000_000, None, NUMERICS
    )
    for artifact in (plan, result, manifest):
        write_artifact(artifact, directory)
    (directory / run_files.ADAPTER).mkdir()
    for name in (run_files.METRICS, run_files.PREDICTIONS, f"{run_files.ADAPTER}/{run_files.PEFT_WEIGHTS}"):
        (directory / name).write_text("")
    mark_done(directory)
    return directory
