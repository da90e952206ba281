"""How the GPUs of a machine are shared out among jobs side by side; nothing here needs a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gelora_cli.core import processes
from gelora_cli.core.errors import GeloraError, RunError
from gelora_cli.launchers import gpu_shares
from gelora_cli.launchers.gpu_shares import GpuShares, share_gpus, visible_gpus
from gelora_cli.launchers.job_server import HEAVY
from tests.helpers.warm import WITHOUT_TORCH

FOUR = ("0", "1", "2", "3")
UUIDS = ("GPU-5f", "GPU-a0")


@pytest.mark.parametrize(
    ("gpus", "parallel", "gpus_per_run", "processes", "shares"),
    [
        ((), 3, None, 1, GpuShares(3)),  # no GPU: as ever
        (FOUR, 1, None, 4, GpuShares(1)),  # one job after the other: each sees all
        (FOUR, None, None, 4, GpuShares(1)),
        (FOUR, 1, 2.0, 1, GpuShares(1, ("0,1",))),  # one after the other, as it says
        (FOUR, 2, None, 2, GpuShares(2, ("0,1", "2,3"))),
        (FOUR, 3, None, 1, GpuShares(3, ("0", "1", "2"))),
        (FOUR, None, 1.0, 1, GpuShares(4, FOUR)),
        (FOUR, None, 2.0, 2, GpuShares(2, ("0,1", "2,3"))),
        (FOUR, None, 3.0, 1, GpuShares(1, ("0,1,2",))),
        (FOUR, 3, 1.0, 1, GpuShares(3, ("0", "1", "2"))),
        (UUIDS, None, 1.0, 1, GpuShares(2, UUIDS)),
        (UUIDS, None, 0.5, 1, GpuShares(4, (*UUIDS, *UUIDS))),
        (("0",), 3, 0.33, 1, GpuShares(3, ("0", "0", "0"))),
    ],
)
def test_every_job_has_its_share(
    gpus: tuple[str, ...], parallel: int | None, gpus_per_run: float | None, processes: int, shares: GpuShares
) -> None:
    given = share_gpus(gpus, parallel=parallel, gpus_per_run=gpus_per_run, processes=processes)
    assert given == shares
    assert [given.environment(place) for place in range(given.jobs)] == [
        {"CUDA_VISIBLE_DEVICES": names} for names in shares.visible
    ] or [{}] * given.jobs


@pytest.mark.parametrize(
    ("gpus", "parallel", "gpus_per_run", "processes", "message"),
    [
        (
            ("0",),
            3,
            None,
            1,
            "shows 1 GPUs.* launch.parallel=1, or let 3 jobs share a GPU by launch.gpus_per_run=0.333",
        ),
        (FOUR, None, 8.0, 1, "launch.gpus_per_run=8: this machine shows 4 GPUs; accepted is 1 to 4"),
        (FOUR, 3, 2.0, 1, "launch.parallel=3 launch.gpus_per_run=2: 4 GPUs are enough for 2 jobs"),
        (FOUR, 2, None, 4, "launch.processes=4: each job side by side has 2 of 4 GPUs.*launch.gpus_per_run=4"),
        (FOUR, None, 0.5, 2, "launch.processes=2: each job side by side has 1 of 4"),
        (FOUR, None, 1.5, 1, "launch.gpus_per_run=1.5: accepted are whole numbers"),
        (FOUR, None, 0.4, 1, "launch.gpus_per_run=0.4: accepted are whole numbers"),
        ((), None, 1.0, 1, "this machine shows no GPU"),
    ],
)
def test_what_the_gpus_are_not_enough_for_is_refused_with_what_fits(
    gpus: tuple[str, ...], parallel: int | None, gpus_per_run: float | None, processes: int, message: str
) -> None:
    with pytest.raises(GeloraError, match=message):
        share_gpus(gpus, parallel=parallel, gpus_per_run=gpus_per_run, processes=processes)


@pytest.mark.parametrize(
    ("outer", "count", "names"),
    [
        (None, 2, ("0", "1")),
        ("3,1", 2, ("3", "1")),
        ("3, 1,9", 2, ("3", "1")),  # CUDA shows those before the first that is not there
        ("GPU-5f,GPU-a0", 2, UUIDS),
        ("MIG-1,MIG-2,MIG-3", 1, ("MIG-1", "MIG-2", "MIG-3")),
        ("", 0, ()),
        ("-1", 0, ()),
    ],
)
def test_the_gpus_that_an_outer_variable_leaves_keep_their_names(
    monkeypatch: pytest.MonkeyPatch, outer: str | None, count: int, names: tuple[str, ...]
) -> None:
    monkeypatch.setattr(gpu_shares, "DRIVER_FILES", (sys.executable,))
    monkeypatch.setattr(gpu_shares, "COUNT", str(count))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if outer is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", outer)
    assert visible_gpus() == names


def test_where_there_is_no_driver_nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu_shares, "DRIVER_FILES", (str(tmp_path / "none"),))
    monkeypatch.setattr(gpu_shares, "COUNT", "4")
    assert visible_gpus() == ()


def test_a_count_that_takes_too_long_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_shares, "DRIVER_FILES", (sys.executable,))
    monkeypatch.setattr(processes, "TORCH_SECONDS", 0.01)
    with pytest.raises(RunError, match=r"device_count\(\) of a new process gave no answer within 0.01 s: this machine"):
        visible_gpus()


ASKS = """
import importlib
import sys
import torch

asked = []
for module, name in ((torch.cuda, "is_available"), (torch.cuda, "device_count"), (torch.cuda, "_lazy_init"),
                     (torch.cuda, "_raw_device_count_nvml"), (torch._C, "_cuda_getDeviceCount")):
    if hasattr(module, name):  # torch without CUDA lacks some
        setattr(module, name, lambda *_, name=name: asked.append(name) or 0)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(asked)
"""


@pytest.mark.slow
def test_the_server_that_forks_jobs_asks_for_no_gpu() -> None:
    # A process that has asked CUDA can't fork one that uses it, and CUDA reads its variable once.
    done = WITHOUT_TORCH.run_code(ASKS, *HEAVY)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
