"""Fixtures: tiny models of every kind and rows of every GLUE task in the hub's layout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.bench import bench  # noqa: F401 - a fixture
from tests.helpers.log import log_lines  # noqa: F401 - a fixture
from tests.helpers.rows import TASKS, squad_rows, write_squad, write_task
from tests.helpers.tiny import KINDS, make_tiny


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that hold the longest tests, so that no worker of several ends with one of them alone."""
    long_files = {item.path for item in items if item.get_closest_marker("distributed")}
    items.sort(key=lambda item: item.path not in long_files)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Make a model directory for each model kind."""
    root = tmp_path_factory.mktemp("models")
    return {kind: make_tiny(kind, root / kind) for kind in KINDS}


@pytest.fixture(scope="session")
def glue_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write all nine GLUE tasks, a few rows each, in the columns, label order and file names of the hub."""
    root = tmp_path_factory.mktemp("glue")
    for task in TASKS:
        write_task(root, task)
    return root


@pytest.fixture(scope="session")
def squad_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write SQuAD v1.1 and v2.0, a few rows each, in the folders, fields and file names of the hub."""
    root = tmp_path_factory.mktemp("squad")
    for folder, unanswerable in (("plain_text", False), ("squad_v2", True)):
        for split, count, seed in (("train", 60, 1), ("validation", 23, 2)):
            write_squad(root, folder, split, squad_rows(count, seed, unanswerable=unanswerable))
    return root


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return real data in the hub's layout, or skip the test where there is none."""
    if "GELORA_DATA" not in os.environ:
        pytest.skip("GELORA_DATA is not set")
    return Path(os.environ["GELORA_DATA"])


@pytest.fixture(scope="session")
def real_glue(real_data: Path) -> Path:
    """Return real GLUE data, or skip the test where there is none."""
    return real_data / "glue"
