"""The trackers with their own libraries: what each has of a run that was stopped and resumed, read back by itself."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.core import run_files
from gelora_cli.core.files import append_line
from tests.helpers.bench import Bench, predictions, result_of
from tests.helpers.metric_lines import without_times

pytestmark = pytest.mark.extras

NAMES = "tensorboard,trackio,wandb,mlflow"
RUN = [
    "task=cola",
    "budget=2500",
    "train.epochs=2",
    "train.log_steps=2",
    "train.checkpoint_steps=4",
    "train.batch_size=8",
]
SECRET = "0123456789abcdef" * 2 + "01234567"
BLOCK_BYTES = 32768
"""A block of wandb's file of records, whose header has 7 bytes, as that of each part of a record."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, glue_dir: Path, tiny_models: dict[str, Path]) -> Path:
    """Train without trackers."""
    bench = Bench(tmp_path_factory.mktemp("plain") / "runs", glue_dir, tiny_models)
    assert bench.run(*RUN) == 0
    return bench.only()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the trackers write."""
    return tmp_path_factory.mktemp("trackers")


@pytest.fixture(scope="module")
def tracked(place: Path, glue_dir: Path, tiny_models: dict[str, Path]) -> Iterator[Path]:
    """Train the same with all trackers, stopped between two checkpoints and resumed."""
    bench = Bench(place / "runs", glue_dir, tiny_models)
    words = [
        *(*RUN, f"tracker=[{NAMES}]", f"tracker.trackio.directory={place}/trackio"),
        *("tracker.wandb.mode=offline", f"tracker.wandb.directory={place}"),
        f"tracker.mlflow.tracking_uri=sqlite:///{place}/mlflow.db",
    ]
    written = 0

    def dying(path: Path, values: dict[str, Any]) -> None:
        nonlocal written
        append_line(path, values)
        written += 1
        if written == 5:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_API_KEY", SECRET)
        patch.chdir(place)  # MLflow keeps artifacts below the working directory
        patch.setattr("gelora_cli.trackers.json_lines.append_line", dying)
        assert bench.run(*words) == 130
        patch.setattr("gelora_cli.trackers.json_lines.append_line", append_line)
        assert bench.run(*words) == 0
        yield bench.only()


def losses(directory: Path) -> list[tuple[int, Any]]:
    lines = map(json.loads, (directory / run_files.METRICS).read_text().splitlines())
    return [(line["step"], pytest.approx(line["loss"], rel=1e-5)) for line in lines if "loss" in line]


def value(directory: Path) -> Any:
    return pytest.approx(result_of(directory).value)


def test_all_trackers_together_change_no_number(plain: Path, tracked: Path) -> None:
    adapter = f"{run_files.ADAPTER}/{run_files.PEFT_WEIGHTS}"
    assert (tracked / adapter).read_bytes() == (plain / adapter).read_bytes()
    assert without_times(tracked) == without_times(plain)
    assert predictions(tracked) == predictions(plain)
    assert "resumed from the checkpoint" in (tracked / run_files.LOG).read_text()
    assert "warning: tracker" not in (tracked / run_files.LOG).read_text()
    assert "tfevents" not in (tracked / run_files.DONE).read_text()


def test_tensorboard_has_one_run_without_double_steps(tracked: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert len(list(tracked.glob(run_files.EVENT_FILES))) == 2  # one of each attempt
    events: Any = EventAccumulator(str(tracked), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == losses(tracked)
    assert len(events.Scalars("validation/matthews_correlation")) == 2
    (last,) = events.Scalars("final/value")
    assert last.value == value(tracked)
    (picture,) = events.Images("pictures/ranks")
    assert picture.encoded_image_string == (tracked / "ranks.png").read_bytes()
    assert {"_hparams_/session_start_info", "_hparams_/session_end_info", "parameters"} <= set(events.Tags()["tensors"])


def test_trackio_has_one_run_without_double_steps(tracked: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import trackio.sqlite_storage as storage

    monkeypatch.setattr(storage, "TRACKIO_DIR", place / "trackio")
    (name,) = storage.SQLiteStorage.get_runs("gelora")
    assert tracked.name in name
    rows = storage.SQLiteStorage.get_logs("gelora", name)
    assert [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row] == losses(tracked)
    assert [row["final/value"] for row in rows if "final/value" in row] == [value(tracked)]
    assert sum("pictures/ranks" in row for row in rows) == 1


def test_mlflow_has_one_run_without_double_steps(tracked: Path, place: Path) -> None:
    from mlflow.tracking import MlflowClient

    client: Any = MlflowClient(f"sqlite:///{place}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("gelora").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "/".join(tracked.parts[-4:]))
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == losses(tracked)
    assert run.data.metrics["final/value"] == value(tracked)
    assert run.data.params["plan.ranks"] == str(list(result_of(tracked).ranks))
    assert run.data.params["run_directory"] == str(tracked)
    pictures = {artifact.path for artifact in client.list_artifacts(run.info.run_id, "pictures")}
    assert pictures == {"pictures/profile.png", "pictures/ranks.png", "pictures/curve.png"}


def test_wandb_has_one_run_without_double_steps(tracked: Path, place: Path) -> None:
    from wandb.proto.wandb_internal_pb2 import Record

    files = sorted(place.glob("wandb/offline-run-*/*.wandb"))
    records = [Record.FromString(content) for file in files for content in wandb_records(file.read_bytes())]
    assert len({record.run.run_id for record in records if record.HasField("run")}) == 1
    rows = []
    for record in records:
        if record.HasField("history"):
            rows.append({(item.key or "/".join(item.nested_key)): item.value_json for item in record.history.item})
    found = [(int(row["_step"]), float(row["train/loss"])) for row in rows if "train/loss" in row]
    assert found == losses(tracked)


def wandb_records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a file of `wandb offline`, whose parts stand in blocks: checksum, length, type, bytes."""
    position, parts = 7, []
    while position + 7 <= len(content):
        if BLOCK_BYTES - position % BLOCK_BYTES < 7:
            position += BLOCK_BYTES - position % BLOCK_BYTES
            continue
        length, kind = struct.unpack("<HB", content[position + 4 : position + 7])
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            yield b"".join(parts)
            parts = []


def test_the_key_of_wandb_is_written_nowhere(tracked: Path) -> None:
    assert not [path for path in tracked.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
