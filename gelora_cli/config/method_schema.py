"""The keys of the section `method.`, and of the presets of training settings that tasks and methods bring."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from gelora_cli.config.entry_section import EntrySection
from gelora_cli.config.keys import Declaration, key
from gelora_cli.core.registries import METHODS, VARIANTS
from gelora_cli.core.registry import Registry

MODULES = ("attention", "all")


@dataclass
class PresetConfig:
    """Training settings for one task, method family and model, with where they come from.

    Without `epochs`, `batch_size` and `modules` they are those of the task's own preset for `gelora`, so that methods
    train alike. `scaling` belongs to the learning rate, and is taken over by no other preset. `trials` counts on this
    task and model, and for every method of the family.
    """

    learning_rate: float = field(metadata=Declaration(help="the largest learning rate", above=0).metadata())
    source: str = field(metadata=Declaration(help="where these settings come from").metadata())
    epochs: int | None = key(None, help="passes over the training rows", low=1)
    batch_size: int | None = key(None, help="the global batch", low=1)
    scaling: float | None = key(None, help="alpha / r that the learning rate is meant for", above=0)
    modules: str | None = key(None, help="which linears are adapted", choices=MODULES)
    trials: int | None = key(None, help="how many trials on this task are behind the learning rate", low=1)


@dataclass
class MethodConfig(EntrySection):
    """What every fine-tuning method has; a method with settings of its own declares them in a subclass.

    `Method.config_class` names that class, and the section `method.` of a configuration holds the one of its method.
    `preset` names the family of training settings that the method takes. `modules` that are None come from the preset,
    else from `DEFAULT_MODULES`. `presets` are task (or `default`) to model (or `default`) to settings, for methods
    that don't take GeLoRA's.
    """

    registry: ClassVar[Registry[Any]] = METHODS
    rank_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of a subclass that only choose ranks: two runs with equal ranks may differ in them."""
    content_names: ClassVar[tuple[str, ...]] = ()
    """The names in `contents` of files that only choose ranks."""

    name: str = key("gelora", help="name in the run directory", choices=METHODS.names)
    preset: str = key("gelora", help="the family of training settings that the method takes", identity=False)
    modules: str | None = key(
        None,
        help="what is adapted: query, key, value and output, or all linears; null: the preset's, else attention",
        choices=MODULES,
        absent=(None,),
        common=True,
    )
    presets: dict[str, dict[str, PresetConfig]] = key(
        {}, help="task (or default), then model (or default), to training settings", identity=False
    )

    def contents(self) -> dict[str, list[object]]:
        """Return what files that a key names say, by what they are: it belongs to a run's identity."""
        return {}


@dataclass
class LowRankConfig(MethodConfig):
    """What every method of low-rank updates has beside what all methods have.

    `scaling` that is None comes from the preset, else it is `DEFAULT_SCALING`; a saved plan brings one, too.
    """

    scaling: float | None = key(
        None,
        help="alpha / r of every block; null: the preset's, else 32",
        above=0,
        absent=(None,),
        common=True,
    )
    dropout: float = key(0.0, help="dropout on the adapter's input", low=0, high=0.99)


@dataclass
class PlannedLoraConfig(LowRankConfig):
    """What every method has whose LoRA ranks an allocator gives."""

    variant: str = key(
        "lora",
        help="the form of the update, whatever the ranks",
        choices=VARIANTS.names,
        absent=("lora",),
        common=True,
    )


def default_method() -> MethodConfig:
    """Return the section of the default method, in the class that this method declares."""
    return MethodConfig.of("gelora")
