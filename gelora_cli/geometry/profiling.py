"""Stage 1: the intrinsic dimension of every layer's hidden states on a task's text."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.profile import IdProfile, LayerIdim, ProfileSettings
from gelora_cli.core.devices import autocast
from gelora_cli.core.distributed import Device, gather_rows
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.progress import log_through_progress, progress
from gelora_cli.data.batches import sorted_batches
from gelora_cli.data.collate import collate
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.geometry.layers import estimate_layers
from gelora_cli.geometry.pooling import Pooling, make_pooling
from gelora_cli.geometry.states import StateStore

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Measurement:
    """What a pass over the texts measured.

    Attributes:
        layers: a row for each layer 0 .. L.
        drawn: number of examples in the split.
        duplicates: how many of them have the token sequence of an earlier one.
        used: how many were forwarded.
        scale: n1 of the estimator `gride`, the same for all layers; None for the others.
    """

    layers: tuple[LayerIdim, ...]
    drawn: int
    duplicates: int
    used: int
    scale: int | None

    def profile(
        self,
        *,
        model: str,
        model_fingerprint: str,
        task: str,
        data_fingerprint: str,
        settings: ProfileSettings,
        examples_seen: int,
        model_map: ModelMap,
        seconds: float,
    ) -> IdProfile:
        """Return the measurement as an artifact; the arguments are the other fields of the profile."""
        return IdProfile(
            model=model,
            model_fingerprint=model_fingerprint,
            task=task,
            data_fingerprint=data_fingerprint,
            settings=settings,
            examples_seen=examples_seen,
            examples_drawn=self.drawn,
            examples_copies=self.duplicates,
            examples_used=self.used,
            layers=self.layers,
            model_map=model_map,
            seconds=seconds,
            scale=self.scale,
        )


def measure(
    model: PreTrainedModel,
    layers: Sequence[nn.Module],
    split: EncodedSplit,
    settings: ProfileSettings,
    *,
    batch_size: int,
    pad_token_id: int,
    accelerator: Accelerator | Device,
    special_ids: Sequence[int] = (),
    store: StateStore | None = None,
    with_scales: bool = False,
) -> Measurement:
    """Return the idims d_0 .. d_L of the pooled hidden states of `split`, from one pass of the pretrained model.

    Equal token sequences are forwarded once. Batches of similar length go to the processes in turn, so that a batch
    holds the same examples on any number of processes. Layers are estimated by the processes in turn, too. Batches
    that `store` holds are not forwarded again. The model is left in evaluation mode. Tokens of `special_ids` are no
    points where single tokens are. `with_scales` adds idim against the size of the neighbourhood and at N/8.

    `layers` are the modules that produce the layers 1 .. L (`models.block_map.layer_modules`); a block that runs
    several times is among them several times.

    Raises:
        GeloraError: the model runs its blocks more or less often than that.
    """
    rows = split.distinct_rows()
    pooling = make_pooling(settings.pooling, split, tokens=settings.tokens, seed=settings.seed, special_ids=special_ids)
    batches = [rows[batch] for batch in sorted_batches(split.lengths[rows], batch_size)]
    share = dict(list(enumerate(batches))[accelerator.process_index :: accelerator.num_processes])
    started = time.perf_counter()
    with autocast(accelerator.device, settings.precision):
        states = _forward(model, layers, split, share, pooling, pad_token_id, accelerator, store)
    forwarded = time.perf_counter()
    # Every process logs by its own count, so that the log shows that the work was shared.
    count = sum(map(len, share.values()))
    line = torch.tensor([[accelerator.process_index, os.getpid(), count]], device=accelerator.device)  # (1, 3)
    for process, pid, examples in gather_rows(accelerator, line).tolist():
        LOGGER.info("profile: process %d (pid %d) measured %d of %d examples", process, pid, examples, len(rows))
    # Gathering puts rank 0's batches first, then rank 1's, and so on.
    processes = accelerator.num_processes
    gathered = np.concatenate([batch for rank in range(processes) for batch in batches[rank::processes]])  # (used,)
    row_of_point = np.repeat(gathered, pooling.counts(gathered))  # (points,)
    order = np.argsort(row_of_point, kind="stable")  # back to the order of the split, on any number of processes
    texts = np.searchsorted(rows, row_of_point[order])  # (points,): 0 .. used - 1, since `rows` ascend
    rows_of_layers, scale = estimate_layers(states, order, texts, settings, with_scales, accelerator)
    LOGGER.info(
        "profile: %.1f s for the passes of the model, %.1f s for neighbours and idims of %s points%s",
        forwarded - started,
        time.perf_counter() - forwarded,
        f"{len(order):,}",
        " at several scales" if with_scales else "",
    )
    return Measurement(rows_of_layers, len(split), len(split) - len(rows), len(rows), scale)


def pooled_states(
    model: PreTrainedModel,
    layers: Sequence[nn.Module],
    split: EncodedSplit,
    pooling: Pooling,
    *,
    batch_size: int,
    pad_token_id: int,
    accelerator: Accelerator | Device,
) -> list[NDArray[np.float32]]:
    """Return the points of every layer 0 .. L, (points, D) each, in the order of the split, by this process alone.

    `layers` are those of `measure`.
    """
    batches = sorted_batches(split.lengths, batch_size)
    states = _forward(model, layers, split, dict(enumerate(batches)), pooling, pad_token_id, accelerator, None)
    rows = np.concatenate(batches)
    order = np.argsort(np.repeat(rows, pooling.counts(rows)), kind="stable")
    return [points.numpy()[order] for points in states]


def _forward(
    model: PreTrainedModel,
    layers: Sequence[nn.Module],
    split: EncodedSplit,
    batches: Mapping[int, NDArray[np.int64]],
    pooling: Pooling,
    pad_token_id: int,
    accelerator: Accelerator | Device,
    store: StateStore | None,
) -> list[torch.Tensor]:
    """Return this process's points of every layer, each (points of its share, D) float32 on the CPU.

    States are pooled batch by batch: those of all tokens would take T times the memory.
    """
    model.eval()  # type: ignore[no-untyped-call]
    body = model.base_model
    parts: list[list[torch.Tensor]] = [[] for _ in range(len(layers) + 1)]
    with (
        torch.no_grad(),  # in inference mode what a model caches could not be used by its training
        _LayerStates(layers, pooling) as layer_states,
        log_through_progress(),
        progress(sum(map(len, batches.values())), "ex", "profile", enabled=accelerator.is_main_process) as bar,
    ):
        for number, rows in batches.items():
            states = store.load(number) if store else None
            if states is None:
                batch = collate(split, rows, pad_token_id, accelerator.device)
                layer_states.mask = batch.inputs["attention_mask"]
                pooling.begin(rows, accelerator.device)
                body(**batch.inputs)
                states = [state.cpu() for state in layer_states.take()]  # (P, D) each
                if store:
                    store.add(number, states)
            for layer, state in enumerate(states):
                parts[layer].append(state)
            bar.update(len(rows))
    width = model.config.hidden_size
    return [torch.cat(layer) if layer else torch.zeros(0, width) for layer in parts]


class _LayerStates:
    """Hooks that pool the input of the first block, and what each block returns each time that it runs."""

    def __init__(self, layers: Sequence[nn.Module], pooling: Pooling) -> None:
        self.layers, self.pooling = layers, pooling
        self.mask = torch.zeros(0)  # of the batch that goes through the model
        self._states: list[torch.Tensor] = []

    def __enter__(self) -> _LayerStates:
        first = self.layers[0].register_forward_pre_hook(self._input, with_kwargs=True)
        blocks = dict.fromkeys(self.layers)  # a shared block once, although it is called for several layers
        self._handles = [first, *(block.register_forward_hook(self._output) for block in blocks)]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def take(self) -> list[torch.Tensor]:
        """Return and forget the pooled states of the last forward pass, layer 0 first.

        Raises:
            GeloraError: the blocks ran more or less often than there are layers.
        """
        states, self._states = self._states, []
        if len(states) != len(self.layers) + 1:
            raise GeloraError(
                f"the {len(dict.fromkeys(self.layers))} blocks of the map ran {len(states) - 1} times in one forward "
                f"pass, not {len(self.layers)} times. Blocks that run several times, or not at all, need a declaration "
                "of their kind of model that says so (ModelKind.passes, as that of ALBERT)."
            )
        return states

    def _input(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._states:  # the first pass through a shared block alone
            self._pool(args[0] if args else kwargs["hidden_states"])

    def _output(self, _: nn.Module, __: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        self._pool(output[0] if isinstance(output, tuple) else output)

    def _pool(self, hidden: torch.Tensor) -> None:
        self._states.append(self.pooling.points(hidden, self.mask))
