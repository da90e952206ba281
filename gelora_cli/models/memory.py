"""Forecast the memory of a training, from the shapes of a model and the settings of a run; no torch.

Every figure is in bytes, of one process. The terms were derived from what torch keeps for the way back, and compared
with measured peaks on the CPU (`scripts/benchmarks/memory_peaks.py`). They were not compared with those of a GPU.

Letters: B rows of a batch, T tokens of its longest one, N = B T, D the width of the hidden states, H heads, I the width
of the feed-forward, V rows of the vocabulary, r a rank.
"""

from __future__ import annotations

from dataclasses import dataclass

from gelora_cli.core.artifacts.model_map import BlockMap, LinearShape, run_order
from gelora_cli.models.operations import Load, ModelShapes, UpdateWork

FLOAT32, BF16, FOUR_BIT = "float32", "bf16", "4bit"
LINEAR_BYTES = {FLOAT32: 4.0, BF16: 2.0, FOUR_BIT: 0.516}
"""Of a stored weight of a block's linear. 4bit: NF4 with double quantisation, 0.5 and its scales."""
TRAINED_BYTES = 16
"""Of a parameter that a method adds: its value, its gradient, and AdamW's two moments, all in float32."""
RELEASED_BYTES = 12
"""Of a parameter of the model that trains: the same without its value, which is stored already."""
LOGIT_BYTES = 12
"""Of a score over the vocabulary, on the way back: its logarithm, the gradient of that, and its own, in float32."""
CARDS = (24, 48, 80)
"""GB of the graphics cards that a forecast is compared with."""
SPARE_SHARE, SPARE_BYTES = 0.10, 10**9
"""Left free: for what the forecast is off by, and for what the libraries take."""


@dataclass(frozen=True, kw_only=True)
class BlockValues:
    """Numbers for each token that a block keeps for the way back, beside the inputs of its adapted linears.

    Attributes:
        norms: inputs of norms.
        query: width of all queries, and of what the attention gives.
        key: width of all keys, and of all values.
        feed_forward: what the activation reads, and what the product of a gated feed-forward multiplies.
        dropout: masks of dropout on hidden states.
    """

    norms: int
    query: int
    key: int
    feed_forward: int
    dropout: int = 0


@dataclass(frozen=True, kw_only=True)
class MemoryShapes:
    """What of a model decides how much memory it takes.

    Attributes:
        model: its linears.
        block: what each of its blocks keeps.
        width: D.
        heads: H.
        linear_params: weights of the linears in its blocks.
        other_params: all other parameters, those of the head included.
        embedding_params: of these, embeddings of tokens, and weights of the linear that scores the vocabulary.
        head_params: parameters of the head, which is trained in full.
        vocabulary: V, where the task scores every token of the vocabulary; otherwise 0.
        output_params: weights of the linear that scores them.
        is_eager: whether the attention is written out, so that its probabilities are kept: T for each token and head.
        attention_dropout: whether probabilities of the attention are dropped.
    """

    model: ModelShapes
    block: BlockValues
    width: int
    heads: int
    linear_params: int
    other_params: int
    embedding_params: int = 0
    head_params: int = 0
    vocabulary: int = 0
    output_params: int = 0
    is_eager: bool = False
    attention_dropout: bool = False


@dataclass(frozen=True, kw_only=True)
class MemorySettings:
    """What of a run decides how much memory it takes.

    Attributes:
        precision: `float32` or `bf16`, in which the model computes.
        dtype: `float32`, `bf16` or `4bit`, in which frozen weights are stored (`models.quantized`).
        rows: B of the largest micro-batch.
        longest: T of the largest micro-batch.
        masked: whether the attention reads a mask, as rows of unequal length do.
        scored: tokens of it whose scores over the vocabulary are computed, at most N.
        work: what trains.
        trained_params: parameters that the method trains, without the head.
        on_gpu: whether fused kernels of the attention drop probabilities, too, which those of the CPU don't.
        recompute: whether blocks are computed again on the way back (`train.gradient_checkpointing`).
        eval_rows: B of the largest batch of an evaluation.
        eval_longest: T of it, with what is generated.
        eval_scored: tokens of it whose scores over the vocabulary are computed at once.
        compared_scored: the same in the check of the saved adapter, which reads every token of its rows.
        generates: whether an evaluation keeps the keys and values of all tokens.
        second_model: whether the check of the saved adapter loads a second model beside the trained one.
        loads_in_bf16: whether weights of another type than float32 are made of ones in bfloat16 (`models.load`).
    """

    precision: str
    dtype: str = FLOAT32
    rows: int
    longest: int
    masked: bool = True
    scored: int
    work: UpdateWork
    trained_params: int
    on_gpu: bool = False
    recompute: bool = False
    eval_rows: int
    eval_longest: int
    eval_scored: int
    compared_scored: int = 0
    generates: bool = False
    second_model: bool = True
    loads_in_bf16: bool = False


