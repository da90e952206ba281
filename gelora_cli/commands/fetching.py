"""`gelora fetch DIR`: model, tokenizer and data of a run with their revisions, as a directory for offline machines."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from gelora_cli.config.schema import RunConfig
from gelora_cli.core.codec import to_json
from gelora_cli.core.directories import create_directory
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import file_sha256, translate_write_errors, write_atomic
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.data.reading import reading_once
from gelora_cli.data.sources import SOURCES, complete_task, load_task_split
from gelora_cli.models.files import model_files, present_files
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.tokenizer import load_tokenizer
from gelora_cli.pipeline.inputs import resolve_base


@dataclass(frozen=True)
class Fetched:
    """`fetched.json`: where each part came from (`owner/name@commit` of the hub), and the sha256 of every file."""

    model: str
    model_fingerprint: str
    data: str
    files: dict[str, str]
    overrides: tuple[str, ...]

    FILE: ClassVar[str] = "fetched.json"


def fetch(config: RunConfig, target: Path) -> Fetched:
    """Copy what `config`'s model and task need to `target`, read it back, and write `fetched.json`.

    Raises:
        GeloraError: the sources can't be had, what was copied is not whole, or `target` can't be written to.
    """
    if target.is_dir() and any(target.iterdir()) and not (target / Fetched.FILE).is_file() and not config.force:
        raise GeloraError(
            f"{target} is not empty, and no {Fetched.FILE} says that an earlier fetch filled it: give another "
            "directory, or force=true to write into this one"
        )
    more_files = TASK_KINDS.get(config.task.kind).model_files
    resolved = resolve_base(config.model, more_files)  # first: a model that can't be had leaves no directory behind
    with removing_on_failure(target):
        create_directory(target, "gelora fetch DIR")
        model_directory = target / "models" / config.model.name
        names = model_files(resolved.directory, resolved.source)
        for name in [*names, *present_files(resolved.directory, more_files)]:
            _copy(resolved.directory / name, model_directory / name)
        overrides = [_override("model.path", model_directory)]
        data = _fetch_data(config, target, overrides)
        # Read back from the copies alone, as the offline machine will.
        copied = resolve_model(hub=None, path=str(model_directory))
        if copied.fingerprint != resolved.fingerprint:
            raise GeloraError(f"{model_directory} is not what {resolved.source} holds; remove it and fetch again")
        load_tokenizer(copied)
        paths = sorted(path for path in target.rglob("*") if path.is_file() and path.name != Fetched.FILE)
        files = {str(path.relative_to(target)): file_sha256(path) for path in paths}
        fetched = Fetched(resolved.source, resolved.fingerprint, data, files, tuple(overrides))
        # Last: it says that everything else is there.
        write_atomic(target / Fetched.FILE, to_json(fetched), setting="gelora fetch DIR")
        return fetched


@contextlib.contextmanager
def removing_on_failure(target: Path) -> Iterator[None]:
    """Remove the directories that were not there before, if the work in this block fails."""
    missing = [path for path in (target, *target.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        if missing:
            shutil.rmtree(target, ignore_errors=True)
        for path in missing[1:]:  # those above it, as long as nothing else has come into them
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def _fetch_data(config: RunConfig, target: Path, overrides: list[str]) -> str:
    """Copy the task's files as they lie in their directories, and return where they came from.

    Args:
        config: the configuration.
        target: the directory to write.
        overrides: gets an override for each key of `data` that names a copy.

    Raises:
        GeloraError: a file lies outside the data set, or what was copied can't be read.
    """
    task, data = config.task, config.data
    sources = []
    for key, (origin, files) in SOURCES[task.source].find_files(task, data).items():
        source, copy = getattr(data, key), target / key / ("" if origin.is_dir() else origin.name)
        for file in files:
            path = copy / file.relative_to(origin)
            if not path.resolve().is_relative_to(target.resolve()):  # a folder such as ../..
                raise GeloraError(
                    f"task.folder={task.folder}: leads out of {target}; give the name of a folder in the data set"
                )
            _copy(file, path)
        # The hub's cache names a directory by its commit.
        sources.append(source if Path(source).is_absolute() else f"{source}@{origin.name}")
        overrides.append(_override(f"data.{key}", copy))
        data = replace(data, **{key: str(copy.absolute())})  # type: ignore[arg-type]
    # Read back, so that a missing split is found here and not on the machine without a network.
    with reading_once():
        task = complete_task(task, data)
        for split in ("train", *task.eval_splits):
            load_task_split(task, data, split)
    return ", ".join(sources) or f"task={task.name} is generated: no data to fetch"


def _override(key: str, path: Path) -> str:
    """Return `key=path` as Hydra reads it, whatever characters the path holds."""
    text = str(path)
    if not re.fullmatch(r"[\w./@+-]+", text, re.ASCII):
        text = "'" + text.replace("'", r"\'") + "'"
    return f"{key}={text}"


def _copy(file: Path, copy: Path) -> None:
    with translate_write_errors(copy.parent, "check the directory, or take another: gelora fetch DIR"):
        copy.parent.mkdir(parents=True, exist_ok=True)
        # Under another name first: an interrupted copy must not look like a file of the model.
        temporary = copy.parent / f".{copy.name}.tmp"
        temporary.unlink(missing_ok=True)
        shutil.copyfile(file, temporary)
        temporary.replace(copy)
