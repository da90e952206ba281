"""One process's model, tokenizer and accelerator, loaded once; what the stages share of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.ranks import EXEMPT_BUDGET
from gelora_cli.allocation.saved_plan import read_plan
from gelora_cli.config.checks import standardizes
from gelora_cli.config.presets import plan_settings
from gelora_cli.config.schema import RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile, ProfileSettings
from gelora_cli.core.artifacts.result import SMOKE_REMARK, RunResult, ScoreScale
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.errors import GeloraError, RunError
from gelora_cli.core.files import write_artifact
from gelora_cli.core.logs import LOGGER, setup_logging
from gelora_cli.core.registries import METHODS, TASK_KINDS
from gelora_cli.data.batches import epoch_batches
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.data.protocol import ProtocolSplits, limit_evaluated_rows, protocol_splits
from gelora_cli.data.scale import fit_score_scale, standardize, unstandardize
from gelora_cli.data.sources import Split
from gelora_cli.data.splits import TextSplit, draw_rows
from gelora_cli.models.load import LoadedModel
from gelora_cli.pipeline.inputs import ResolvedInputs, budget_name
from gelora_cli.pipeline.lineage import load_start

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from gelora_cli.methods.base import AdaptedModel
    from gelora_cli.training.evaluation import Evaluation
    from gelora_cli.training.settings import TrainSettings

PROBE_EXAMPLES = 8


def open_session(prepared: ResolvedInputs, log: Path | None) -> Session:
    """Start the log, on standard error and in a file, with what is run on what, and load the model."""
    from gelora_cli.core.devices import device_name
    from gelora_cli.core.distributed import make_accelerator

    accelerator = make_accelerator(prepared.precision)
    setup_logging(log, main=accelerator.is_main_process)
    config = prepared.config
    LOGGER.info("%s on %s", prepared.model.source, device_name(accelerator.device))
    shown = (config.task.name, config.method.name, budget_name(config) or EXEMPT_BUDGET, config.seed)
    LOGGER.info("task %s, method %s, budget %s, seed %d", *shown)
    if config.smoke:
        LOGGER.warning("%s", SMOKE_REMARK)
    LOGGER.info("precision %s, processes %d", prepared.precision, accelerator.num_processes)
    has_labels = TASK_KINDS.get(config.task.kind).target == "labels"
    for split in prepared.splits.values():
        if isinstance(split, TextSplit) and split.labels is not None and has_labels:
            LOGGER.info("%s: %s rows, %s", split.name, f"{len(split):,}", split.label_counts(config.task.labels))
        if split.note:
            LOGGER.info("%s: %s", split.name, split.note)
    if config.task.source == "text":
        _warn_of_shared_texts(prepared)
    return Session(prepared, accelerator)


def _warn_of_shared_texts(prepared: ResolvedInputs) -> None:
    """Say which evaluated splits of the user's own hold texts that are trained on: their values are too high."""
    train = prepared.splits.get("train")
    for name, split in prepared.splits.items():
        if name == "train" or not isinstance(train, TextSplit) or not isinstance(split, TextSplit):
            continue
        if shared := split.count_rows_in(train):
            LOGGER.warning(
                "%s: %s of %s rows have texts that are trained on, too, so its values tell little of new texts",
                name,
                f"{shared:,}",
                f"{len(split):,}",
            )


