"""What the stages hand to each other: frozen dataclasses, stored as JSON by `codec.py`.

This module imports no torch and no numpy, so that `gelora ls` and `gelora ranks` start at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

SMOKE_REMARK = "smoke=true: a short trial on few rows, not a result"
"""What stands beside everything that such a run says."""


@dataclass(frozen=True)
class LinearShape:
    """One adaptable linear layer: its full module name, its role and its shape as it is in the model.

    `role` is one of `query`, `key`, `value`, `output` (attention) and `up`, `gate`, `down` (feed-forward).
    """

    name: str
    role: str
    in_features: int
    out_features: int

    @property
    def unit_params(self) -> int:
        """Parameters that one unit of LoRA rank costs here: a row of A and a column of B."""
        return self.in_features + self.out_features

    @property
    def max_rank(self) -> int:
        """The smaller side: no update of this matrix has a larger rank."""
        return min(self.in_features, self.out_features)


@dataclass(frozen=True)
class BlockMap:
    """One transformer block, counted from 1, with the linears that may be adapted."""

    index: int
    name: str
    linears: tuple[LinearShape, ...]


@dataclass(frozen=True)
class ModelMap:
    """Where a model's blocks and adaptable linears are, and how many parameters it has.

    `attention_roles` are adapted by `method.modules=attention`; `method.modules=all` adapts every linear of `blocks`.
    `head_modules` are the newly initialised modules (full names), trained and saved beside the adapter. `bias_params`
    and `norm_params` are counted in the backbone: its bias terms, and the parameters of its norms.
    """

    kind: str
    blocks: tuple[BlockMap, ...]
    head_modules: tuple[str, ...]
    head_params: int
    backbone_params: int
    bias_params: int = 0
    norm_params: int = 0

    ATTENTION_ROLES: ClassVar[tuple[str, ...]] = ("query", "key", "value", "qkv", "output")

    def linears(self, block: BlockMap, modules: str) -> tuple[LinearShape, ...]:
        """The linears of a block that `modules` (`attention` or `all`) adapts."""
        if modules == "all":
            return block.linears
        return tuple(linear for linear in block.linears if linear.role in self.ATTENTION_ROLES)


@dataclass(frozen=True)
class LayerIdim:
    """Intrinsic dimension of one hidden state: layer 0 is the input of block 1, layer i the output of block i.

    `low` and `high` bound the 95 % interval; `half` and `quarter` are the means over the disjoint parts at N/2 and
    N/4 (None where a part would be too small); `points` were given, `copies` of them collapsed, `used` kept.
    """

    layer: int
    idim: float
    low: float
    high: float
    half: float | None
    quarter: float | None
    points: int
    copies: int
    used: int
    constant: bool


@dataclass(frozen=True)
class ProfileSettings:
    """The settings that a profile depends on, beside the model and the text; the last two of question answering."""

    pooling: str
    estimator: str
    discard: float
    max_examples: int
    max_length: int
    seed: int
    stride: int | None = None
    max_question_length: int | None = None


@dataclass(frozen=True)
class IdProfile:
    """The measured idim profile d_0 .. d_L of a pretrained model on a task's training text.

    `model_fingerprint` is empty where the model was handed over in memory.

    `examples_seen` is the size of the split, `examples_drawn` of them were drawn, of which `examples_copies` had a
    token sequence met before; `examples_used` were forwarded. Of question answering the split's size counts
    questions, the other three windows.
    """

    model: str
    model_fingerprint: str
    task: str
    data_fingerprint: str
    settings: ProfileSettings
    examples_seen: int
    examples_drawn: int
    examples_copies: int
    examples_used: int
    layers: tuple[LayerIdim, ...]
    model_map: ModelMap
    seconds: float

    FILE: ClassVar[str] = "profile.json"


@dataclass(frozen=True)
class BlockRank:
    """One block's row of a plan: every linear named in `modules` gets the rank `rank`, or its own of `module_ranks`.

    What comes from the profile is None where a method does not look at it. With `module_ranks` the largest of them is
    `rank`, and a module of rank 0 is left alone.
    """

    block: int
    idim_in: float | None
    idim_out: float | None
    growth: float | None
    lower_bound: int | None
    real_rank: float | None
    rank: int
    rank_low: int | None
    rank_high: int | None
    modules: tuple[str, ...]
    params: int
    module_ranks: tuple[int, ...] | None = None


@dataclass(frozen=True)
class RankPlan:
    """The rank of every block, what it costs, and the budget it was made for.

    `budget` is the canonical text, `budget_params` the bound in parameters (None for `auto`, which has none).
    `auto_ranks` are the rule's own ranks, `uniform_ranks` those of equal weights under the same budget, `gelora_ranks`
    those of GeLoRA (empty where it can't meet the budget), which a control is compared with; all three are empty for
    a method that does not look at the profile.

    A rank counts what `unit` says: units of rank, `triplet` of AdaLoRA, `gate` of SoRA, `bottleneck` units of an
    adapter. `trained_params` are trained at the most, and `adapter_params` are left at the end (of `adalora`, `sora`
    and `eva` at the most: what is left is known when it is done). A method that is exempt from the budget has no
    blocks, and `budget` is `exempt`.

    `warnings` name the layers of the profile whose idim says little of the task, of a plan that looked at one.
    """

    method: str
    rule: str
    rounding: str
    on_deficit: str
    modules: str
    scaling: float
    budget: str
    budget_params: int | None
    blocks: tuple[BlockRank, ...]
    auto_ranks: tuple[int, ...]
    auto_params: int
    uniform_ranks: tuple[int, ...]
    gelora_ranks: tuple[int, ...]
    adapter_params: int
    head_params: int
    backbone_params: int
    note: str
    unit: str
    trained_params: int
    warnings: tuple[str, ...] = ()

    FILE: ClassVar[str] = "ranks.json"

    @property
    def ranks(self) -> tuple[int, ...]:
        """Ranks r_1 .. r_L."""
        return tuple(block.rank for block in self.blocks)

    @property
    def total_params(self) -> int:
        """Backbone, head and adapter together."""
        return self.backbone_params + self.head_params + self.adapter_params

    @property
    def rank_pattern(self) -> dict[str, int]:
        """Full module name to rank, of the modules that get any."""
        ranks = {
            name: rank
            for block in self.blocks
            for name, rank in zip(block.modules, block.module_ranks or (block.rank,) * len(block.modules), strict=True)
        }
        return {name: rank for name, rank in ranks.items() if rank}


@dataclass(frozen=True)
class ScoreScale:
    """The scale of scores that a model was trained on: score = `mean` + `sd` times the model's output."""

    mean: float
    sd: float


@dataclass(frozen=True)
class EvalResult:
    """Metrics of one evaluated split; `reported` names the one that the task reports.

    `collapsed`: the predictions say nothing, since they are all the same, not finite, or scores of which none lies in
    the range of the labels. `remark` says so in words, or that the value is not above the most common label's share.
    """

    split: str
    examples: int
    metrics: dict[str, float]
    reported: str
    collapsed: bool
    seconds: float
    remark: str = ""

    @property
    def value(self) -> float:
        """The reported metric's value."""
        return self.metrics[self.reported]


@dataclass(frozen=True)
class TrainResult:
    """What fine-tuning did: counts, times and the evaluation of every epoch.

    `effective_ranks` are the modules' ranks at the end, in the order of the plan, and `adapter_params` what they cost.
    From `settled_epoch` on (1 where ranks don't move) they keep the budget, so that an epoch may be selected.
    """

    steps: int
    epochs: int
    examples: int
    trainable_params: int
    effective_ranks: dict[str, int]
    adapter_params: int
    selected_epoch: int
    settled_epoch: int
    first_loss: float
    last_loss: float
    seconds: float
    evaluation_seconds: float
    evaluations: tuple[tuple[EvalResult, ...], ...]


@dataclass(frozen=True)
class ReloadCheck:
    """The saved adapter in a fresh base model: logits against the trained model's, and against base and head alone.

    `warning` says that the adapter changes no score by more than rounding; it is empty for an adapter that does.
    """

    examples: int
    largest_difference: float
    tolerance: float
    adapter_effect: float
    passed: bool
    warning: str = ""

    def in_words(self) -> str:
        """Return a sentence for log and card that says how near the scores are."""
        near = f" within {self.largest_difference:.2g}" if self.largest_difference else ""
        return (
            f"the saved adapter, loaded again, gives the same scores{near} on {self.examples} sequences; without the "
            f"adapter they differ by up to {self.adapter_effect:.2g}"
        )


@dataclass(frozen=True)
class RunResult:
    """The summary of a finished run, `result.json`.

    `value`, `results` and `last_value` are of what the protocol reports, `best_value` of what selects.
    `adapter_params` are left at the end, `trained_params` were trained at the most; `profile_seconds` were spent on the
    profile that the run uses, `attach_seconds` on attaching the method (of EVA on its activations). `scale` is the
    scale of the scores that the model was trained on, None where it was trained on the labels as they are.
    """

    task: str
    model: str
    method: str
    budget: str
    seed: int
    protocol: str
    selection: str
    reported: str
    value: float
    results: tuple[EvalResult, ...]
    last_value: float
    best_value: float
    best_epoch: int
    ranks: tuple[int, ...]
    effective_ranks: dict[str, int]
    adapter_params: int
    trained_params: int
    head_params: int
    collapsed: bool
    reload_check: ReloadCheck
    train: TrainResult
    profile_seconds: float
    profile_reused: bool
    attach_seconds: float
    train_seconds: float
    scale: ScoreScale | None = None
    smoke: bool = False

    FILE: ClassVar[str] = "result.json"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader must know beside the value, a sentence each; none for most runs."""
        several = len(self.results) > 1
        found = [SMOKE_REMARK] if self.smoke else []
        found += [f"{row.split}: {row.remark}" if several else row.remark for row in self.results if row.remark]
        if self.adapter_params == 0:
            found.append("collapsed: nothing is left of the adapter, its budget or schedule pruned all of it")
        if self.collapsed and not found[self.smoke :]:  # written before remarks were
            found.append("collapsed: one prediction for every row, or predictions that are not finite")
        if self.reload_check.warning:
            found.append(self.reload_check.warning)
        return tuple(found)


@dataclass(frozen=True)
class Estimate:
    """What `dry_run=true` found of a run: seconds estimated from real steps and batches of one process, peak memory.

    `profile` is the profile's directory where it is still to be measured, so that a grid counts it once.
    """

    train_seconds: float
    evaluation_seconds: float
    attach_seconds: float
    profile_seconds: float
    profile: str | None
    peak_bytes: int
    processes: int
    done: bool


@dataclass(frozen=True)
class RunManifest:
    """`run.json`: what was run, where, by which versions, and how it went.

    `numerics` is the version of the arithmetic (`config.NUMERICS`); runs written before it was recorded have 1.
    `same_as` is the path, from this directory, of the run with the same ranks and settings that was trained in its
    stead; None of a run that was trained itself.
    """

    status: str
    command: str
    created: str
    updated: str
    pid: int
    host: str
    processes: int
    device: str
    precision: str
    versions: dict[str, str]
    git_commit: str | None
    fingerprints: dict[str, str]
    seconds: dict[str, float]
    peak_bytes: int | None
    error: str | None
    numerics: int = 1
    same_as: str | None = None

    FILE: ClassVar[str] = "run.json"


@dataclass(frozen=True)
class SavedAdapter:
    """What a saved adapter needs beside its tensors to be rebuilt, of a method that PEFT does not have.

    `sizes` are the modules that got something, by full name, with their rank or bottleneck; `base` is the type of the
    base model, and `tensors` how many there are.
    """

    method: str
    sizes: dict[str, int]
    scaling: float
    base: str
    tensors: int

    FILE: ClassVar[str] = "gelora_adapter.json"
