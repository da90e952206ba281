"""What does not go with weights that are stored in another type than float32 (`model.dtype`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec

from gelora_cli.config.presets import variant_of
from gelora_cli.config.saved_plan import with_saved_plan
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.install import install_gelora
from gelora_cli.core.registries import METHODS, VARIANTS


def dtype_problems(config: RunConfig) -> Iterator[str]:
    """Yield what does not go with `model.dtype`: a missing package, a method or a key that needs other weights."""
    dtype = config.model.dtype
    if dtype not in ("bf16", "4bit"):  # another word is refused by the key itself
        return
    if not config.dry_run:  # a forecast of memory needs no package
        yield from missing_package(dtype)
    yield from _method_problems(config)
    if dtype == "4bit" and config.train.fast:
        yield (
            "train.fast=true: its kernels multiply by the weights themselves, which model.dtype=4bit does not hold; "
            "leave one of them out"
        )
    if config.profile.control == "untrained":
        yield (
            f"profile.control=untrained: an untrained model has weights in float32, not in model.dtype={dtype}; leave "
            "model.dtype out"
        )


def missing_package(dtype: str) -> Iterator[str]:
    """Yield the package that this type needs where it is not installed, with the command that installs it."""
    if dtype == "4bit" and find_spec("bitsandbytes") is None:
        yield f"model.dtype=4bit needs the package bitsandbytes: {install_gelora('4bit')}"


def _method_problems(config: RunConfig) -> Iterator[str]:
    """Yield that a method, or the variant of LoRA's update, reads or trains weights that must be in another type."""
    with suppress(GeloraError):  # a plan that can't be read is named by itself
        config = with_saved_plan(config)
    dtype, name, variant = config.model.dtype, config.method.name, variant_of(config.method)
    if name in METHODS and dtype not in METHODS.get(name).dtypes:
        usable = [entry for entry in METHODS.names() if dtype in METHODS.get(entry).dtypes]
        yield (
            f"method={name} needs weights with model.dtype={_names(METHODS.get(name).dtypes)}, not {dtype}, since it "
            f"reads or trains them; give that, or one of {', '.join(usable)}"
        )
    if variant in VARIANTS and dtype not in VARIANTS.get(variant).dtypes:
        usable = [entry for entry in VARIANTS.names() if dtype in VARIANTS.get(entry).dtypes]
        yield (
            f"method.variant={variant} needs weights with model.dtype={_names(VARIANTS.get(variant).dtypes)}, not "
            f"{dtype}, since it reads them; give that, or method.variant={_names(usable)}"
        )


def _names(words: Sequence[str]) -> str:
    return " or ".join(words)
