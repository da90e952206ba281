"""The operations of a whole training, from the rows of its batches, against torch's count of every step."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gelora_cli.config.schema import RunConfig, TrainConfig
from gelora_cli.core.artifacts.result import RunCosts, RunResult, TrainResult
from gelora_cli.core.codec import from_json, read_artifact, to_json
from gelora_cli.models.shapes import read_shapes
from gelora_cli.pipeline.costs import run_costs, training_operations
from gelora_cli.pipeline.session import Session
from tests.helpers.rivals import Case, case, tune
from tests.helpers.train_settings import SETTINGS
from tests.helpers.written_runs import TRAINED, write_run

STEPS: dict[str, Any] = {"batch_size": 40, "epochs": 2, "max_steps": 3}
"""The third step is in the second epoch; the second of each has 24 rows."""


def session_of(found: Case, micro: int | None, processes: int = 1) -> Session:
    """Return what the costs of a run need of its session."""
    train = TrainConfig(micro_batch_size=micro, learning_rate=0.01, warmup_ratio=0.1, **STEPS)
    config = RunConfig(method=found.request.settings, train=train, seed=0)
    config = replace(config, launch=replace(config.launch, processes=processes))
    parts = SimpleNamespace(
        config=config,
        loaded=found.loaded,
        shapes=read_shapes(found.loaded.model, found.loaded.map),
        accelerator=SimpleNamespace(num_processes=1),
        loss=SETTINGS.loss,
    )
    return cast("Session", parts)


def test_a_training_costs_what_torch_counts(tiny_models: dict[str, Path]) -> None:
    micro = 30
    found = case(tiny_models["bert"], "adalora")
    expected = training_operations(session_of(found, micro), found.request.plan, found.train)
    attached = found.attach()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        tune(found, attached, micro_batch_size=micro, **STEPS)
    assert expected == pytest.approx(counter.get_total_flops(), rel=0.002)


def test_processes_share_the_work_and_pad_less(tiny_models: dict[str, Path]) -> None:
    found = case(tiny_models["bert"], "lora")
    one, two = (
        training_operations(session_of(found, None, processes), found.request.plan, found.train) for processes in (1, 2)
    )
    assert 0.8 * one < two <= one


@pytest.mark.parametrize(
    ("method", "changes", "costs"),
    [
        ("lora", {}, {"inference_params": 90, "mergeable": True, "largest_rank": 2}),
        ("lora", {"rank_factor": 2, "fixed_params": 10}, {"inference_params": 170, "largest_rank": 4}),
        ("pfeiffer", {}, {"inference_params": 90, "mergeable": False, "largest_rank": None}),
        ("bitfit", {}, {"inference_params": 0, "mergeable": True, "largest_rank": None}),
    ],
)
def test_what_an_adapter_takes_once_it_is_used(
    tiny_models: dict[str, Path], method: str, changes: dict[str, Any], costs: dict[str, int]
) -> None:
    found = case(tiny_models["bert"], method)
    plan = replace(found.request.plan, **changes)
    trained: TrainResult = replace(TRAINED, adapter_params=plan.adapter_params if method == "bitfit" else 90)
    session = session_of(found, None)
    known = run_costs(session, plan, found.train, trained, signal_flops=None, attach_flops=5)
    assert {name: getattr(known, name) for name in costs} == costs
    assert known.allocation_flops is None, "a signal has no count"
    assert replace(known, signal_flops=7).allocation_flops == 12


def test_a_result_written_before_there_were_costs_is_read(tmp_path: Path) -> None:
    result = read_artifact(RunResult, write_run(tmp_path, "lora", 0, 0.5) / RunResult.FILE)
    values = json.loads(to_json(result))
    del values["costs"], values["sha256"]
    assert from_json(RunResult, json.dumps(values), "an old result").costs is None
    costs = RunCosts(1, 2, 3, 4, True, None)
    assert from_json(RunResult, to_json(replace(result, costs=costs)), "a new result").costs == costs