class Session:
    """One process's model, tokenizer and accelerator, loaded once and shared by the stages."""

    def __init__(self, prepared: ResolvedInputs, accelerator: Accelerator) -> None:
        from gelora_cli.models.tokenizer import check_vocabulary, load_tokenizer

        self.prepared, self.accelerator, self.config = prepared, accelerator, prepared.config
        self.seconds: dict[str, float] = {}
        self._warned: set[tuple[str, str]] = set()
        with self.timed("model"):
            self.loaded = self.fresh_model()
            self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(prepared.model, self.loaded.map.kind)
        check_vocabulary(self.tokenizer, self.loaded.model)
        self.pad_token_id = int(self.tokenizer.pad_token_id or 0)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of a stage."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def fresh_model(self) -> LoadedModel:
        """The pretrained model, or what `init_from` makes of it, with the task's new head, on this process's device."""
        loaded = load_start(self.prepared.model, self.config, self.prepared.ancestors)
        loaded.model.to(self.accelerator.device)
        return loaded

    def encode(self, split: Split) -> EncodedSplit:
        """Token sequences of a split."""
        return split.encode(self.tokenizer, self.config.task)

    def encode_aloud(self, split: Split) -> EncodedSplit:
        """Token sequences of a split, and a warning in the log where texts had to be cut for them."""
        encoded = self.encode(split)
        text = encoded.truncation.describe() if encoded.truncation else ""
        if text and (split.name, text) not in self._warned:  # the profile and the training may read the same rows
            self._warned.add((split.name, text))
            LOGGER.warning("%s: %s", split.name, text)
        return encoded

    @cached_property
    def parts(self) -> ProtocolSplits:
        """What the protocol trains on, selects by and reports."""
        parts = protocol_splits(self.config.task, self.config.protocol, self.prepared.splits)
        return limit_evaluated_rows(parts, self.config.data.max_eval_examples)

    def eval_splits(self) -> list[EncodedSplit]:
        """The evaluated splits, the deciding one first."""
        with self.timed("data"):
            return [self.encode_aloud(split) for split in self.parts.evaluated]

    def reported_splits(self) -> list[EncodedSplit]:
        """Those of them that are reported."""
        with self.timed("data"):
            return [self.encode_aloud(split) for split in self.parts.evaluated if split.name in self.parts.reported]

    def forward(self, model: nn.Module, split: EncodedSplit) -> Any:
        """What the task keeps of the model's outputs on a split, a row per sequence, on every process."""
        from gelora_cli.training.evaluation import forward

        return forward(
            model,
            split,
            self.config.task,
            batch_size=self.config.train.eval_batch_size,
            pad_token_id=self.pad_token_id,
            accelerator=self.accelerator,
        )

    def scores(self, model: nn.Module, split: EncodedSplit) -> Any:
        """The numbers by which two models are compared on a split."""
        kind = TASK_KINDS.get(self.config.task.kind)
        return kind.comparison_scores(self.forward(model, split), self.config.task)

    def evaluate(self, model: nn.Module, split: EncodedSplit) -> Evaluation:
        """Metrics, prediction rows and the task's own files of a split."""
        from gelora_cli.training.evaluation import evaluate

        started = time.perf_counter()
        return evaluate(self.config.task, split, self.outputs(model, split), started)

    def outputs(self, model: nn.Module, split: EncodedSplit) -> Any:
        """What `forward` gives, scores on the scale of the data."""
        values = self.forward(model, split)
        return values if self.scale is None else unstandardize(values, self.scale)

    @cached_property
    def train_rows(self) -> Split:
        """The training rows of this run."""
        train, config = self.parts.train, self.config
        return train.take(draw_rows(len(train), config.data.max_train_examples, config.seed))

    @cached_property
    def scale(self) -> ScoreScale | None:
        """The scale of the scores that this run trains on; None where it trains on the labels as they are.

        A session that opens a finished run has it from `open_scale`.
        """
        return fit_score_scale(self.train_rows.labels) if standardizes(self.config.task) else None

    def open_scale(self, directory: Path) -> None:
        """Take the scale that a finished run was trained on."""
        self.scale = read_artifact(RunResult, directory / RunResult.FILE).scale

    def train_split(self) -> EncodedSplit:
        """Token sequences of the training rows, with the labels that the model learns."""
        with self.timed("data"):
            split = self.encode_aloud(self.train_rows)
            if self.scale is None:
                return split
            return replace(split, labels=standardize(split.labels, self.scale))

    def profile_split(self) -> EncodedSplit:
        """What the profile measures: `profile.max_examples` drawn rows, of questions as many of their windows."""
        train, given = self.prepared.splits["train"], self.config.profile
        split = self.encode_aloud(train.take(draw_rows(len(train), given.max_examples, given.seed)))
        return split.take(draw_rows(len(split), given.max_examples, given.seed))

    def settings(self) -> TrainSettings:
        """What fine-tuning depends on, of the configuration."""
        from gelora_cli.training.settings import TrainSettings

        config = self.config
        aside = ("eval_batch_size", "checkpoint_steps", "checkpoint_seconds")
        given = {key: value for key, value in asdict(config.train).items() if key not in aside}
        loss = TASK_KINDS.get(config.task.kind).loss
        return TrainSettings(**given, seed=config.seed, protocol=config.protocol, loss=loss)

    def attach(self, plan: RankPlan, train: EncodedSplit) -> AdaptedModel:
        """The method on the model; its outputs are compared with the base model's before anything is trained."""
        from gelora_cli.methods.base import MethodContext

        split, model = self.prepared.splits["train"], self.loaded.model
        probe = self.encode(split.take(draw_rows(len(split), PROBE_EXAMPLES, 0)))
        before = self.scores(model, probe)
        context = MethodContext(
            model,
            self.loaded.map,
            plan,
            self.config.method,
            self.config.seed,
            total_steps=self.settings().total_steps(len(train)),
            keep_start=self.config.profile.track,
            batches=lambda tokens: EpochInputs(
                train, self.settings(), self.pad_token_id, self.accelerator.device, tokens
            ),
            once=self._once,
        )
        with self.timed("attach"):
            attached = METHODS.get(self.config.method.name).attach(context)
        difference = float(abs(self.scores(attached.model, probe) - before).max())
        if not difference <= 1e-5 * max(1.0, float(abs(before).max())):
            raise RunError(f"the outputs differ from the base model's by {difference:.3g} before the first step")
        return attached

    def _once(self, compute: Callable[[], Any]) -> Any:
        """What `compute` gives on the main process, on every process."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([compute() if self.accelerator.is_main_process else None])[0]

    def reloaded(self, directory: Path) -> nn.Module:
        """The saved adapter in a fresh base model, in the run's precision."""
        return self.with_adapter(self.fresh_model(), directory)

    def with_adapter(self, base: LoadedModel, directory: Path) -> nn.Module:
        """The saved adapter in this base model, in the run's precision."""
        from gelora_cli.methods import load_adapter

        model = load_adapter(base.model, directory / run_files.ADAPTER).to(self.accelerator.device)
        prepared: nn.Module = self.accelerator.prepare_model(model, evaluation_mode=True)
        return prepared


