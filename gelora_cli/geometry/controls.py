"""What a profile must differ from to say something of the task: a model that learned nothing, texts without grammar."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.geometry.tokens import shuffle_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

UNTRAINED, SHUFFLED = "untrained", "shuffled"


def control_inputs(
    model: PreTrainedModel, split: EncodedSplit, control: str | None, *, seed: int, special_ids: Sequence[int]
) -> tuple[PreTrainedModel, EncodedSplit]:
    """Return the model and the texts that a control measures; both as they are where `control` is None.

    The model itself is left as it was.
    """
    if control == UNTRAINED:
        return untrained_model(model, seed), split
    if control == SHUFFLED:
        return model, shuffle_tokens(split, seed=seed, special_ids=special_ids)
    return model, split


def untrained_model(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """Return a second model of the same configuration on the same device, as transformers initialises it by a seed.

    The weights of its backbone are the same under every head. It needs the memory of the model once more. The global
    random state stays as it was.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        untrained: Any = type(model)(copy.deepcopy(model.config))
        # Drawn apart from the head, which would move the generator by a number that depends on the task.
        torch.default_generator.manual_seed(seed)  # the CPU's, where it is built: the same on every device and process
        backbone: Any = type(model.base_model)(copy.deepcopy(model.config))
    untrained.base_model.load_state_dict(backbone.state_dict(), strict=False)  # a head may leave out the pooler
    return cast("PreTrainedModel", untrained.to(device=model.device, dtype=model.dtype).eval())