@dataclass(frozen=True, kw_only=True)
class MemoryForecast:
    """Bytes of one process.

    Attributes:
        weights: the model as it is stored, with copies that a training keeps in bfloat16.
        trained: parameters that a method adds, gradients and moments.
        activations: what the blocks keep for the way back; where they are computed again, their inputs alone.
        inside: what one block keeps while it is computed again, with its gradients, after the scores are gone.
        logits: scores over the vocabulary, with what the loss keeps of them.
        dequantized: the largest linear, while it is computed with in another type than that it is stored in.
        evaluation: an evaluation, everything counted.
        reload: the check of the saved adapter, everything counted.
        loading: the model in the type in which it is loaded on the CPU, whatever it is stored in.
    """

    weights: int
    trained: int
    activations: int
    inside: int
    logits: int
    dequantized: int
    evaluation: int
    reload: int
    loading: int

    @property
    def training(self) -> int:
        """Return the bytes of an optimizer step."""
        on_top = max(self.logits, self.inside)  # one after the other, on the way back
        return self.weights + self.trained + self.activations + on_top + self.dequantized

    @property
    def peak(self) -> int:
        """Return the bytes of the stage that takes most."""
        return max(self.training, self.evaluation, self.reload)

    @property
    def card(self) -> int | None:
        """Return the GB of the smallest of `CARDS` that suffices; None if none does."""
        needed = self.peak * (1 + SPARE_SHARE) + SPARE_BYTES
        return next((size for size in CARDS if needed <= size * 1e9), None)


def forecast(shapes: MemoryShapes, settings: MemorySettings) -> MemoryForecast:
    """Return how much memory a training takes.

    Weights count as they are stored. With float32 weights and bf16 arithmetic a training keeps a copy of every frozen
    linear in bfloat16. Logits take 12 bytes each, in float32 whatever the model computes in: their logarithms, the
    gradients of these, and their own.
    """
    stored = _stored_bytes(shapes, settings)
    casts = 0
    if settings.dtype == FLOAT32 and settings.precision == BF16:
        casts = 2 * (shapes.linear_params + shapes.output_params)
    released = shapes.head_params + settings.work.replaced_params
    added = settings.trained_params - settings.work.replaced_params
    trained = TRAINED_BYTES * added + RELEASED_BYTES * released
    kept = _kept_of_blocks(shapes, settings)
    inputs = 4 * len(kept) * settings.rows * settings.longest * shapes.width  # float32, whatever is stored
    evaluation = stored + trained + _evaluation_bytes(shapes, settings, settings.eval_scored)
    compared = _evaluation_bytes(shapes, settings, settings.compared_scored)
    loading = (2 if settings.loads_in_bf16 else 4) * (shapes.linear_params + shapes.other_params)
    if settings.second_model:  # beside the trained one it is loaded, and only then stored otherwise
        compared = max(stored + compared, loading)
    return MemoryForecast(
        weights=stored + casts,
        trained=trained,
        activations=inputs if settings.recompute else sum(kept),
        inside=max(kept) + _gradient_bytes(shapes, settings) if settings.recompute and kept else 0,
        logits=LOGIT_BYTES * settings.scored * shapes.vocabulary,
        dequantized=_dequantized_bytes(shapes, settings),
        evaluation=evaluation,
        reload=stored + trained + compared,
        loading=loading,
    )


def _stored_bytes(shapes: MemoryShapes, settings: MemorySettings) -> int:
    """Return the bytes of all weights: those of the blocks' linears, the embeddings of tokens, and all others."""
    of_embeddings = 4 if settings.dtype == FLOAT32 else 2
    others = 4 * (shapes.other_params - shapes.embedding_params) + of_embeddings * shapes.embedding_params
    return round(LINEAR_BYTES[settings.dtype] * shapes.linear_params) + others


def _dequantized_bytes(shapes: MemoryShapes, settings: MemorySettings) -> int:
    """Return the bytes of the largest linear that is computed with in another type, one at a time."""
    sizes = [0]
    if settings.dtype == FOUR_BIT:
        linears = [linear for block in shapes.model.blocks for linear in block.linears]
        sizes += [linear.in_features * linear.out_features for linear in linears]
    if settings.dtype != FLOAT32 and settings.precision == FLOAT32:
        sizes.append(shapes.output_params)
    return _value_bytes(settings) * max(sizes)


def _value_bytes(settings: MemorySettings) -> int:
    """Return the bytes of a number that a linear computes."""
    return 2 if settings.precision == BF16 else 4


