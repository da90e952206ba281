"""What a process runs on: devices, precision, seeds, logging and progress, versions."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import logging
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gelora_cli.core.errors import GeloraError, RunError
from gelora_cli.core.messages import visible

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from tqdm import tqdm

Item = TypeVar("Item")

LOGGER = logging.getLogger("gelora")
PR_SET_PDEATHSIG = 1
PROGRESS_SECONDS = 30.0
LESS_MEMORY = (
    "Lower train.micro_batch_size (the global batch stays as it is), train.eval_batch_size, profile.batch_size or "
    "task.max_length: each makes a run of its own, since it can change numbers. With more memory the same command goes "
    "on from the last checkpoint."
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
PACKAGES = (
    "gelora",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "evaluate",
    "hydra-core",
    "omegaconf",
    "numpy",
    "tokenizers",
)


LONGEST_LINE = 300
"""Characters that are shown of another library's error."""


def first_line(error: BaseException) -> str:
    """What an error says first, without its middle where it is long."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    half = LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]}...{line[-half:]}"


@contextlib.contextmanager
def translate_oom() -> Iterator[None]:
    """Turn a lack of memory into a message that says what to lower.

    Raises:
        RunError: a device or the system gave no more memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        signs = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_cpu")
        if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in signs):
            raise
        raise RunError(f"out of memory: {first_line(error)}. {LESS_MEMORY}") from error


def describe_exit_status(code: int) -> str:
    """How a process ended that said nothing, from its exit code, which is -n after signal n."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    if -code != signal.SIGKILL:
        return f"was ended by {name}"
    return f"was ended by {name}, which the system sends where memory runs out. If it did: {LESS_MEMORY}"


def usable_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_processes(processes: int) -> None:
    """Refuse more processes than GPUs, or on the CPU than cores.

    Raises:
        GeloraError: with the number that this machine can take.
    """
    import torch

    devices, name = (torch.cuda.device_count(), "GPUs") if torch.cuda.is_available() else (usable_cores(), "CPU cores")
    if processes > devices:
        raise GeloraError(
            f"launch.processes={processes}: this machine has {devices} {name}; accepted is 1 to {devices}. "
            f"Take launch.processes={devices}."
        )


def resolve_precision(asked: str) -> str:
    """`auto` as `bf16` where the hardware multiplies in bfloat16, else `float32`.

    Raises:
        GeloraError: `bf16` asked of a GPU that has none.
    """
    import torch

    cuda = torch.cuda.is_available()
    supported = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else _cpu_has_bf16()
    if asked == "bf16" and cuda and not supported:
        raise GeloraError("precision=bf16: this GPU has no bfloat16; take precision=float32 or auto.")
    return ("bf16" if supported else "float32") if asked == "auto" else asked


def _cpu_has_bf16() -> bool:
    import torch

    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def make_accelerator(precision: str) -> Accelerator:
    """What accelerate knows of this process: its device, its rank, and bf16 autocast if `precision` says so.

    Raises:
        GeloraError: accelerate does not see all the processes that were started.
    """
    import torch
    from accelerate import Accelerator

    cpu = not torch.cuda.is_available()
    accelerator = Accelerator(cpu=cpu, mixed_precision="bf16" if precision == "bf16" else "no")
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != expected:
        raise GeloraError(f"accelerate sees {accelerator.num_processes} processes where {expected} were started")
    return accelerator


@contextlib.contextmanager
def limit_omp_threads(processes: int) -> Iterator[None]:
    """Give each of several CPU processes its share of the cores instead of all of them."""
    before = os.environ.get("OMP_NUM_THREADS")
    if before is None and processes > 1:
        os.environ["OMP_NUM_THREADS"] = str(max(1, usable_cores() // processes))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS", None)


def thread_settings() -> str:
    """Return the environment variables that set the number of CPU threads, as `NAME=VALUE NAME=VALUE`."""
    return " ".join(f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ)


def worker_threads(processes: int) -> int:
    """Return the CPU threads that each of `processes` workers started from here will compute with.

    The environment alone does not say (MKL takes at most as many threads as there are cores), so a process that is
    started as the workers are is asked.
    """
    import torch

    if processes == 1:
        return torch.get_num_threads()
    with limit_omp_threads(processes):
        command = [sys.executable, "-c", "import torch; print(torch.get_num_threads())"]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)


@contextlib.contextmanager
def offline_workers() -> Iterator[None]:
    """Let worker processes take what the parent already fetched, without asking the hub again."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


