"""What holds of every kind of model, on a tiny one: one function per check, each of which asserts and returns a figure.

A check takes a `KindCase`, which does what several checks need once: a model with an adapter after a few steps, and a
run of the command with pairs of texts. `scripts/kind_table.py` writes the table of kinds by checks.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.commands.main import command_line
from gelora_cli.config.schema import PlannedLoraConfig
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.registries import METHODS, RUN_PICTURES, SIGNALS
from gelora_cli.data.batches import padded_load
from gelora_cli.geometry.states import StateStore
from gelora_cli.methods.base import AdaptedModel, MethodContext
from gelora_cli.methods.updates.merging import merge_adapter
from gelora_cli.models.files import read_config_json
from gelora_cli.models.head_checks import check_head
from gelora_cli.models.heads import SpanHead
from gelora_cli.models.kinds.base import is_causal
from gelora_cli.models.load import LoadedModel, load_model
from gelora_cli.models.operations import FORWARD_ONLY, model_operations
from gelora_cli.models.shapes import read_shapes
from gelora_cli.signals.base import SignalContext
from tests.helpers.bench import Bench, result_of
from tests.helpers.flops import count_operations
from tests.helpers.gradient_contexts import labelled_context
from tests.helpers.language_checks import check_language_model
from tests.helpers.method_cases import inputs_of, plain, profile_of
from tests.helpers.models import LANGUAGE, found_names, from_directory, refusal
from tests.helpers.tiny import SENTENCES
from tests.helpers.variant_matrix import fresh, labels_of_sentences, largest_difference, logits, train

BUDGET = "rank:3"
METHOD = PlannedLoraConfig(modules="all")
ADAPTER = ("method.modules=all", "budget=rank:2", "ranks.on_deficit=shrink")
ACCEPT = "model.accept_map=true"
"""Takes the map of a kind that is not declared; of no effect on the others."""
RUN = ("task=mrpc", ACCEPT, "data.max_train_examples=40", "train.max_steps=3", *ADAPTER)
"""Three steps on pairs of texts."""
SMALL_SIGNALS = ("profile.gradient_batches=10", "profile.gradient_batch_size=3", "profile.max_examples=60")
TOLERANCE = 0.002
"""Of the count of operations, relative: what is left out, such as the products of rotary positions, is less."""


@dataclass(frozen=True)
class Adapted:
    """A model with an adapter.

    Attributes:
        loaded: the model that was loaded, which holds the adapter now.
        plan: the ranks of the adapter.
        adapted: the model with the adapter.
        base: logits of the model before it was attached.
        start: logits after that, before the first step.
        first_gradients: the gradient of every parameter that has one in the first step, by its name without an adapter.
        trained: logits after a few steps.
        unmoved: whether all other parameters are bitwise as they were.
    """

    loaded: LoadedModel
    plan: RankPlan
    adapted: AdaptedModel
    base: torch.Tensor
    start: torch.Tensor
    first_gradients: dict[str, torch.Tensor]
    trained: torch.Tensor
    unmoved: bool


@dataclass(frozen=True)
class KindCase:
    """A tiny model of a kind, and where its checks write.

    Attributes:
        kind: the model type.
        directory: the model.
        glue: rows of GLUE tasks.
        work: a directory for what the checks write.
    """

    kind: str
    directory: Path
    glue: Path
    work: Path

    @cached_property
    def inputs(self) -> dict[str, torch.Tensor]:
        """Return the sentences of the tests as a batch."""
        return inputs_of(self.directory, self.kind)

    @cached_property
    def context(self) -> SignalContext:
        """Return the context in which a run measures its signals."""
        words = ("task=cola", f"model.path={self.directory}", f"data.glue={self.glue}", ACCEPT, *SMALL_SIGNALS)
        return labelled_context(self.work, *words)

    def measure(self, signal: str) -> Any:
        """Return what a signal measures of the model."""
        store = StateStore(self.work / "signals" / signal)
        return SIGNALS.get(signal).measure(replace(self.context, store=store))

    @cached_property
    def adapted(self) -> Adapted:
        """Return the model with an adapter of GeLoRA in every linear layer, after a few steps."""
        loaded = fresh(self.directory)
        base = logits(loaded.model, self.inputs)
        before = {name: parameter.detach().clone() for name, parameter in loaded.model.named_parameters()}
        plan = plan_ranks(profile_of(loaded.map), parse_budget(BUDGET), modules="all")
        adapted = METHODS.get("gelora").attach(MethodContext(loaded.model, loaded.map, plan, METHOD, seed=0))
        start = logits(adapted.model, self.inputs)
        gradients = _gradients(adapted.model, self.inputs)
        train(adapted, self.inputs)
        trainable = adapted.trainable().keys()
        frozen = {plain(name): p for name, p in adapted.model.named_parameters() if name not in trainable}
        unmoved = all(torch.equal(before[name], p) for name, p in frozen.items() if name in before)
        return Adapted(loaded, plan, adapted, base, start, gradients, logits(adapted.model, self.inputs), unmoved)

    @cached_property
    def saved(self) -> Path:
        """Return the directory of the saved adapter."""
        self.adapted.adapted.save(self.work / "adapter")
        return self.work / "adapter"

    @cached_property
    def run(self) -> Path:
        """Return the directory of a finished run of the command on pairs of texts; no check looks at its pictures."""
        bench = Bench(self.work / "runs", self.glue, {self.kind: self.directory})
        with redirect_stdout(StringIO()), patch.object(RUN_PICTURES, "names", return_value=[]):
            assert bench.run(*RUN, model=self.kind) == 0
        return bench.only()

    @cached_property
    def predicted(self) -> torch.Tensor:
        """Return the probabilities that `gelora predict` gives for pairs of the sentences, (n, labels)."""
        file, output = self.work / "pairs.csv", self.work / "predicted.jsonl"
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["sentence1", "sentence2"])
            writer.writerows(zip(SENTENCES, reversed(SENTENCES), strict=True))
        with redirect_stdout(StringIO()):
            assert command_line(["predict", str(self.run), f"file={file}", f"output={output}"]) == 0
        rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
        return torch.tensor([list(row["probabilities"].values()) for row in rows])

    @cached_property
    def exported(self) -> Path:
        """Return the directory of the run's model, merged."""
        target = self.work / "exported"
        with redirect_stdout(StringIO()):
            assert command_line(["export", str(self.run), f"output={target}"]) == 0
        return target


