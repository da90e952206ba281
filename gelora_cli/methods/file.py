"""LoRA with ranks or weights from a user's file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from gelora_cli.allocation.file import read_file
from gelora_cli.config.keys import key
from gelora_cli.config.schema import PlannedLoraConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METHODS
from gelora_cli.methods.lora import PlannedLora


@dataclass
class FileSettings(PlannedLoraConfig):
    """Where the ranks are."""

    rank_keys: ClassVar[tuple[str, ...]] = ("path",)
    content_names: ClassVar[tuple[str, ...]] = ("rank file",)

    path: str | None = key(
        None,
        help="JSON or CSV of ranks or weights, by number of the block or full name of the linear",
        path=True,
        identity=False,  # its content is, whatever its name: `contents`
    )

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the file, as far as that can be said without a model."""
        try:
            read_file(self)
        except GeloraError as error:
            yield str(error)

    def contents(self) -> dict[str, list[object]]:
        """Return what the file says."""
        (name,) = self.content_names
        return {name: read_file(self).content()}


@METHODS.register
class FileLora(PlannedLora):
    """Ranks or weights that a user gives."""

    name = "file"
    description = "A LoRA adapter with ranks from a file"
    allocator = "file"
    config_class = FileSettings
