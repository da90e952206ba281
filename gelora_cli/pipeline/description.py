"""What a model card and a saved adapter say of the run's surroundings: the base model and the way to it."""

from __future__ import annotations

from pathlib import Path

from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.directories import relative_to
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.models.load import LoadedModel
from gelora_cli.pipeline.card_facts import CardFacts
from gelora_cli.pipeline.inputs import ResolvedInputs


def card_facts(directory: Path, inputs: ResolvedInputs, loaded: LoadedModel, target: Path | None = None) -> CardFacts:
    """Return what the card of a run, or of its export to `target`, says of its surroundings."""
    return CardFacts(
        config=inputs.config,
        command=read_artifact(RunManifest, directory / RunManifest.FILE).command,
        base=base_name(inputs, target or directory),
        peft=(directory / run_files.ADAPTER / run_files.PEFT_CONFIG).exists(),
        arguments=loaded.arguments,
        starts_from=tuple(str(ancestor.directory) for ancestor in inputs.ancestors),
        outside_blocks=loaded.outside_blocks,
    )


def base_name(inputs: ResolvedInputs, directory: Path) -> str:
    """Return the base model's hub id, or its path seen from a directory."""
    model = inputs.config.model
    if model.path is None:
        return model.hub or inputs.model.source
    return relative_to(Path(model.path), directory) if Path(model.path).is_absolute() else model.path


def describe_adapter(adapter: Path, inputs: ResolvedInputs, directory: Path) -> None:
    """Note beside an adapter of PEFT's what it belongs on, seen from `directory`, and the kind of its task.

    With the adapters of earlier runs in its base that is no name that can be loaded: nobody puts it on the bare one.
    """
    from gelora_cli.methods.updates.saved import describe_peft

    ancestors = [relative_to(ancestor.adapter, directory) for ancestor in inputs.ancestors]
    describe_peft(
        adapter,
        base=" + ".join((base_name(inputs, directory), *ancestors)),
        task_type=TASK_KINDS.get(inputs.config.task.kind).peft_type,
    )