def setup_logging(file: Path | None = None, *, main: bool = True) -> None:
    """Log to standard error, and to `file`; other processes than the main one speak only of errors."""
    LOGGER.disabled = False  # Hydra switches off every logger that it finds, so from the second job of a sweep on
    LOGGER.setLevel(logging.INFO if main else logging.ERROR)
    LOGGER.propagate = False
    for handler in LOGGER.handlers[:]:
        LOGGER.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None and main:
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(_VisibleFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
        LOGGER.addHandler(handler)
    logging.raiseExceptions = False  # a log that can't be written, as on a full disk, stops no run
    _quiet_libraries()


class _VisibleFormatter(logging.Formatter):
    """Lines in which names and paths hold nothing that a terminal obeys."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def _quiet_libraries() -> None:
    """Keep the libraries' own notices out of the log; what matters of them is checked and said by us."""
    import warnings

    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    for name in ("httpx", "httpx2", "filelock", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # why a worker ended is said by us


def progress(total: int, unit: str, label: str, *, shown: bool) -> tqdm[Any] | ProgressLog:
    """Return a progress bar with rate and time left; where no terminal shows it, lines in the log."""
    if not sys.stderr.isatty():
        return ProgressLog(total, unit, label, shown=shown)
    from tqdm import tqdm

    return tqdm(total=total, unit=unit, desc=label, disable=not shown, mininterval=0.2, leave=False)


class ProgressLog:
    """Progress as a line in the log every `PROGRESS_SECONDS`, with the methods of tqdm's bar that are used here."""

    def __init__(self, total: int, unit: str, label: str, *, shown: bool) -> None:
        self.total, self.unit, self.label, self.shown = total, unit, label, shown
        self.count = 0
        self.started: tuple[float, int] | None = None
        self.last_line = time.monotonic()
        self.values = ""

    def __enter__(self) -> ProgressLog:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to close."""

    def set_postfix(self, *, refresh: bool = True, **values: object) -> None:
        """Take values such as a loss for the next line."""
        self.values = "".join(f", {name} {value}" for name, value in values.items())

    def update(self, count: int) -> None:
        """Count what is done, and say so where the last line is old enough."""
        now = time.monotonic()
        if self.started is None:  # the rate begins here, so that what an earlier process did is not in it
            self.started = (now, self.count + count)
        self.count += count
        if not self.shown or now - self.last_line < PROGRESS_SECONDS:
            return
        self.last_line = now
        since, before = self.started
        rate = (self.count - before) / max(now - since, 1e-9)
        left = f", about {(self.total - self.count) / rate / 60:.1f} min left" if rate else ""
        share = 100 * self.count / max(self.total, 1)
        LOGGER.info(
            "%s: %s of %s %s (%.0f %%), %.1f %s/s%s%s",
            *(self.label, f"{self.count:,}", f"{self.total:,}", self.unit, share, rate, self.unit, left, self.values),
        )


@contextlib.contextmanager
def log_through_progress() -> Iterator[None]:
    """Print log lines above the progress bar instead of through it."""
    if not sys.stderr.isatty():
        yield
        return
    from tqdm.contrib.logging import logging_redirect_tqdm

    with logging_redirect_tqdm(loggers=[LOGGER]):
        yield


@dataclass(frozen=True)
class Device:
    """What stands for an accelerator where one process works alone: a device, without any state of accelerate's."""

    device: torch.device
    process_index: int = 0
    num_processes: int = 1
    is_main_process: bool = True


def gather_objects(accelerator: Accelerator | Device, item: Item) -> list[Item]:
    """Every process's item, in order of rank, on every process."""
    from accelerate.utils import gather_object

    return list(gather_object([item])) if accelerator.num_processes > 1 else [item]


def gather_rows(accelerator: Accelerator | Device, tensor: torch.Tensor) -> torch.Tensor:
    """Every process's rows, end to end in order of rank, on every process: (n_0 + n_1 + ..., ...).

    Processes may hold different numbers of rows; the shapes beyond the first are equal.
    """
    import torch

    if isinstance(accelerator, Device) or accelerator.num_processes == 1:
        return tensor
    counts = accelerator.gather(torch.tensor([len(tensor)], device=tensor.device)).tolist()
    padded = tensor.new_zeros((max(counts), *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    gathered = accelerator.gather(padded).reshape(len(counts), max(counts), *tensor.shape[1:])
    return torch.cat([share[:count] for share, count in zip(gathered, counts, strict=True)])


def seed_process(seed: int, rank: int) -> None:
    """Start torch's generators of this process from (seed, rank)."""
    import torch

    torch.manual_seed((seed * 1_000_003 + rank) % 2**63)


def die_with_parent(parent: int) -> None:
    """Have the system end this process when the one that started it, `parent`, ends, however that ends; on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before this took effect
        os._exit(1)


def versions() -> dict[str, str]:
    """Python's and each package's version."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def git_commit() -> str | None:
    """The commit of the checkout that this package runs from, with `+` where it has changes; None in a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def device_name(device: torch.device) -> str:
    """What a person calls the device."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {usable_cores()} cores)"


def train_machine() -> str:
    """What bitwise equal numbers need beside the configuration: kind of device first, then its name and torch."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return f"{device.type}, {device_name(device)}, torch {torch.__version__}"


def peak_bytes(device: torch.device) -> int:
    """Most memory held so far: on the GPU what torch allocated, on the CPU the process's resident set."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
