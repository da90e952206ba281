"""What is said of devices: too many processes, a GPU that torch can't use, too little memory; and random states."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from gelora_cli.core import devices
from gelora_cli.core.devices import check_processes, check_started_processes, device_name, seeded, unusable_gpu
from gelora_cli.core.distributed import LONGEST_WAIT, join_processes
from gelora_cli.core.errors import GeloraError, RunError
from gelora_cli.core.memory import translate_oom


def show_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "has 1 GPU; accepted is 1. Take"), (2, "has 2 GPUs; accepted is 1 to 2. Take launch.processes=2")],
)
def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch, count: int, words: str) -> None:
    show_gpus(monkeypatch, count)
    check_processes(count)
    with pytest.raises(GeloraError, match=f"launch.processes={count + 1}: this machine {words}"):
        check_processes(count + 1)


def test_an_outer_launcher_may_not_start_two_processes_on_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    show_gpus(monkeypatch, 1)
    with pytest.raises(GeloraError, match=r"2 processes were started .* has 1 GPU; .* --nproc-per-node=1"):
        check_started_processes()
    for enough in (2, 0):  # without GPUs they share the cores, as many as there are
        show_gpus(monkeypatch, enough)
        check_started_processes()


@pytest.mark.parametrize(
    ("visible", "cuda", "words"),
    [("", "13.0", "CUDA_VISIBLE_DEVICES= hides it"), (None, None, "built without CUDA"), (None, "13.0", "too old")],
)
def test_a_gpu_that_torch_cannot_use_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str | None, cuda: str | None, words: str
) -> None:
    def refuse() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")

    show_gpus(monkeypatch, 0)
    monkeypatch.setattr(torch.cuda, "init", refuse)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(devices, "DRIVER_GPUS", tmp_path / "none")
    assert unusable_gpu() == ""  # no GPU
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    monkeypatch.setattr(devices, "DRIVER_GPUS", tmp_path / "gpus")
    assert words in unusable_gpu()


@pytest.mark.parametrize(
    "said",
    ["CUDA out of memory. Tried to allocate 2.00 GiB.", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublas`"],
)
def test_a_gpu_without_memory_says_what_to_lower(said: str) -> None:
    with pytest.raises(RunError, match=r"out of memory: CUDA .*Lower train.micro_batch_size"), translate_oom():
        raise RuntimeError(said)
    with pytest.raises(RuntimeError, match="device-side assert"), translate_oom():
        raise RuntimeError("CUDA error: device-side assert triggered")


def test_a_processor_is_named_with_its_vector_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = tmp_path / "cpuinfo"
    said.write_text("processor\t: 0\nmodel name\t: Fast (R) CPU @ 2 GHz\n\nmodel name\t: Another\n", encoding="utf-8")
    monkeypatch.setattr(devices, "PROCESSORS", said)
    monkeypatch.setattr(devices, "usable_cores", lambda: 2)
    units = torch.backends.cpu.get_cpu_capability()
    assert device_name(torch.device("cpu")) == f"cpu (Fast (R) CPU @ 2 GHz, {units}, 2 cores)"
    said.unlink()
    assert device_name(torch.device("cpu")) == f"cpu ({platform.machine()}, {units}, 2 cores)"


def test_seeded_draws_the_same_and_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.randn(4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(3)
    assert torch.equal(torch.randn(4), first)
    torch.set_rng_state(before)


def test_processes_wait_longer_for_each_other_than_a_search_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta

    import accelerate

    given: list[dict[str, object]] = []
    monkeypatch.setattr(accelerate, "PartialState", lambda **arguments: given.append(arguments))
    join_processes()
    assert given[0]["timeout"] == LONGEST_WAIT >= timedelta(hours=12)  # NCCL's own limit is 10 minutes
