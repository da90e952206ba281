"""Devices and precision, and the random generators of a process."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.heavy_imports import import_heavy
from gelora_cli.core.messages import first_line
from gelora_cli.core.processes import usable_cores

if TYPE_CHECKING:
    import torch

DRIVER_GPUS = Path("/proc/driver/nvidia/gpus")
"""Where the driver of NVIDIA lists the GPUs of a Linux machine."""

PROCESSORS = Path("/proc/cpuinfo")
"""Where Linux describes the processors."""


def check_processes(processes: int) -> None:
    """Refuse more processes than there are GPUs, or CPU cores on a machine without GPUs.

    Raises:
        GeloraError: with the number that this machine can run.
    """
    import_heavy("torch")
    import torch

    if torch.cuda.is_available():
        available, name = torch.cuda.device_count(), "GPU"
    else:
        available, name = usable_cores(), "CPU core"
    if processes > available:
        accepted = "1" if available == 1 else f"1 to {available}"
        raise GeloraError(
            f"launch.processes={processes}: this machine has {_count(available, name)}; accepted is {accepted}. "
            f"Take launch.processes={available}."
        )


def check_started_processes() -> None:
    """Refuse more processes of an outer launcher (torchrun) on this machine than it has GPUs.

    NCCL has no group of two processes on one GPU. On a machine without GPUs they share the cores.

    Raises:
        GeloraError: with the number to start.
    """
    import torch

    started = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    available = torch.cuda.device_count() if torch.cuda.is_available() else started
    if started > available:
        raise GeloraError(
            f"{started} processes were started on this machine, which has {_count(available, 'GPU')}; each needs one "
            f"of its own. Start {available} (torchrun --nproc-per-node={available}), or share the CPU cores: "
            "CUDA_VISIBLE_DEVICES="
        )


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def unusable_gpu() -> str:
    """Return why torch sees none of the NVIDIA GPUs of this machine; empty where it sees one, or there is none."""
    import torch

    if torch.cuda.is_available() or not DRIVER_GPUS.is_dir() or not any(DRIVER_GPUS.iterdir()):
        return ""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f"CUDA_VISIBLE_DEVICES={visible} hides it"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
        except RuntimeError as error:  # such as a driver that is older than torch's CUDA
            return f"torch {torch.__version__} (CUDA {torch.version.cuda}): {first_line(error)}"
    return f"torch {torch.__version__} (CUDA {torch.version.cuda}) finds none"


def resolve_precision(precision: str, *, key: str = "precision") -> str:
    """Return `bf16` or `float32`; `auto` is `bf16` if the hardware multiplies in bfloat16.

    Raises:
        GeloraError: `bf16` was asked of a GPU that does not have it.
    """
    import torch

    has_cuda = torch.cuda.is_available()
    # Emulated bfloat16 is slower than float32, and loses precision for nothing.
    supported = torch.cuda.is_bf16_supported(including_emulation=False) if has_cuda else _cpu_has_bf16()
    if precision == "bf16" and has_cuda and not supported:
        raise GeloraError(f"{key}=bf16: this GPU has no bfloat16; take {key}=float32.")
    if precision != "auto":
        return precision
    return "bf16" if supported else "float32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context in which a model computes in `bf16` by autocast; that of `float32` changes nothing."""
    import torch

    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def _cpu_has_bf16() -> bool:
    import torch

    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def device_name(device: torch.device) -> str:
    """Return the device's name for people: the GPU's product name, or the processor, its vector units and its cores.

    Sums are rounded otherwise on other vector units: `AVX2` and `AVX512` give the same run other numbers.
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    units = torch.backends.cpu.get_cpu_capability()
    return f"cpu ({_processor_name()}, {units}, {usable_cores()} cores)"


def _processor_name() -> str:
    """Return the processor's product name where Linux says it, else its architecture."""
    with suppress(OSError), PROCESSORS.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            key, _, name = line.partition(":")
            if key.strip() == "model name" and name.strip():
                return name.strip()
    return platform.machine()


def train_machine() -> str:
    """Return what bitwise equal numbers need besides the configuration: device type, device name and torch version."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return f"{device.type}, {device_name(device)}, torch {torch.__version__}"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from generators that start at `seed` inside, and leave the random state as it was.

    Of the GPUs it is that of the current one: torch would touch all, and say so on a machine with several.
    """
    import torch

    with torch.random.fork_rng(devices=random_devices()):
        torch.manual_seed(seed)
        yield


def random_devices() -> list[int]:
    """Return the GPU whose random state this process uses, in a list; empty without GPUs."""
    import torch

    return [torch.cuda.current_device()] if torch.cuda.is_available() else []


def seed_process(seed: int, rank: int) -> None:
    """Seed torch's generators from (seed, rank), so that each process draws a dropout of its own."""
    import torch

    # No two (seed, rank) pairs are equal as long as there are fewer than a million processes. torch takes 63 bits.
    torch.manual_seed((seed * 1_000_003 + rank) % 2**63)
