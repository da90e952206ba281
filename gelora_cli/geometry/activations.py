"""Spectra of what the linear layers of a model read on texts, with all texts and without each tenth of them.

Letters: D the width of an input, n its tokens.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.signals import LinearInputs, Spectrum
from gelora_cli.core.distributed import Device, gather_objects
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.progress import log_through_progress, progress
from gelora_cli.data.batches import sorted_batches
from gelora_cli.data.collate import collate
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.geometry.jackknife import FOLDS, fold_of_texts
from gelora_cli.geometry.linear_inputs import InputHooks, distinct_inputs
from gelora_cli.geometry.moments import Moments, MomentSums, merged, pack, unpack, without
from gelora_cli.geometry.spectrum import effective_rank
from gelora_cli.geometry.states import StateStore
from gelora_cli.models.modes import evaluating

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

LABEL = "activations"

MOST_SHARES = 128
"""Leading shares of a spectrum that are kept, so also the largest rank that `eva_ranks` can give a module."""

ROOM_BYTES = 2 * 2**30
"""Sums of so many bytes are held at once. A model with more is read in several passes, some of its inputs in each."""

BYTES_OF_SUM = 12  # of each entry of a matrix: once in float64, once in float32

FIRST_SPECTRUM = 10_000_000
"""The number in the store under which the spectra of the first input are kept, above those of all sums."""


@dataclass(frozen=True)
class InputSpectra:
    """What a measurement of the inputs gives.

    Attributes:
        inputs: a row for each distinct input, in the order of the blocks.
        examples: number of texts, or of windows of question answering.
        tokens: number of their tokens.
    """

    inputs: tuple[LinearInputs, ...]
    examples: int
    tokens: int


def measure_inputs(
    model: PreTrainedModel,
    model_map: ModelMap,
    split: EncodedSplit,
    *,
    seed: int,
    batch_size: int,
    pad_token_id: int,
    accelerator: Accelerator | Device,
    store: StateStore,
) -> InputSpectra:
    """Return the spectra of the covariance of every distinct input, over all tokens that are no padding.

    What a shared block reads in its passes is put together, since one update serves all of them.
    The tokens are those that EVA counts, special tokens among them. Each tenth of the texts is summed by one process,
    so that its sums are the same on any number of processes, up to ten of which have work. Sums and spectra are kept
    in `store`. What it holds is not measured again.

    Args:
        model: the pretrained model; its mode, hooks and random state are left as they were.
        model_map: its blocks and linears.
        split: the drawn texts.
        seed: of the tenths.
        batch_size: texts per forward pass.
        pad_token_id: of the tokenizer.
        accelerator: the processes that measure together.
        store: keeps sums and spectra.

    Raises:
        GeloraError: fewer than ten texts, or a linear that does not read one vector for each token.
    """
    passes = model_map.passes_of_linears()
    measurement = _Measurement(model, passes, split, seed, batch_size, pad_token_id, accelerator, store)
    with torch.no_grad(), evaluating(model):
        longest = sorted_batches(split.lengths, 1)[0]
        inputs = distinct_inputs(model, model_map, collate(split, longest, pad_token_id, accelerator.device).inputs)
        spectra: list[list[Spectrum]] = []
        for number, group in enumerate(_groups(model, inputs)):
            spectra += measurement.measure(group, number, len(spectra))
    rows = [
        LinearInputs(names, measured[-1], tuple(measured[:-1])) for names, measured in zip(inputs, spectra, strict=True)
    ]
    return InputSpectra(tuple(rows), len(split), int(split.lengths.sum()))


def spectrum_of(moments: Moments) -> Spectrum:
    """Return the spectrum of the covariance of vectors with these moments."""
    # The scatter is the covariance times a number, which leaves all shares as they are.
    eigenvalues = (
        torch.linalg.eigvalsh(moments.scatter, UPLO="U").clamp(min=0).flip(0).cpu().numpy()
    )  # (D,), descending
    total = float(eigenvalues.sum())
    if total == 0:  # all vectors are equal
        return Spectrum(0.0, 0.0, (0.0,) * min(len(eigenvalues), MOST_SHARES))
    shares = eigenvalues / total  # (D,)
    return Spectrum(
        effective_rank=effective_rank(eigenvalues),
        participation_ratio=1 / float((shares**2).sum()),
        explained=tuple(map(float, shares[:MOST_SHARES])),
    )


def _groups(model: PreTrainedModel, inputs: Sequence[tuple[str, ...]]) -> list[list[str]]:
    """Return the first linear of every input, in groups whose sums fit into `ROOM_BYTES`."""
    groups: list[list[str]] = []
    used = 0  # bytes
    for name, *_ in inputs:
        size = BYTES_OF_SUM * _width(model, name) ** 2
        if not groups or used + size > ROOM_BYTES:
            groups.append([])
            used = 0
        groups[-1].append(name)
        used += size
    return groups


def _width(model: PreTrainedModel, name: str) -> int:
    return cast(nn.Linear, model.get_submodule(name)).in_features


class _Measurement:
    """The texts in tenths, and what all groups of inputs share."""

    def __init__(
        self,
        model: PreTrainedModel,
        passes: Mapping[str, int],
        split: EncodedSplit,
        seed: int,
        batch_size: int,
        pad_token_id: int,
        accelerator: Accelerator | Device,
        store: StateStore,
    ) -> None:
        self.model, self.passes, self.split, self.pad_token_id = model, passes, split, pad_token_id
        self.accelerator, self.store = accelerator, store
        fold = fold_of_texts(split.texts(), FOLDS, seed)  # (texts,)
        if len(np.unique(fold)) < FOLDS:
            raise GeloraError(
                f"signal {LABEL}: {len(split)} rows have too few different texts for {FOLDS} parts; give at least "
                f"{FOLDS} different training texts"
            )
        self.batches = [_batches(split, np.flatnonzero(fold == tenth), batch_size) for tenth in range(FOLDS)]

    def measure(self, group: list[str], number: int, first: int) -> list[list[Spectrum]]:
        """Return the spectra of each input of a group: ten without a tenth each, and that of all texts.

        Args:
            group: a linear of each input.
            number: of the group.
            first: number of the group's first input.
        """
        places = [FIRST_SPECTRUM + first + index for index in range(len(group))]
        self._meet()
        if not all(place in self.store for place in places):
            self._sum_tenths(group, number)
            self._meet()
            self._decompose(group, number, places)
            self._meet()
        if self.accelerator.is_main_process:
            for unit in range(number * FOLDS, (number + 1) * FOLDS):
                self.store.discard(unit)
        return [_read_spectra(self.store, place) for place in places]

    def _meet(self) -> None:
        """Wait for all processes, and see what they wrote: their directory is the same."""
        gather_objects(self.accelerator, None)
        if self.accelerator.num_processes > 1:
            self.store.refresh()

    def _sum_tenths(self, group: list[str], number: int) -> None:
        """Sum the inputs of a group over each of this process's tenths; the sums go to the store."""
        accelerator = self.accelerator
        tenths = range(accelerator.process_index, FOLDS, accelerator.num_processes)
        texts = sum(len(rows) for tenth in tenths for rows in self.batches[tenth])
        with log_through_progress(), progress(texts, "ex", LABEL, enabled=accelerator.is_main_process) as bar:
            for tenth in tenths:
                if (unit := number * FOLDS + tenth) not in self.store:
                    self._sum_tenth(group, tenth, unit)
                bar.update(sum(map(len, self.batches[tenth])))
        # Every process logs by its own count, so that the log shows that the work was shared.
        for process, pid, count in gather_objects(accelerator, (accelerator.process_index, os.getpid(), texts)):
            LOGGER.info("%s: process %d (pid %d) read %d of %d texts", LABEL, process, pid, count, len(self.split))

    def _sum_tenth(self, group: list[str], tenth: int, unit: int) -> None:
        device = self.accelerator.device
        sums = {name: MomentSums(_width(self.model, name), device) for name in group}
        passes = {name: self.passes[name] for name in group}
        with InputHooks(self.model, passes, lambda name, tokens: sums[name].add(tokens)) as hooks:
            for rows in self.batches[tenth]:
                hooks.forward(collate(self.split, rows, self.pad_token_id, device).inputs)
        tensors: list[torch.Tensor] = []
        for name in group:
            moments = sums.pop(name).moments()
            if not torch.isfinite(moments.mean).all():
                raise GeloraError(
                    f"signal {LABEL}: {name} reads NaN or infinite values. The weights of the model are damaged, or "
                    "too large for float32: use another model"
                )
            tensors += pack(moments)
        self.store.add(unit, tensors)
        self.store.flush(unit)

    def _decompose(self, group: list[str], number: int, places: list[int]) -> None:
        """Make spectra of the sums; the processes take inputs in turn, the widest first, which cost most."""
        accelerator = self.accelerator
        by_width = sorted(range(len(group)), key=lambda index: -_width(self.model, group[index]))
        share = by_width[accelerator.process_index :: accelerator.num_processes]
        with progress(len(share), "inputs", "spectra", enabled=accelerator.is_main_process) as bar:
            for index in share:
                if places[index] not in self.store:
                    self._decompose_input(number, index, places[index])
                bar.update(1)

    def _decompose_input(self, number: int, index: int, place: int) -> None:
        # One tenth at a time: ten matrices at once would take much memory.
        whole = reduce(merged, (self._moments(number, index, tenth) for tenth in range(FOLDS)))
        spectra = [spectrum_of(without(whole, self._moments(number, index, tenth))) for tenth in range(FOLDS)]
        self.store.add(place, [_spectra_tensor([*spectra, spectrum_of(whole)])])
        self.store.flush(place)

    def _moments(self, number: int, index: int, tenth: int) -> Moments:
        """Return the moments of one input over one tenth."""
        unit = number * FOLDS + tenth
        head, triangle = (self.store.load_layer(unit, 2 * index + part) for part in range(2))
        return unpack(head, triangle, self.accelerator.device)


def _batches(split: EncodedSplit, rows: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Return batches of these rows, of similar length."""
    return [rows[batch] for batch in sorted_batches(split.lengths[rows], batch_size)]


def _spectra_tensor(spectra: Sequence[Spectrum]) -> torch.Tensor:
    """Return spectra as rows of effective rank, participation ratio and explained shares, float64."""
    rows = [[row.effective_rank, row.participation_ratio, *row.explained] for row in spectra]
    return torch.tensor(rows, dtype=torch.float64)


def _read_spectra(store: StateStore, place: int) -> list[Spectrum]:
    rows = store.load_layer(place, 0).tolist()
    return [Spectrum(effective, participation, tuple(shares)) for effective, participation, *shares in rows]