def _kept_of_blocks(shapes: MemoryShapes, settings: MemorySettings) -> list[int]:
    """Return what each pass through a block keeps, from the first block in which something trains."""
    passes = list(run_order(shapes.model.blocks))
    work = settings.work
    first = 0
    if not work.reaches_embeddings:
        while first < len(passes) and not any(map(work.trains, passes[first].linears)):
            first += 1
    return [_block_bytes(shapes, settings, block) for block in passes[first:]]


def _block_bytes(shapes: MemoryShapes, settings: MemorySettings, block: BlockMap) -> int:
    """Return what one block keeps of a micro-batch for the way back.

    Norms keep their inputs in float32. Queries, keys, values and what the attention gives are kept as they come.
    In float32 linears that read the same share their input, and that of `output` is what the attention gives. Under
    autocast to bfloat16 each adapted linear has a copy of its own.
    """
    values, is_half = shapes.block, settings.precision == BF16
    adapted = [linear for linear in block.linears if _keeps_input(linear, settings.work)]
    inputs = sum(linear.in_features for linear in adapted) if is_half else _shared_inputs(adapted)
    # A mask of padding makes torch repeat keys and values to the width of the queries.
    key = values.query if settings.masked else values.key
    computed = 2 * values.query + 2 * key + values.feed_forward + inputs
    ranks = sum(settings.work.ranks.get(linear.name, 0) for linear in adapted)
    ranks *= 2 if settings.work.from_start else 1
    of_token = 4 * (values.norms + values.dropout + ranks) + _value_bytes(settings) * computed
    tokens = settings.rows * settings.longest
    of_pair = shapes.heads * _score_bytes(shapes, settings)
    if settings.masked and not shapes.is_eager:
        of_pair += _value_bytes(settings)  # the mask, which each block turns into numbers for itself
    return tokens * (of_token + settings.longest * of_pair) + _position_bytes(shapes, settings)


def _gradient_bytes(shapes: MemoryShapes, settings: MemorySettings) -> int:
    """Return the largest gradients that one block holds at once, of its feed-forward or of its attention's scores."""
    of_feed_forward = _value_bytes(settings) * shapes.block.feed_forward
    of_scores = 8 * shapes.heads * settings.longest if _score_bytes(shapes, settings) else 0
    return settings.rows * settings.longest * max(of_feed_forward, of_scores)


def _score_bytes(shapes: MemoryShapes, settings: MemorySettings) -> int:
    """Return what is kept of the attention of a pair of tokens in one head: nothing by fused kernels."""
    of_dropped = 2 * _value_bytes(settings) if shapes.attention_dropout else 0  # a mask, and the product with it
    if shapes.is_eager:
        relative = 2 * _value_bytes(settings) if shapes.model.relative is not None else 0
        return 4 + of_dropped + relative  # the softmax is in float32
    if not shapes.attention_dropout or settings.on_gpu:
        return 0
    return 12  # torch falls back to a path that is written out in float32


def _position_bytes(shapes: MemoryShapes, settings: MemorySettings) -> int:
    """Return what is kept of projected relative positions, which DeBERTa repeats for each row of a batch."""
    relative = shapes.model.relative
    if relative is None:
        return 0
    rows = relative.projected_rows(Load.of_batch(settings.rows, settings.longest))
    sides = relative.content_to_position + relative.position_to_content
    return sides * settings.rows * rows * shapes.block.query * _value_bytes(settings)


def _keeps_input(linear: LinearShape, work: UpdateWork) -> bool:
    return work.trains_weights or work.ranks.get(linear.name, 0) > 0


def _shared_inputs(linears: list[LinearShape]) -> int:
    """Return the width of all different inputs, without that of `output`, which the attention keeps."""
    widths = {_reads(linear): linear.in_features for linear in linears}
    widths.pop("attention", None)
    return sum(widths.values())


def _reads(linear: LinearShape) -> str:
    """Return the name of what a linear reads; linears that read the same have the same one."""
    if linear.role in ("query", "key", "value", "qkv"):
        return "hidden"
    if linear.role in ("up", "gate", "gate_up"):
        return "attended"
    return "attention" if linear.role == "output" else linear.name


def _evaluation_bytes(shapes: MemoryShapes, settings: MemorySettings, scored: int) -> int:
    """Return what an evaluation takes beside weights and moments: one block's inside, scores, and a cache."""
    tokens = settings.eval_rows * settings.eval_longest
    values = shapes.block
    inside = tokens * (4 * shapes.width + _value_bytes(settings) * (2 * values.query + values.feed_forward))
    of_a_logit = 10 if settings.precision == BF16 else 8  # themselves, and their logarithms in float32
    logits = of_a_logit * scored * shapes.vocabulary
    layers = len(run_order(shapes.model.blocks))
    cache = 2 * layers * values.key * _value_bytes(settings) * tokens if settings.generates else 0
    return inside + logits + cache + _dequantized_bytes(shapes, settings)
