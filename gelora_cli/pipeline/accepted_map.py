"""The map of a model whose kind is declared nowhere: found in the model itself, accepted once, remembered by runs_dir.

The names are put into `model.blocks` and `model.linears` where the inputs of a run are resolved. Everything after that
(identity, profile, config.yaml, resuming, reloading) treats them as names that were given by hand.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

from gelora_cli.config.schema import ModelConfig, RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.accepted_map import AcceptedMap
from gelora_cli.core.codec import read_artifact, to_json
from gelora_cli.core.directories import create_directory
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import write_atomic
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.registries import MODEL_KINDS
from gelora_cli.data.splits import sha256_of
from gelora_cli.models.automatic_map import FoundMap, explain_unaccepted, find_map
from gelora_cli.models.files import read_config_json
from gelora_cli.models.locate import ResolvedModel
from gelora_cli.models.pretrained import empty_backbone


@dataclass(frozen=True)
class ChosenNames:
    """Where the blocks and linears of a run are.

    Attributes:
        model: the section of the configuration, with the names in it.
        accepted: what was found and accepted; None where the kind is declared or the names were given by hand.
    """

    model: ModelConfig
    accepted: AcceptedMap | None = None


def choose_names(config: RunConfig, resolved: ResolvedModel) -> ChosenNames:
    """Return the names of the blocks and linears of a run: as given, or as found in the model and accepted.

    Nothing is found for a declared kind, nor where both `model.blocks` and `model.linears` are given. A map is accepted
    by `model.accept_map=true`, or by an earlier command in the same `runs_dir`.

    Raises:
        GeloraError: with the map that was found and how to accept it, or why none is found.
    """
    model = config.model
    kind = read_config_json(resolved.directory, resolved.source).get("model_type")
    if kind in MODEL_KINDS:
        return ChosenNames(replace(model, accept_map=False))  # nothing to accept
    if model.blocks and model.linears:
        # Given by hand, or found by the process that froze this configuration.
        named = AcceptedMap(str(kind), model.blocks, dict(model.linears))
        was_found = model.accept_map and _was_accepted(named, Path(config.runs_dir))
        return ChosenNames(replace(model, accept_map=was_found))
    found = _found_map(resolved, model.blocks, tuple(model.linears.items()))
    accepted = AcceptedMap(found.kind, found.blocks, found.names)
    if not model.accept_map and not _was_accepted(accepted, Path(config.runs_dir)):
        raise GeloraError(explain_unaccepted(found))
    chosen = replace(model, blocks=found.blocks, linears=found.names, accept_map=True)
    return ChosenNames(chosen, accepted)


@functools.lru_cache(maxsize=16)
def _found_map(resolved: ResolvedModel, blocks: str | None, linears: tuple[tuple[str, str], ...]) -> FoundMap:
    """Return the map of a model; of the jobs of a sweep that share a model, only the first builds it."""
    return find_map(empty_backbone(resolved), blocks=blocks, linears=dict(linears))


def describe_names(model: ModelConfig) -> str:
    """Return the names of blocks and linears on one line."""
    linears = ", ".join(f"{role} {name}" for role, name in model.linears.items())
    return f"blocks {model.blocks}, {linears}"


def remember_names(chosen: ChosenNames, config: RunConfig) -> None:
    """Note in `runs_dir` that a map was accepted; a directory that can't be written to is only warned of.

    A dry run notes nothing.
    """
    accepted, runs_dir = chosen.accepted, Path(config.runs_dir)
    if accepted is None or config.dry_run or _was_accepted(accepted, runs_dir):
        return
    path = _path(accepted, runs_dir)
    try:
        create_directory(path.parent)
        write_atomic(path, to_json(accepted))  # a file for each map, so that commands at once lose none
    except GeloraError as error:
        LOGGER.warning("the map of %s is accepted for this command alone: %s", accepted.kind, error)


def _was_accepted(accepted: AcceptedMap, runs_dir: Path) -> bool:
    """Return whether an earlier command accepted this map; a damaged note counts as none, which is logged."""
    path = _path(accepted, runs_dir)
    if not path.exists():
        return False
    try:
        return read_artifact(AcceptedMap, path) == accepted
    except GeloraError as error:
        LOGGER.warning("not taken as accepted: %s", error)
        return False


def _path(accepted: AcceptedMap, runs_dir: Path) -> Path:
    """Return where it is noted that this map was accepted."""
    # Sorted, since the order of roles says nothing. The type is the text of a file that may come from anywhere.
    content = [accepted.kind, accepted.blocks, sorted(accepted.linears.items())]
    return runs_dir / run_files.MAPS / f"{sha256_of(content)[:16]}.json"
