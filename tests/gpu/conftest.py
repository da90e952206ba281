"""What needs a CUDA device is skipped without one; `make test-gpu` refuses to run then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from tests.helpers.gpu import missing_gpu


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder, with the reason, where there is no CUDA device."""
    here = Path(__file__).parent
    if reason := missing_gpu():
        for item in items:
            if here in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def one_precision_each() -> Iterator[None]:
    """Let a test choose the precision: accelerate keeps the first one of a process."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)
