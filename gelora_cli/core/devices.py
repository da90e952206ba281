"""Devices and precision, and the random generators of a process."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.processes import usable_cores

if TYPE_CHECKING:
    import torch


def check_processes(processes: int) -> None:
    """Refuse more processes than there are GPUs, or CPU cores on a machine without GPUs.

    Raises:
        GeloraError: with the number that this machine can run.
    """
    import torch

    if torch.cuda.is_available():
        available, name = torch.cuda.device_count(), "GPUs"
    else:
        available, name = usable_cores(), "CPU cores"
    if processes > available:
        raise GeloraError(
            f"launch.processes={processes}: this machine has {available} {name}; accepted is 1 to {available}. "
            f"Take launch.processes={available}."
        )


def resolve_precision(precision: str) -> str:
    """Return `bf16` or `float32`; `auto` is `bf16` if the hardware multiplies in bfloat16.

    Raises:
        GeloraError: `bf16` was asked of a GPU that does not have it.
    """
    import torch

    has_cuda = torch.cuda.is_available()
    # Emulated bfloat16 is slower than float32, and loses precision for nothing.
    supported = torch.cuda.is_bf16_supported(including_emulation=False) if has_cuda else _cpu_has_bf16()
    if precision == "bf16" and has_cuda and not supported:
        raise GeloraError("precision=bf16: this GPU has no bfloat16; take precision=float32 or auto.")
    if precision != "auto":
        return precision
    return "bf16" if supported else "float32"


def _cpu_has_bf16() -> bool:
    import torch

    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def device_name(device: torch.device) -> str:
    """Return the device's name for people: the GPU's product name, or the CPU's architecture and cores."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {usable_cores()} cores)"


def train_machine() -> str:
    """Return what bitwise equal numbers need besides the configuration: device type, device name and torch version."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return f"{device.type}, {device_name(device)}, torch {torch.__version__}"


def seed_process(seed: int, rank: int) -> None:
    """Seed torch's generators from (seed, rank), so that each process draws a dropout of its own."""
    import torch

    # No two (seed, rank) pairs are equal as long as there are fewer than a million processes. torch takes 63 bits.
    torch.manual_seed((seed * 1_000_003 + rank) % 2**63)
