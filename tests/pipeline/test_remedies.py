"""What a collapsed run is advised to try."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.config.files import read_config
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact
from gelora_cli.pipeline.result import with_remedies
from tests.helpers.written_runs import write_run

LEARNED_LITTLE = "little was learned: the training loss ended at 0.6779, and guessing gives 0.6931"
LONGER = "what may help: more train.epochs, train.learning_rate=0.00045 (three times), "
LOWER = "what may help: train.learning_rate=1.5e-05 (a tenth), more train.epochs"


@pytest.mark.parametrize(
    ("loss", "changes", "said"),
    [
        (0.6779, {}, [LEARNED_LITTLE, LONGER]),
        (0.33, {}, [LONGER]),  # of unequal labels, or of rows that were learned by heart
        (0.9, {}, [LOWER]),
        (float("nan"), {}, [LOWER]),
        (0.6779, {"class_weights": [3, 1]}, [LOWER]),
        (0.6779, {"kind": "multilabel"}, [LEARNED_LITTLE, LONGER]),
        (0.6779, {"kind": "regression"}, ["what may help: task.standardize=true, train.learning_rate=1.5e-05 (a ten"]),
    ],
)
def test_a_lower_rate_alone_is_for_a_loss_that_rose(
    tmp_path: Path, loss: float, changes: dict[str, Any], said: list[str]
) -> None:
    directory = write_run(tmp_path, "gelora", 0, 0.5, collapsed=True, rate=1.5e-4)
    config, result = read_config(directory / run_files.CONFIG), read_artifact(RunResult, directory / RunResult.FILE)
    config = replace(config, task=replace(config.task, labels=["bad", "good"], **changes))
    result = replace(result, train=replace(result.train, last_loss=loss))
    remarks = with_remedies(result, config)[len(result.remarks) :]
    assert len(remarks) == len(said)
    assert all(remark.startswith(start) for remark, start in zip(remarks, said, strict=True))
    assert ("(a tenth) if the training loss was lower before" in remarks[-1]) == remarks[-1].startswith(LONGER)
