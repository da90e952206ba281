"""One process's model, tokenizer and accelerator, loaded once; what the stages share of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.result import RunResult, ScoreScale
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.logs import LOGGER, setup_logging
from gelora_cli.core.messages import join_texts, quote_name
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.data.protocol import ProtocolSplits, limit_evaluated_rows, protocol_splits, training_rows
from gelora_cli.data.scale import fit_score_scale, standardize, unstandardize
from gelora_cli.data.sources import Split
from gelora_cli.data.splits import draw_rows
from gelora_cli.models.block_map import block_modules, is_inside
from gelora_cli.models.load import LoadedModel
from gelora_cli.models.recompute import recomputing
from gelora_cli.models.shapes import read_shapes
from gelora_cli.pipeline.agreement import check_agreement
from gelora_cli.pipeline.inputs import ResolvedInputs
from gelora_cli.pipeline.lineage import load_start
from gelora_cli.pipeline.start_log import log_start
from gelora_cli.tasks.losses import class_weights, training_loss

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from gelora_cli.tasks.losses import BatchLoss
    from gelora_cli.training.evaluation import Evaluation

Result = TypeVar("Result")


def open_session(inputs: ResolvedInputs, log: Path | None) -> Session:
    """Start the log on standard error and in the file `log`, say what will be run, and load the model."""
    from gelora_cli.core.distributed import make_accelerator
    from gelora_cli.core.memory import begin_peak

    accelerator = make_accelerator(inputs.precision)  # first: it knows which process is the main one, which logs
    setup_logging(log, main=accelerator.is_main_process)
    check_agreement(inputs, accelerator)
    begin_peak(accelerator.device)  # a run before this one in the same process has a peak of its own
    log_start(inputs, accelerator)
    LOGGER.info("loading the model: %s", inputs.model.source)
    return Session(inputs, accelerator)


class Session:
    """One process's model, tokenizer and accelerator, loaded once and shared by the stages."""

    def __init__(self, inputs: ResolvedInputs, accelerator: Accelerator) -> None:
        from gelora_cli.models.tokenizer import check_vocabulary, load_tokenizer

        self.inputs, self.accelerator, self.config = inputs, accelerator, inputs.config
        self.seconds: dict[str, float] = {}
        self._warned: set[tuple[str, str]] = set()  # (split, warning)
        self._casts: dict[int, torch.Tensor] = {}  # of frozen weights, for CUDA graphs
        self.start_differences: dict[str, float] = {}
        with self.timed("model"):
            self.loaded = self.fresh_model()
            self.shapes = read_shapes(self.loaded.model, self.loaded.map)  # before an adapter adds its own
            self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(inputs.model, self.loaded.map.kind)
        check_vocabulary(self.tokenizer, self.loaded.model)
        # A tokenizer without a padding token: 0 is as good as any, since padding is masked.
        self.pad_token_id = int(self.tokenizer.pad_token_id or 0)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of what is done inside to those of a stage."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def fresh_model(self) -> LoadedModel:
        """Load the pretrained model, or what `init_from` makes of it, with a new head, on this process's device.

        Adapters of earlier runs are merged in float32, and only then are the weights stored as `model.dtype` says.
        """
        from gelora_cli.models.quantized import store_weights

        loaded = load_start(self.inputs.model, self.config, self.inputs.ancestors)
        loaded = store_weights(loaded, self.config.model.dtype, self.accelerator.device)
        loaded.model.to(self.accelerator.device)
        return loaded

    def encode(self, split: Split) -> EncodedSplit:
        """Return the token sequences of a split."""
        return split.encode(self.tokenizer, self.config.task)

    def encode_and_warn(self, split: Split) -> EncodedSplit:
        """Return the token sequences of a split, and warn of what was lost, such as texts cut to the longest length."""
        encoded = self.encode(split)
        encoded.refuse_useless()
        for text in encoded.warnings():
            # Once for a text: the profile and the training may read the same rows.
            if (split.name, text) not in self._warned:
                self._warned.add((split.name, text))
                LOGGER.warning("%s: %s", split.name, text)
        return encoded

    @cached_property
    def protocol_splits(self) -> ProtocolSplits:
        """Return what the protocol trains on, selects by and reports."""
        splits = protocol_splits(self.config.task, self.config.protocol, self.inputs.splits)
        return limit_evaluated_rows(splits, self.config.data.max_eval_examples)

    def eval_splits(self) -> list[EncodedSplit]:
        """Return the evaluated splits, the deciding one first."""
        with self.timed("data"):
            return [self.encode_and_warn(split) for split in self.protocol_splits.evaluated]

    def reported_splits(self) -> list[EncodedSplit]:
        """Return the evaluated splits that are reported."""
        splits = self.protocol_splits
        with self.timed("data"):
            return [self.encode_and_warn(split) for split in splits.evaluated if split.name in splits.reported]

    def forward(self, model: nn.Module, split: EncodedSplit, *, compared: bool = False) -> Any:
        """Return what the task keeps of the model's outputs, one row per sequence of the split, on every process.

        By which two models are compared if `compared` is true.
        """
        from gelora_cli.training.evaluation import forward

        return forward(
            model,
            split,
            self.config.task,
            batch_size=self.config.train.eval_batch_size,
            pad_token_id=self.pad_token_id,
            accelerator=self.accelerator,
            compared=compared,
        )

    @contextmanager
    def step_arithmetic(self) -> Iterator[None]:
        """Have the model compute inside as it does while it is trained."""
        from gelora_cli.methods.updates.arithmetic import training_arithmetic

        blocks = block_modules(self.loaded.model, self.loaded.map)
        bf16, fast = self.inputs.precision == "bf16", self.config.train.fast
        with (
            training_arithmetic(blocks, bf16=bf16, fast=fast, kept=self._casts if fast else None),
            recomputing(self.recomputed_blocks()),
        ):
            yield

    def recomputed_blocks(self) -> list[nn.Module]:
        """Return the blocks that are computed again on the way back; none without `train.gradient_checkpointing`."""
        if not self.config.train.gradient_checkpointing:
            return []
        return block_modules(self.loaded.model, self.loaded.map)

    def scores(self, model: nn.Module, split: EncodedSplit) -> Any:
        """Return the numbers by which two models are compared on a split."""
        kind = TASK_KINDS.get(self.config.task.kind)
        return kind.comparison_scores(self.forward(model, split, compared=True), self.config.task)

    def evaluate(self, model: nn.Module, split: EncodedSplit) -> Evaluation:
        """Evaluate the model on a split: metrics, prediction rows and the task's own files."""
        from gelora_cli.training.evaluation import evaluate

        started = time.perf_counter()
        return evaluate(self.config.task, split, self.outputs(model, split), started)

    def outputs(self, model: nn.Module, split: EncodedSplit) -> Any:
        """Return what `forward` gives, with scores on the scale of the data."""
        values = self.forward(model, split)
        return values if self.scale is None else unstandardize(values, self.scale)

    @cached_property
    def train_rows(self) -> Split:
        """Return the training rows of this run, drawn where `data.max_train_examples` asks for fewer than all."""
        return training_rows(self.protocol_splits.train, self.config)

    @cached_property
    def loss(self) -> BatchLoss:
        """Return the loss of each row that this run minimises."""
        weights = class_weights(self.config.task, self.train_rows)
        if weights is not None:
            pairs = zip(self.config.task.labels, weights, strict=True)
            LOGGER.info("class weights: %s", join_texts(f"{quote_name(label)} {weight:.4g}" for label, weight in pairs))
        return training_loss(self.config, self.train_rows)

    @cached_property
    def signal_loss(self) -> BatchLoss:
        """Return the loss that signals measure, of weights balanced to all training rows (see `profile_split`)."""
        return training_loss(self.config, self.inputs.splits["train"])

    @cached_property
    def scale(self) -> ScoreScale | None:
        """Return the scale of the scores that this run trains on; None where it trains on the labels as they are.

        A session that opens a finished run takes it from `read_scale` instead.
        """
        if not TASK_KINDS.get(self.config.task.kind).standardizes(self.config.task):
            return None
        return fit_score_scale(np.asarray(self.train_rows.labels))

    def read_scale(self, directory: Path) -> None:
        """Read the scale that a finished run was trained on."""
        self.scale = read_artifact(RunResult, directory / RunResult.FILE).scale

    def train_split(self) -> EncodedSplit:
        """Return the token sequences of the training rows, with the labels that the model learns."""
        with self.timed("data"):
            split = self.encode_and_warn(self.train_rows)
            if self.scale is None:
                return split
            return replace(split, labels=standardize(np.asarray(split.labels), self.scale))

    def profile_split(self) -> EncodedSplit:
        """Return what signals measure: `profile.max_examples` drawn rows, with the labels that the model learns.

        A question may give several windows. Of these, too, as many are drawn. Scores are standardized by all training
        rows, since those that a run draws depend on its seed.
        """
        train, profile = self.inputs.splits["train"], self.config.profile
        # Drawn with the profile's seed, not the run's: runs of all seeds share one profile.
        split = self.encode_and_warn(train.take(draw_rows(len(train), profile.max_examples, profile.seed)))
        rows = draw_rows(len(split), profile.max_examples, profile.seed)
        selected = split.select(rows)
        if selected.labels is None or not TASK_KINDS.get(self.config.task.kind).standardizes(self.config.task):
            return selected
        return replace(selected, labels=standardize(selected.labels, fit_score_scale(np.asarray(train.labels))))

    def profile_head(self) -> dict[str, torch.Tensor]:
        """Return the head's tensors as `profile.seed` draws them, by name; none where that is the run's seed.

        Tensors that come from the weights are the same for every seed, so a pretrained head has none of them.
        """
        config = self.config
        if config.profile.seed == config.seed or not self.loaded.map.head_modules:
            return {}
        # Loaded a second time, since only loading draws a head exactly as a run with that seed does.
        loaded = load_start(self.inputs.model, replace(config, seed=config.profile.seed), ())
        parameters = loaded.model.named_parameters()
        return {name: tensor for name, tensor in parameters if is_inside(name, loaded.map.head_modules)}

    def compute_once(self, compute: Callable[[], Result]) -> Result:
        """Compute on the main process, and return the result on every process."""
        from accelerate.utils import broadcast_object_list

        # The others wait here for the main process, so every process must call this at the same point.
        results = [compute() if self.accelerator.is_main_process else None]
        return cast(Result, broadcast_object_list(results)[0])

    def with_adapter(self, base: LoadedModel, directory: Path) -> nn.Module:
        """Load the saved adapter into this base model, in the run's precision."""
        from gelora_cli.methods import load_adapter

        model = load_adapter(base.model, directory / run_files.ADAPTER).to(self.accelerator.device)
        adapted: nn.Module = self.accelerator.prepare_model(model, evaluation_mode=True)
        return adapted


def open_quiet_session(inputs: ResolvedInputs) -> Session:
    """Load model and tokenizer in this process, without a log."""
    from gelora_cli.core.distributed import make_accelerator

    return Session(inputs, make_accelerator(inputs.precision))


def close_session(session: Session, directory: Path) -> None:
    """Write the seconds of the stages and the peak memory (bytes, the largest of all processes) to run.json."""
    import torch

    from gelora_cli.core.distributed import gather_rows
    from gelora_cli.core.memory import peak_bytes

    device = session.accelerator.device  # gathering needs a tensor there
    peaks = gather_rows(session.accelerator, torch.tensor([peak_bytes(device)], device=device))
    if session.accelerator.is_main_process:
        manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
        seconds = {stage: round(value, 3) for stage, value in session.seconds.items()}
        write_artifact(replace(manifest, seconds=seconds, peak_bytes=int(peaks.max())), directory)