class EpochInputs:
    """The model's inputs of the first epoch's global batches, or of larger ones of `tokens`, made when asked for."""

    def __init__(
        self, split: EncodedSplit, settings: TrainSettings, pad_token_id: int, device: torch.device, tokens: int = 0
    ) -> None:
        examples = max(settings.batch_size, -(-tokens // int(split.lengths.mean())))
        self.batches = epoch_batches(split.lengths, examples, settings.seed, 1)
        self.split, self.pad_token_id, self.device = split, pad_token_id, device

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        from gelora_cli.data.collate import collate

        for rows in self.batches:
            yield collate(self.split, rows, self.pad_token_id, self.device).inputs


def only_model(prepared: ResolvedInputs) -> Session:
    """Model, tokenizer and accelerator in this process, without a log."""
    from gelora_cli.core.distributed import make_accelerator

    return Session(prepared, make_accelerator(prepared.precision))


def close_session(session: Session, directory: Path) -> None:
    """Write the seconds and the peak memory (the largest of all processes) to run.json."""
    import torch

    from gelora_cli.core.distributed import gather_rows
    from gelora_cli.core.memory import peak_bytes

    device = session.accelerator.device
    peaks = gather_rows(session.accelerator, torch.tensor([peak_bytes(device)], device=device))
    if session.accelerator.is_main_process:
        manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
        seconds = {stage: round(value, 3) for stage, value in session.seconds.items()}
        write_artifact(replace(manifest, seconds=seconds, peak_bytes=int(peaks.max())), directory)


def plan_for(session: Session, saved: IdProfile | None) -> RankPlan:
    """The method's plan, from the profile where it needs one; or a saved plan once it is seen to fit this model."""
    config, model_map = session.config, session.loaded.map
    if config.ranks.path is not None:
        LOGGER.info("ranks, budget, modules and scaling are those of the plan in %s", config.ranks.path)
        return saved_plan(config.ranks.path, model_map)
    # The profile is that of the model at hand, but it may have been measured under another task's head.
    own = saved and replace(saved, model_map=model_map)
    return plan_method(model_map, own, parse_budget(config.budget), **plan_settings(config))


def saved_plan(path: str, model_map: ModelMap) -> RankPlan:
    """The plan in a `ranks.json` or a run directory, checked against the model's modules.

    Raises:
        GeloraError: no such plan, or one for another model.
    """
    plan = read_plan(path)
    known = {linear.name for block in model_map.blocks for linear in block.linears}
    unknown = sorted(set(plan.rank_pattern) - known)
    if unknown:
        raise GeloraError(f"ranks.path={path} is a plan for another model: no module {unknown[0]} here. Plan again.")
    return replace(plan, head_params=model_map.head_params)


def profile_settings(config: RunConfig) -> ProfileSettings:
    """What a profile's numbers depend on, of the configuration."""
    given, windows = config.profile, TASK_KINDS.get(config.task.kind).target == "answers"
    return ProfileSettings(
        pooling=given.pooling,
        estimator=given.estimator,
        discard=given.discard,
        max_examples=given.max_examples,
        max_length=config.task.max_length,
        seed=given.seed,
        stride=config.task.stride if windows else None,
        max_question_length=config.task.max_question_length if windows else None,
    )
