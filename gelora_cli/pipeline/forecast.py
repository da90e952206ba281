"""How much memory a run would take, from its configuration, config.json and the lengths of its rows alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from gelora_cli.config.presets import global_batch_size
from gelora_cli.config.stored_weights import dtype_problems, missing_package
from gelora_cli.core.memory import available_bytes
from gelora_cli.core.registries import METHODS, TASK_KINDS
from gelora_cli.data.encoding import EncodedSplit
from gelora_cli.data.protocol import limit_evaluated_rows, protocol_splits, training_rows
from gelora_cli.data.sources import Split
from gelora_cli.data.splits import draw_rows
from gelora_cli.models.generation import rows_scored_at_once
from gelora_cli.models.load import empty_task_model, loads_in_bf16
from gelora_cli.models.memory import CARDS, FLOAT32, LINEAR_BYTES, MemoryForecast, MemorySettings, forecast
from gelora_cli.models.memory_shapes import memory_shapes
from gelora_cli.models.operations import UpdateWork
from gelora_cli.models.tokenizer import load_tokenizer
from gelora_cli.pipeline.inputs import ResolvedInputs
from gelora_cli.pipeline.lineage import head_of
from gelora_cli.pipeline.plan_stage import even_plan
from gelora_cli.pipeline.reload_check import RELOAD_EXAMPLES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_ROWS = 5_000
"""Rows of a split whose lengths are looked at; more of them are drawn."""


class RunForecast:
    """How much memory a run would take.

    Args:
        inputs: what the run depends on. The weights of its model are not read, and need not be there.

    Attributes:
        settings: what of the run decides it.
        memory: the bytes on this machine.
        on_card: the bytes on a graphics card, whose kernels keep less.
        new_tokens: how many tokens an evaluation generates at most for each row.

    Raises:
        GeloraError: a model that can't be built or mapped, or a budget that the method can't meet.
    """

    def __init__(self, inputs: ResolvedInputs) -> None:
        self.inputs, config = inputs, inputs.config
        head = head_of(config)
        model, model_map = empty_task_model(
            inputs.model, head, blocks=config.model.blocks, linears=config.model.linears or None
        )
        plan = even_plan(inputs, model_map)
        work = METHODS.get(config.method.name).work(plan, model_map, config.method)
        shapes = memory_shapes(model, model_map, scores_vocabulary=head.is_pretrained)
        self.settings = self._settings(shapes.vocabulary, work, plan.trained_params)
        self.memory: MemoryForecast = forecast(shapes, self.settings)
        of_card = replace(self.settings, on_gpu=True, second_model=config.model.dtype == FLOAT32)
        self.on_card: MemoryForecast = forecast(shapes, of_card)

    def _settings(self, vocabulary: int, work: UpdateWork, trained_params: int) -> MemorySettings:
        """Return what decides the memory: the largest batches of training, evaluation and reload check."""
        config = self.inputs.config
        splits = protocol_splits(config.task, config.protocol, self.inputs.splits)
        splits = limit_evaluated_rows(splits, config.data.max_eval_examples)
        train = self._encoded(training_rows(splits.train, config))
        evaluated = [self._encoded(split) for split in splits.evaluated]
        rows = config.train.micro_batch_size or -(-(global_batch_size(config) or 1) // config.launch.processes)
        rows, longest = min(rows, len(train)), int(train.lengths.max())
        # With train.packing, too: the largest batch holds rows of like length, of which no two share a sequence.
        scored_rows, positions = self._scored_places(train, rows)
        eval_rows = min(config.train.eval_batch_size, max(map(len, evaluated)))
        compared_rows = min(eval_rows, RELOAD_EXAMPLES)
        eval_longest = max(int(split.lengths.max()) for split in evaluated)
        self.new_tokens = new_tokens = TASK_KINDS.get(config.task.kind).new_tokens(config.task)
        dtype, on_gpu = config.model.dtype, _has_gpu()
        return MemorySettings(
            precision=self.inputs.precision,
            dtype=dtype,
            rows=rows,
            longest=longest,
            masked=rows > 1 or config.train.packing,
            scored=scored_rows * positions,
            work=work,
            trained_params=trained_params,
            on_gpu=on_gpu,
            recompute=config.train.gradient_checkpointing,
            eval_rows=eval_rows,
            eval_longest=eval_longest + new_tokens,
            eval_scored=max(self._scored_at_once(split, eval_rows, vocabulary) for split in evaluated),
            compared_scored=eval_longest * min(compared_rows, rows_scored_at_once(eval_longest, vocabulary)),
            generates=new_tokens > 0,
            second_model=dtype == FLOAT32 or not on_gpu,
            loads_in_bf16=self._loads_in_bf16(),
        )

    def _loads_in_bf16(self) -> bool:
        """Return whether weights that are published in bfloat16 are loaded so, since nothing is merged into them."""
        inputs = self.inputs
        if inputs.config.model.dtype == FLOAT32 or inputs.ancestors:
            return False
        return loads_in_bf16(inputs.model, head_of(inputs.config))

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self.inputs.model)

    def _encoded(self, split: Split) -> EncodedSplit:
        """Return the token sequences of a split, or of rows that are drawn of a large one."""
        drawn = split if len(split) <= MOST_ROWS else split.take(draw_rows(len(split), MOST_ROWS, 0))
        return drawn.encode(self._tokenizer, self.inputs.config.task)

    def _scored_at_once(self, split: EncodedSplit, rows: int, vocabulary: int) -> int:
        """Return how many tokens an evaluation scores at once, which takes a large batch in parts."""
        rows, positions = self._scored_places(split, rows)
        return positions * min(rows, rows_scored_at_once(positions, vocabulary))

    def _scored_places(self, split: EncodedSplit, rows: int) -> tuple[int, int]:
        """Return how many rows the largest batch has, and in how many places of each the vocabulary is scored."""
        import torch

        from gelora_cli.data.collate import collate

        longest = np.argsort(-split.lengths, kind="stable")[:rows]
        batch = collate(split, longest, 0, torch.device("cpu"))
        kind = TASK_KINDS.get(self.inputs.config.task.kind)
        width = batch.inputs["input_ids"].shape[1]
        return len(longest), int(kind.model_inputs(batch).get("logits_to_keep", width))

    @property
    def reason_not_to_try(self) -> str:
        """Return why no step can be tried on this machine; empty if it can."""
        missing = [*missing_package(self.settings.dtype)]
        if not self.inputs.model.has_weights:
            missing.append(f"the weights of {self.inputs.model.source} are not there")
        if missing:
            return f"Nothing was loaded and timed: {'; '.join(missing)}."
        available = available_bytes()
        # Other types than float32 are made of it, in the memory in which a CPU also trains.
        loading = 0 if self.settings.on_gpu or self.settings.dtype == FLOAT32 else self.memory.loading
        if available is None or max(self.memory.peak, loading) <= available:
            return ""
        return (
            f"Only {available / 1e9:.1f} GB are free here, so nothing was loaded and timed. What takes less: "
            f"{self._what_takes_less(self.memory)}."
        )

    def _what_takes_less(self, memory: MemoryForecast) -> str:
        """Return the settings that make the stage that takes most smaller, in the order in which to try them."""
        settings, train = self.settings, self.inputs.config.train
        less, longest = [], settings.longest
        if memory.peak == memory.training:
            less += ["train.gradient_checkpointing=true"] * (not settings.recompute and not train.fast)
            less += [f"train.micro_batch_size below {settings.rows}"] * (settings.rows > 1)
        else:
            less += [f"train.eval_batch_size below {settings.eval_rows}"] * (settings.eval_rows > 1)
            less += [f"task.max_new_tokens below {self.new_tokens:,}"] * (self.new_tokens > 1)
            longest = settings.eval_longest - self.new_tokens
        less += [f"model.dtype={dtype}" for dtype in self._smaller_dtypes()]
        return ", ".join([*less, f"task.max_length below {longest:,}"])

    def _smaller_dtypes(self) -> list[str]:
        """Return the types that take less memory than this run's, and that go with its method."""
        config, sizes = self.inputs.config, LINEAR_BYTES
        smaller = [dtype for dtype, size in sizes.items() if size < sizes[config.model.dtype]]
        models = {dtype: replace(config.model, dtype=dtype) for dtype in smaller}
        return [dtype for dtype, model in models.items() if not [*dtype_problems(replace(config, model=model))]]

    def in_words(self) -> str:
        """Return the forecast in lines."""
        memory, settings = self.memory, self.settings
        parts = {"weights": memory.weights, "trained": memory.trained, "activations": memory.activations}
        top = {"logits": memory.logits} if memory.logits >= memory.inside else {"one block's inside": memory.inside}
        parts |= top | {"dequantized": memory.dequantized}
        listed = ", ".join(f"{name} {_gb(size)}" for name, size in parts.items() if size)
        card = self.on_card.card
        sizes = ", ".join(map(str, CARDS))
        spare = "10 % and 1 GB left free"
        fits = f"one with {card} GB is enough, with {spare}" if card else f"none with {sizes} GB is enough with {spare}"
        lines = [
            "memory, forecast from shapes (compared with peaks on the CPU; not run on a GPU), for each process:",
            f"  training {_gb(memory.training)} GB ({settings.rows} x {settings.longest:,} tokens): {listed}",
            f"  evaluation {_gb(memory.evaluation)} GB ({settings.eval_rows} x {settings.eval_longest:,} tokens), "
            f"reload check {_gb(memory.reload)} GB",
            f"  at most {_gb(memory.peak)} GB here: weights and other tensors, without Python and its libraries",
            f"  at most {_gb(self.on_card.peak)} GB on a GPU: {fits}",
        ]
        if self.settings.dtype != FLOAT32:
            lines.append(
                f"  loading takes {_gb(memory.loading)} GB of this machine's memory, not of a GPU's, and in the "
                f"reload check {_gb(memory.weights + memory.loading)} GB with the trained model"
            )
        if card is None:
            lines.append(f"  what takes less: {self._what_takes_less(self.on_card)}")
        return "\n".join(lines)


def _gb(size: int) -> str:
    """Return bytes in GB, with decimals that show something of a small model, too."""
    if size >= 10e9:
        return f"{size / 1e9:.1f}"
    return f"{size / 1e9:.2f}" if size >= 0.1e9 else f"{size / 1e9:.4f}"


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
