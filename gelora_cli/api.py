"""gelora from Python: profile a loaded model on texts, plan ranks for a budget, and hand them to any trainer.

    profile = profile_texts(model, tokenizer, texts)
    plan = plan_ranks(profile, "0.3M")
    model = get_peft_model(model, lora_config(plan, task_type="SEQ_CLS"))

The numbers are those of `gelora profile` and `gelora ranks` on the same model, texts and settings.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gelora_cli.allocation.peft_pattern import rank_pattern_json
from gelora_cli.allocation.ranks import plan_ranks as plan_for_budget
from gelora_cli.allocation.ranks import planned_methods
from gelora_cli.config.checks import declared_problems, list_problems, profile_problems
from gelora_cli.config.schema import ProfileConfig, TaskConfig
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.core.registries import VARIANTS
from gelora_cli.data.encoding import encode
from gelora_cli.data.splits import TextSplit, draw_rows
from gelora_cli.signals.idim import profile_settings

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from gelora_cli.core.artifacts.model_map import ModelMap
    from gelora_cli.core.artifacts.profile import ProfileSettings
    from gelora_cli.data.encoding import EncodedSplit
    from gelora_cli.geometry.profiling import Measurement

Texts = Sequence[str] | Sequence[tuple[str, str]]
RULES = ("rule", "rounding", "on_deficit", "when_unstable", "seed", "variant")


def profile_texts(  # noqa: PLR0913 - all but three have defaults
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Texts,
    *,
    max_length: int = 128,
    pooling: str = "mean",
    estimator: str = "fit",
    discard: float = 0.1,
    max_examples: int = 10_000,
    seed: int = 0,
    batch_size: int = 64,
    tokens: int = 4,
    scale: int | None = None,
    scales: bool = False,
    control: str | None = None,
    blocks: str | None = None,
    linears: Mapping[str, str] | None = None,
    accept_map: bool = False,
) -> IdProfile:
    """Measure the intrinsic dimensions d_0 .. d_L (TwoNN) of a model's hidden states, in one pass without gradients.

    d_0 is measured at the input of block 1, d_i at the output of block i, on one pooled vector per text. It runs where
    the model is and in the precision that it has (load it in float32: TwoNN needs the digits), in this process alone.
    The model is left as it was: training mode, gradients, hooks and configuration.

    Args:
        model: a transformers model with any head or none, encoder or decoder, before any adapter.
        tokenizer: its tokenizer.
        texts: one string each, or pairs of strings; at least 20 different ones.
        max_length: tokens per text, the rest is cut.
        pooling: `mean` over the tokens of a text, `cls` the first, `last` the last (for decoders); `tokens`: several
            tokens of a text, each a point.
        estimator: `fit` or `mle` of TwoNN, or `gride`.
        discard: share of the largest distance ratios left out.
        max_examples: at most so many texts are drawn, by `seed`.
        seed: of that draw, and of the disjoint parts for the estimates at N/2 and N/4.
        batch_size: texts per forward pass.
        tokens: how many tokens of a text are drawn, by `seed`, for `pooling="tokens"`.
        scale: the neighbour n1 of `estimator="gride"`, the same in all layers; None: a rule chooses it.
        scales: whether to measure idim at several sizes of the neighbourhood, too.
        control: `untrained` measures the same architecture with weights drawn by `seed`, `shuffled` the texts with
            their tokens in a random order.
        blocks: the list of blocks, of a kind of model that gelora does not know, such as `transformer.layer`.
        linears: role (`query`, `key`, `value`, `output`, `up`, `gate`, `down`) to the linear's name in a block.
        accept_map: take the blocks and linears that were found in such a model; without it, an error shows them.

    Raises:
        GeloraError: a model that can't be mapped, a tokenizer of another one, or texts that can't be used.
    """
    from gelora_cli.models.block_map import map_model
    from gelora_cli.models.head_weights import modules_outside_backbone

    # Their bounds are those of `gelora profile`, whose schema declares them once.
    task = TaskConfig(max_length=max_length)
    config = ProfileConfig(
        pooling=pooling,
        estimator=estimator,
        discard=discard,
        max_examples=max_examples,
        seed=seed,
        batch_size=batch_size,
        tokens=tokens,
        scale=scale,
        control=control,
    )
    _check_arguments(model, tokenizer, task, config)
    split, start = _split(texts), time.perf_counter()
    model_map = map_model(
        model,
        blocks=blocks,
        linears=linears,
        accept_map=accept_map,
        head_modules=modules_outside_backbone(model),
    )
    settings = profile_settings(task, config)
    encoded = _draw_and_encode(split, tokenizer, task, config)
    measured = _measure(model, tokenizer, model_map, encoded, config, settings, with_scales=scales)
    return measured.profile(
        model=str(model.config.name_or_path or type(model).__name__),
        model_fingerprint="",
        task=split.name,
        data_fingerprint=split.fingerprint(),
        settings=settings,
        examples_seen=len(split),
        model_map=model_map,
        seconds=round(time.perf_counter() - start, 3),
    )


def plan_ranks(
    profile: IdProfile,
    budget: str | float,
    *,
    method: str = "gelora",
    modules: str = "attention",
    scaling: float = 32.0,
    **rules: Any,
) -> RankPlan:
    """Return the LoRA rank of every block under a budget (see `gelora_cli.allocation.ranks.plan_ranks` for the rule).

    Args:
        profile: from `profile_texts`, or `read_artifact(IdProfile, path)` of a saved one.
        budget: `0.3M`, `300000`, `0.16%` (of the backbone), `rank:4` (what uniform rank 4 costs) or `auto`.
        method: `gelora`, or a control: `lora` (uniform), `shuffled`, `random`, `reversed`.
        modules: `attention` (query, key, value, output) or `all` linears of a block.
        scaling: `alpha / r`, the same for every module unless the variant says otherwise.
        rules: `rule`, `rounding`, `on_deficit`, `when_unstable`, `seed` of the controls, and `variant` (`lora`,
            `rslora`, `dora`, ...), the form of the update.

    Returns:
        The plan; its `stability` says whether it would be the same with other texts.

    Raises:
        GeloraError: a budget that can't be met, with the smallest that can, an unknown option, or with
            `when_unstable="error"` a plan that is not stable.
    """
    planned = planned_methods()
    if method not in planned:
        raise GeloraError(f"method={method}: its ranks are known only once it has run; accepted: {', '.join(planned)}")
    if unknown := sorted(rules.keys() - set(RULES)):
        raise GeloraError(f"{', '.join(unknown)}: no such option; accepted besides those named: {', '.join(RULES)}")
    return plan_for_budget(profile, parse_budget(budget), method=method, modules=modules, scaling=scaling, **rules)


def lora_config(plan: RankPlan, *, task_type: str | None = None, **more: Any) -> LoraConfig:
    """Return PEFT's configuration with the planned rank and scaling of every module, and the plan's variant.

    Module names are those of the profiled model: a plan from a bare backbone also fits that backbone under a head.

    Args:
        plan: from `plan_ranks`, or `read_artifact(RankPlan, path)` of a run's `ranks.json`.
        task_type: PEFT's, such as `SEQ_CLS` or `CAUSAL_LM`; it decides which head is trained and saved.
        more: other settings of `peft.LoraConfig`, such as `lora_dropout`.

    Raises:
        GeloraError: a plan of something other than LoRA ranks, a variant that starts otherwise than PEFT would, or a
            setting that would overrule the plan.
    """
    from peft import LoraConfig

    if plan.unit != "rank":
        accepted = ", ".join(planned_methods())
        raise GeloraError(f"this plan of method={plan.method} holds no LoRA ranks; take one of {accepted}")
    if start := VARIANTS.get(plan.variant).own_start:
        raise GeloraError(
            f"variant={plan.variant} starts {start}, which PEFT's arguments don't say; train it with gelora train and "
            "ranks.path=FILE, or plan with variant=lora and give init_lora_weights"
        )
    planned = rank_pattern_json(plan)
    overruling = sorted({*planned, "use_rslora"} & more.keys())
    if overruling:
        raise GeloraError(f"{', '.join(overruling)}: set by the plan; give plan_ranks another budget or scaling")
    return LoraConfig(**planned, task_type=task_type, **more)


def _check_arguments(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: TaskConfig, config: ProfileConfig
) -> None:
    """Refuse what can't be measured, before the model is looked into.

    Raises:
        GeloraError: no model, settings out of their bounds, or a tokenizer or texts that don't fit the model.
    """
    from gelora_cli.models.tokenizer import check_positions, check_vocabulary

    _check_model(model)
    problems = [*declared_problems(config, "profile."), *profile_problems(config), *declared_problems(task, "task.")]
    if problems:
        raise GeloraError(list_problems(problems))
    check_vocabulary(tokenizer, model)
    check_positions(model.config.to_dict(), type(model).__name__, task.max_length)


def _check_model(model: object) -> None:
    """Refuse what is no model of transformers, and a model that already holds an adapter.

    Raises:
        GeloraError: with what is accepted.
    """
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        raise GeloraError(
            f"a {type(model).__name__} was given; a transformers model is accepted, before PEFT or another wrapper is "
            "put around it"
        )
    if any("lora_" in name for name, _ in model.named_parameters()):
        raise GeloraError("the model holds a LoRA adapter; profile it before one is added")


def _split(texts: Texts) -> TextSplit:
    """Return texts or pairs as a split without labels.

    Raises:
        GeloraError: there are none, one is empty, or they are neither all strings nor all pairs.
    """
    rows = [tuple(text) if isinstance(text, tuple | list) else (text,) for text in texts]
    if isinstance(texts, str) or not rows:  # one string would be taken for a list of its characters
        raise GeloraError("texts: a list of strings, or of pairs of strings, is accepted; 20 different ones or more")
    for number, row in enumerate(rows):
        if len(row) not in (1, 2) or len(row) != len(rows[0]) or not all(isinstance(text, str) for text in row):
            raise GeloraError(f"texts[{number}] is {texts[number]!r}: all strings, or all pairs of them, are accepted")
        if not all(text.strip() for text in row):
            raise GeloraError(f"texts[{number}] is empty; leave it out")
    columns = tuple(list(column) for column in zip(*rows, strict=True))
    return TextSplit("texts", np.arange(len(rows), dtype=np.int64), columns, None)


def _draw_and_encode(
    split: TextSplit, tokenizer: PreTrainedTokenizerBase, task: TaskConfig, config: ProfileConfig
) -> EncodedSplit:
    """Return the drawn texts as tokens, and warn of texts that were cut."""
    # Drawn as `gelora profile` draws, so that the same texts give the same numbers.
    rows = draw_rows(len(split), config.max_examples, config.seed)
    encoded = encode(split.take(rows), tokenizer, task.max_length)
    if encoded.truncation and (text := replace(encoded.truncation, key="max_length").describe()):
        LOGGER.warning("%s", text)
    return encoded


def _measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    model_map: ModelMap,
    encoded: EncodedSplit,
    config: ProfileConfig,
    settings: ProfileSettings,
    *,
    with_scales: bool,
) -> Measurement:
    """Return what was measured of a model, or of its control, in one pass; the model is left as it was."""
    from gelora_cli.core.distributed import Device
    from gelora_cli.geometry.controls import control_inputs
    from gelora_cli.geometry.profiling import measure
    from gelora_cli.models.block_map import layer_modules
    from gelora_cli.models.modes import evaluating
    from gelora_cli.models.tokenizer import special_ids

    special = special_ids(tokenizer)
    with evaluating(model), _without_cache(model):
        measured_model, texts = control_inputs(model, encoded, config.control, seed=config.seed, special_ids=special)
        return measure(
            measured_model,
            layer_modules(measured_model, model_map),
            texts,
            settings,
            batch_size=config.batch_size,
            pad_token_id=int(tokenizer.pad_token_id or 0),
            accelerator=Device(model.device),
            special_ids=special,
            with_scales=with_scales,
        )


@contextmanager
def _without_cache(model: PreTrainedModel) -> Iterator[None]:
    """Switch a decoder's cache off, and restore it afterwards."""
    config = model.config
    cache = getattr(config, "use_cache", None)
    if cache:
        config.use_cache = False  # it would hold keys and values of every token, which nobody reads
    try:
        yield
    finally:
        if cache:
            config.use_cache = cache
