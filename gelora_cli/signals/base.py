"""What a signal is: a measurement of a model on a task that an allocator reads; importing this file imports no torch.

The pipeline does what all signals share: it finds the directory that runs with equal inputs share, locks it, resumes a
measurement that was killed, lets several processes measure together, and writes the artifact. A picture of it is an
entry of `core.registries.RUN_PICTURES`.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from gelora_cli.allocation.base import IDIM, SignalArtifact
from gelora_cli.config.identity import WINDOW_KEYS
from gelora_cli.config.keys import keys_of
from gelora_cli.config.schema import ModelConfig, ProfileConfig, RunConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import quote
from gelora_cli.core.plugins import plugins_fingerprint
from gelora_cli.core.registries import TASK_KINDS

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from transformers import PreTrainedModel

    from gelora_cli.core.artifacts.model_map import ModelMap
    from gelora_cli.data.encoding import EncodedSplit
    from gelora_cli.geometry.states import StateStore
    from gelora_cli.tasks.losses import BatchLoss

ArtifactT = TypeVar("ArtifactT", bound=SignalArtifact)
Inputs = dict[str, Any]
Passes = Literal["none", "forward", "backward"]
Content = Literal["model", "train"]
"""What a signal may depend on beside keys: the weights, or the rows of the train split."""


@dataclass(frozen=True, kw_only=True)
class SignalContext:
    """What a signal may measure: the pretrained model before any adapter, and the rows of the train split.

    Every process has the same context but for its accelerator; each must return the same artifact.

    Attributes:
        model: on this process's device, with the task's head; a signal leaves its parameters and gradients as they
            were.
        model_map: its blocks and adaptable linears.
        model_name: how a user names it; with the tasks that it was tuned on before, as `minilm+sst2`.
        task: the task's configuration.
        profile: settings of the measurement (`profile.*`).
        fingerprints: content hashes of the `model` and of the `train` split.
        rows: rows of the train split.
        examples: encodes the rows that `profile.max_examples` and `profile.seed` draw, with the labels that the model
            learns where they are known.
        pad_token_id: of the tokenizer.
        special_ids: the tokens that the tokenizer puts around texts.
        accelerator: the processes that measure together.
        store: tensors of whole batches by their numbers, which survive a kill; it counts the seconds of all attempts.
        head: returns the head's tensors by name as `profile.seed` draws them; none where `model` has these already.
        loss: the loss of each row as the run trains on it; None without labels.
        dtype: how the frozen weights of `model` are stored (`model.dtype`); `models.quantized` reads them.
    """

    model: PreTrainedModel
    model_map: ModelMap
    model_name: str
    task: TaskConfig
    profile: ProfileConfig
    fingerprints: Mapping[str, str]
    rows: int
    examples: Callable[[], EncodedSplit]
    pad_token_id: int
    accelerator: Accelerator
    store: StateStore
    special_ids: tuple[int, ...] = ()
    head: Callable[[], Mapping[str, torch.Tensor]] = dict
    loss: BatchLoss | None = None
    dtype: str = "float32"


class Signal(ABC, Generic[ArtifactT]):
    """A measurement. One object per signal, registered in `core.registries.SIGNALS`.

    Attributes:
        name: what an allocator names it by.
        description: what the log says that is measured.
        artifact: the frozen dataclass that it measures; its `FILE` is `signal-NAME.json`.
        settings: every key of the configuration that can change its numbers, such as `profile.seed`.
        contents: what else can: `model`, `train` (the split), or both.
        version: raised when the same inputs would measure to other numbers, so that older files are not reused.
        fewest_texts: how many different training texts it needs.
        needs_labels: whether it reads the labels of the training rows, such as for a loss.
        passes: what a dry run times: passes of the blocks over the texts (`forward`), also back (`backward`), or
            nothing, as of a signal that reads the weights alone (`none`).
    """

    name: str
    description: str
    artifact: type[ArtifactT]
    settings: ClassVar[tuple[str, ...]]
    contents: ClassVar[tuple[Content, ...]]
    version: ClassVar[int] = 1
    fewest_texts: ClassVar[int] = 0
    needs_labels: ClassVar[bool] = False
    passes: ClassVar[Passes] = "forward"

    def __init_subclass__(cls) -> None:
        """Refuse an artifact that runs could not share."""
        super().__init_subclass__()
        artifact, name = getattr(cls, "artifact", None), getattr(cls, "name", IDIM)
        if not isinstance(artifact, type) or name == IDIM:  # what is missing or no class is refused on registration
            return
        declared = getattr(artifact, "__dataclass_fields__", {})
        missing = [part for part in ("model_map", "seconds") if part not in declared]
        file = getattr(artifact, "FILE", None)
        if missing or file != f"signal-{name}.json":
            lacks = f" lacks {', '.join(missing)}" if missing else f" has FILE={quote(file)}"
            raise GeloraError(
                f"{cls.__qualname__}: its artifact {artifact.__name__}{lacks}; accepted: a frozen dataclass with the "
                f'fields model_map and seconds, and FILE: ClassVar[str] = "signal-{name}.json"'
            )

    @abstractmethod
    def measure(self, context: SignalContext) -> ArtifactT:
        """Return what was measured, the same in every process.

        Raises:
            GeloraError: model or texts can't be measured; the message says what to change.
        """

    def rows_read(self, rows: int, profile: ProfileConfig) -> int:
        """Return how many of the drawn rows it passes over, for what a dry run says."""
        return rows

    def untimed(self, profile: ProfileConfig) -> str:
        """Return what a dry run can't time, in words; empty if it is little."""
        return ""

    def operations(self, context: SignalContext) -> int | None:
        """Return the floating-point operations of `measure`, from the shapes; None if that is not known.

        Where its artifact has a field `operations`, the pipeline writes them into it.
        """
        return None

    @property
    def title(self) -> str:
        """Return what messages call it."""
        return f"signal {self.name}"

    @property
    def is_built_in(self) -> bool:
        """Return whether it is one of gelora's own, not a plug-in's."""
        return type(self).__module__.startswith("gelora_cli.")

    def inputs(self, config: RunConfig, fingerprints: Mapping[str, str]) -> Inputs:
        """Return everything that can change a number of this signal.

        Raises:
            GeloraError: `settings` names a key that there is not.
        """
        keys = {key.name: key for key in keys_of(config)}
        if unknown := [name for name in self.settings if name not in keys]:
            raise GeloraError(f"{self.title}: {unknown[0]} is no key of the configuration; correct its settings")
        values: Inputs = {name: keys[name].value_in(config) for name in self.settings}
        values |= {f"sha256 of {name}": fingerprints[name] for name in self.contents}
        if "model" in self.contents and config.model.dtype != ModelConfig().dtype:  # else as before there was this key
            values["model.dtype"] = config.model.dtype
        # Built-in signals leave plug-ins out, so that naming a plug-in doesn't measure them again.
        if config.plugins is not None and not self.is_built_in:
            values["plugins"] = plugins_fingerprint(config.plugins)
        return values | {"signal": self.name, "version": self.version}

    def sharing_hash(self, config: RunConfig, fingerprints: Mapping[str, str]) -> str:
        """Return sixteen hex digits over its inputs, which name the directory that runs with equal inputs share."""
        # The form of this text is part of the names of existing directories.
        text = json.dumps(self.inputs(config, fingerprints), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def without_window_keys(values: Inputs, config: RunConfig) -> Inputs:
    """Return the inputs of a signal without the keys of windows, where the task's kind has none."""
    ignored = set() if TASK_KINDS.get(config.task.kind).has_windows else WINDOW_KEYS
    return {name: value for name, value in values.items() if name not in ignored}