def _gradients(model: Any, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the gradient of every parameter that has one, of the loss on the sentences."""
    loss = torch.nn.functional.cross_entropy(model.train()(**inputs).logits, labels_of_sentences())
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return gradients


def check_map(case: KindCase) -> str:
    """Compare the map with the modules, and count its parameters."""
    loaded = fresh(case.directory)
    model, model_map = loaded.model, loaded.map
    assert model_map.kind == case.kind
    modules = dict(model.named_modules())
    blocks = list(modules[model_map.blocks[0].name.rpartition(".")[0]].children())
    assert [modules[block.name] for block in model_map.blocks] == blocks
    for block in model_map.blocks:
        for linear in block.linears:
            module: Any = modules[linear.name]
            shape = tuple(module.weight.shape)
            expected = (linear.out_features, linear.in_features)
            assert shape == (expected if isinstance(module, torch.nn.Linear) else expected[::-1])
            assert linear.name.startswith(f"{block.name}.")
        assert model_map.linears(block, "attention")
    total = sum(parameter.numel() for parameter in model.parameters())
    assert model_map.head_modules and model_map.head_params + model_map.backbone_params == total
    return f"{len(model_map.blocks)}x{len(model_map.blocks[0].linears)}"


def check_profile(case: KindCase) -> str:
    """Measure the profile: one finite idim for the embeddings, and for every pass through a block."""
    profile = case.measure("idim")
    assert len(profile.layers) == len(profile.model_map.layers) + 1
    assert all(math.isfinite(layer.idim) and layer.idim > 0 for layer in profile.layers)
    return str(len(profile.layers))


def check_signals(case: KindCase) -> str:
    """Measure every other signal; all of its numbers are finite."""
    names = [name for name in SIGNALS.names() if name != "idim"]
    for name in names:
        numbers = list(_numbers(asdict(case.measure(name))))
        assert numbers and all(math.isfinite(number) for number in numbers), name
    return "finite"


def _numbers(value: Any) -> list[float]:
    """Return all floating-point numbers inside of a value of dictionaries and sequences."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [number for part in value for number in _numbers(part)]
    return [value] if isinstance(value, float) else []


def check_start(case: KindCase) -> str:
    """Compare the logits before the first step with those of the base, which are equal bit by bit."""
    assert torch.equal(case.adapted.start, case.adapted.base)
    return "equal"


def check_step(case: KindCase) -> str:
    """Check which parameters have gradients and move: those of every adapted linear layer and of the head."""
    found = case.adapted
    reached = {name for name, gradient in found.first_gradients.items() if bool(gradient.abs().sum() > 0)}
    for linear in found.plan.rank_pattern:
        # A's gradient is zero in the first step, because B is.
        assert any(linear in name and "lora_B" in name for name in reached), linear
    for module in found.loaded.map.head_modules:
        assert any(module in name for name in reached), module
    assert found.first_gradients.keys() == found.adapted.trainable().keys()
    assert found.unmoved
    moved = largest_difference(found.trained, found.base)
    assert moved > 1e-2
    return str(len(found.plan.rank_pattern))


def check_reload(case: KindCase) -> str:
    """Load the saved adapter by plain PEFT into a model of plain transformers, by the arguments of its card."""
    model = AutoModelForSequenceClassification.from_pretrained(case.directory, **case.adapted.loaded.arguments)
    reloaded: Any = PeftModel.from_pretrained(model, case.saved)
    difference = largest_difference(logits(reloaded, case.inputs), case.adapted.trained)
    assert difference < 1e-5
    return f"{difference:.0e}"


def check_merge(case: KindCase) -> str:
    """Merge the saved adapter into the base; the logits stay."""
    merged = merge_adapter(fresh(case.directory).model, case.saved)
    difference = largest_difference(logits(merged, case.inputs), case.adapted.trained)
    assert difference < 1e-4
    return f"{difference:.0e}"


def check_operations(case: KindCase) -> str:
    """Compare the counts of a forward pass and of a training step with torch's own."""

    def loss_of(model: Any) -> torch.Tensor:
        loss: torch.Tensor = model(**case.inputs).logits.sum()
        return loss

    loaded = fresh(case.directory)
    shapes = read_shapes(loaded.model, loaded.map)
    plan = plan_ranks(profile_of(loaded.map), parse_budget(BUDGET), modules="all")
    work = METHODS.get("gelora").work(plan, loaded.map, METHOD)
    lengths = case.inputs["attention_mask"].sum(1).numpy()
    load = padded_load(lengths, [np.arange(len(lengths))])
    reading = count_operations(lambda: loss_of(loaded.model))
    adapted = METHODS.get("gelora").attach(MethodContext(loaded.model, loaded.map, plan, METHOD, seed=0))
    training = count_operations(lambda: loss_of(adapted.model).backward())  # type: ignore[no-untyped-call]
    off = [
        model_operations(shapes, load, FORWARD_ONLY) / reading - 1,
        model_operations(shapes, load, work, steps=1) / training - 1,
    ]
    assert max(map(abs, off)) < TOLERANCE, off
    return f"{100 * max(map(abs, off)):.2f} %"


def check_run(case: KindCase) -> str:
    """Run the command on pairs of texts to its end; the adapter that it saved gives its scores back."""
    check = result_of(case.run).reload_check
    assert check.passed and check.largest_difference <= check.tolerance < check.adapter_effect
    return f"{check.largest_difference:.0e}"


def check_export(case: KindCase) -> str:
    """Load the merged model of the run by plain transformers: it has the labels, and scores as `gelora predict`."""
    difference = largest_difference(_exported_probabilities(case), case.predicted)
    assert difference < 1e-4
    return f"{difference:.0e}"


def check_predict(case: KindCase) -> str:
    """Label pairs of texts by `gelora predict`, with a probability for each label."""
    assert case.predicted.shape == (len(SENTENCES), 2)
    assert torch.allclose(case.predicted.sum(1), torch.ones(len(SENTENCES)), atol=1e-4)
    return f"{len(SENTENCES)} pairs"


def _exported_probabilities(case: KindCase) -> torch.Tensor:
    """Return the probabilities of the exported model for the same pairs, (n, labels)."""
    model = AutoModelForSequenceClassification.from_pretrained(case.exported)
    assert sorted(model.config.label2id) == ["equivalent", "not_equivalent"]
    tokenizer = AutoTokenizer.from_pretrained(case.exported)
    inputs = tokenizer(list(SENTENCES), list(reversed(SENTENCES)), padding=True, return_tensors="pt")
    return logits(model, inputs).softmax(1)


def has_span_head(case: KindCase) -> bool:
    """Return whether the kind has a question-answering head in transformers."""
    from transformers import AutoConfig, AutoModelForQuestionAnswering

    return type(AutoConfig.from_pretrained(case.directory)) in AutoModelForQuestionAnswering._model_mapping


def check_spans(case: KindCase) -> str:
    """Load the model with a question-answering head, where the kind has one, and map it as with the other head."""
    if not has_span_head(case):
        return "no head"
    resolved = from_directory(case.directory)
    loaded = load_model(resolved, SpanHead(), seed=0, **found_names(resolved))
    assert loaded.map.head_modules
    for block, other in zip(loaded.map.blocks, fresh(case.directory).map.blocks, strict=True):
        shapes = [(linear.role, linear.in_features) for linear in block.linears]
        assert shapes == [(linear.role, linear.in_features) for linear in other.linears]
    with torch.no_grad():
        scores = loaded.model(**case.inputs)
    assert scores.start_logits.shape == case.inputs["input_ids"].shape
    return "loads"


def check_text(case: KindCase) -> str:
    """Adapt a decoder with the head of its language model; an encoder is refused."""
    if not is_causal(read_config_json(case.directory, case.kind)):
        assert "an encoder" in refusal(check_head, from_directory(case.directory), LANGUAGE)
        return "encoder"
    return f"{check_language_model(case.directory, case.kind, case.work / 'language'):.0e}"


CHECKS: dict[str, Callable[[KindCase], str]] = {
    "map": check_map,
    "profile": check_profile,
    "signals": check_signals,
    "step 0": check_start,
    "a step": check_step,
    "plain PEFT": check_reload,
    "merge": check_merge,
    "operations": check_operations,
    "question answering": check_spans,
    "text generation": check_text,
    "run": check_run,
    "predict": check_predict,
    "export": check_export,
}
"""The columns of the table of kinds, in the order in which they are checked."""
