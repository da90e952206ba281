"""Floating-point operations of running and of training a model, from the shapes of its matrices; no torch.

A product of matrices (n, k) and (k, m) is 2 n k m operations. Only such products are counted: those of linear layers,
of the attention, and of what a method adds. Left out are embeddings, norms, activations, softmax, dropout, the loss,
the optimizer, rotary positions, and DeBERTa's convolution, which v3 does not have. A product counts in full, whether
padding is in it, whether a causal mask hides half of it, and whether masked ranks are zero. An attention kernel that
computes its scores a second time on the way back is counted as one that does not. `tests/methods/test_operations.py`
compares the counts with those of torch, `torch.utils.flop_counter`.

Letters: B rows of a batch, T tokens of its longest one, d the width of the attention, r a rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gelora_cli.core.artifacts.model_map import BlockMap, LinearShape, run_order


@dataclass(frozen=True)
class Load:
    """What goes through a model.

    Attributes:
        passes: how many batches.
        rows: their rows, the sum of B.
        tokens: their tokens with padding, the sum of `B T`.
        pairs: pairs of tokens that meet in the attention, the sum of `B T^2`.
        longest: tokens of the longest row of each batch, the sum of T.
    """

    passes: int = 0
    rows: int = 0
    tokens: int = 0
    pairs: int = 0
    longest: int = 0

    @classmethod
    def of_batch(cls, rows: int, longest: int) -> Load:
        """Return the load of one batch whose rows are padded to its longest."""
        return cls(1, rows, rows * longest, rows * longest**2, longest)

    def __add__(self, other: Load) -> Load:
        """Return what both put through a model."""
        passes, rows = self.passes + other.passes, self.rows + other.rows
        tokens, pairs = self.tokens + other.tokens, self.pairs + other.pairs
        return Load(passes, rows, tokens, pairs, self.longest + other.longest)


@dataclass(frozen=True)
class RelativePositions:
    """Products of content and relative positions in every attention (DeBERTa, He et al., 2021, equation 4).

    Attributes:
        rows: rows of the table of relative positions.
        content_to_position: whether queries meet projected positions.
        position_to_content: whether keys do.
        shared: whether query and key project the positions; otherwise linears of their own do.
        normalized: whether the table goes through a norm, which may train without the table.
        cut: whether a pass takes only the rows for distances in its batch, two for each token of the longest row;
            otherwise it takes the whole table.
        biased: which of positions as keys and as queries are projected with a bias, if by linears of their own.
    """

    rows: int
    content_to_position: bool
    position_to_content: bool
    shared: bool
    normalized: bool = True
    cut: bool = False
    biased: tuple[str, ...] = ("key", "query")

    def projected_rows(self, load: Load) -> int:
        """Return how many rows all passes project together."""
        return min(2 * load.longest, load.passes * self.rows) if self.cut else load.passes * self.rows

    def meetings(self, load: Load) -> int:
        """Return how often a token meets a projected row, in all passes together."""
        return min(2 * load.pairs, load.tokens * self.rows) if self.cut else load.tokens * self.rows


@dataclass(frozen=True)
class ModelShapes:
    """All linear layers of a model in the order in which they run.

    Attributes:
        blocks: the blocks with their passes, also with linears that have no role; `""` stands for them.
        before: linears between the embeddings and block 1.
        after: linears behind the last block.
        head_modules: names of the modules of the head, whose linears are in `after`.
        backbone: name of the model without its head, which may hold a pooler behind the last block.
        reads_every_token: whether the linears in `after` read every token, or one vector of each row.
        relative: the attention's relative positions; None of a model whose attention multiplies no such table.
    """

    blocks: tuple[BlockMap, ...]
    before: tuple[LinearShape, ...] = ()
    after: tuple[LinearShape, ...] = ()
    head_modules: tuple[str, ...] = ()
    backbone: str = ""
    reads_every_token: bool = False
    relative: RelativePositions | None = None

    def is_of_head(self, linear: LinearShape) -> bool:
        """Return whether a linear belongs to the head, which is trained in full."""
        return any(linear.name == name or linear.name.startswith(f"{name}.") for name in self.head_modules)


@dataclass(frozen=True)
class UpdateWork:
    """What is trained of a model, and what that adds to its products.

    Attributes:
        ranks: r of every linear, by its full name, that gets two matrices (in, r) and (r, out), as LoRA's A and B.
        behind: whether these read the output of their linear, (out, r) and (r, out), as a bottleneck does.
        from_start: whether an update is computed as `(B - B0) A + B0 (A - A0)`, so that A and B have two products each.
        trains_weights: whether the weights of the blocks' linears train.
        trains_biases: whether their biases do; the gradient of a bias is a sum, not a product.
        reaches_embeddings: whether gradients go down to the embeddings, since something trains there.
        trains_head: whether the head trains.
        call_operations: further operations of each call of a linear, whatever its tokens, by its full name.
        step_operations: further operations of each optimizer step.
        replaced_params: parameters of the adapter that take the place of the model's own, and so add none to it.
    """

    ranks: Mapping[str, int] = field(default_factory=dict)
    behind: bool = False
    from_start: bool = False
    trains_weights: bool = False
    trains_biases: bool = False
    reaches_embeddings: bool = False
    trains_head: bool = True
    call_operations: Mapping[str, int] = field(default_factory=dict)
    step_operations: int = 0
    replaced_params: int = 0

    @property
    def trains_everything(self) -> bool:
        """Return whether the weights outside of the blocks train, too."""
        return self.trains_weights and self.reaches_embeddings

    def trains(self, linear: LinearShape) -> bool:
        """Return whether anything trains in or at a linear of a block."""
        return self.trains_weights or self.trains_biases or self.ranks.get(linear.name, 0) > 0


FORWARD_ONLY = UpdateWork(trains_head=False)
"""Nothing trains: a pass that only reads."""


def model_operations(shapes: ModelShapes, load: Load, work: UpdateWork, *, steps: int = 0, head: bool = True) -> int:
    """Return the operations of running a model forward and, as far as something trains, backward.

    A linear (in, out) on n rows costs `2 n in out` forward, as much for the gradient of its input, and as much for that
    of its weight. The gradient of the input is computed only where something below trains, and that of the weight where
    the weight trains. `Q K^T` and `P V` cost `2 B T^2 d` each, and on the way back as much for each factor with a
    gradient. A and B cost `2 n r (in + out)` forward, as much for their own gradients, `2 n r out` for that of B's
    input, and `2 n r in` for that of A's where something below trains.

    Args:
        shapes: the model without an adapter.
        load: what goes through it.
        work: what trains.
        steps: optimizer steps.
        head: whether what lies outside of the backbone runs, too.
    """
    below = work.reaches_embeddings  # whether something trains below the place that is counted
    total = 0
    for linear in shapes.before:
        total += linear_operations(linear, load.tokens, below, work.trains_everything)
    for block in run_order(shapes.blocks):  # each pass through a shared block costs its products again
        total += _Block(block, shapes.relative, load, work, below).operations()
        below = below or any(work.trains(linear) for linear in block.linears)
    rows = load.tokens if shapes.reads_every_token else load.rows
    for linear in shapes.after:
        if not head and not linear.name.startswith(f"{shapes.backbone}."):
            continue
        trains = work.trains_everything or (work.trains_head and shapes.is_of_head(linear))
        total += linear_operations(linear, rows, below, trains)
        below = below or trains
    return total + steps * work.step_operations


def linear_operations(linear: LinearShape, rows: int, below: bool, trains: bool) -> int:
    """Return the operations of a linear: forward, for the gradient of its input, and for that of its weight.

    Args:
        linear: its shape.
        rows: vectors that it reads.
        below: whether its input has a gradient.
        trains: whether its weight has one.
    """
    return 2 * rows * linear.in_features * linear.out_features * (1 + below + trains)


class _Block:
    """One block: which of its values have gradients, and what its products cost.

    Attributes:
        block: its linears by their roles.
        relative: the attention's relative positions.
        load: what goes through it.
        work: what trains.
        below: whether its input has a gradient.
    """

    def __init__(
        self, block: BlockMap, relative: RelativePositions | None, load: Load, work: UpdateWork, below: bool
    ) -> None:
        self.block, self.relative, self.load, self.work, self.below = block, relative, load, work, below
        self.query = below or self._trains("query", "qkv")
        self.key = below or self._trains("key", "qkv")
        self.value = below or self._trains("value", "qkv")
        self.context = self.query or self.key or self.value  # what `output` reads
        self.attended = self.context or self._trains("output")  # what the feed-forward reads, with the residual
        self.hidden = self.attended or self._trains("up", "gate", "gate_up")  # what `down` reads

    def operations(self) -> int:
        """Return the operations of the block's linears and of its attention."""
        total = self._attention()
        for linear in self.block.linears:
            if linear.role == POSITION:
                rows = self.relative.projected_rows(self.load) if self.relative else 0
                total += self._linear(linear, rows, self._table_trains())
            else:
                total += self._linear(linear, self.load.tokens, self._input_has_gradient(linear.role))
        return total

    def _trains(self, *roles: str) -> bool:
        return any(linear.role in roles and self.work.trains(linear) for linear in self.block.linears)

    def _input_has_gradient(self, role: str) -> bool:
        if role == "output":
            return self.context
        if role in ("up", "gate", "gate_up"):
            return self.attended
        return self.hidden if role == "down" else self.below

    def _table_trains(self) -> bool:
        """Return whether the table of relative positions, or its norm, trains."""
        normalized = self.relative is not None and self.relative.normalized
        return self.work.trains_everything or (normalized and self.work.reaches_embeddings)

    def _linear(self, linear: LinearShape, rows: int, below: bool) -> int:
        """Return the operations of a linear with what the method adds to it."""
        total = linear_operations(linear, rows, below, self.work.trains_weights)
        total += self.load.passes * self.work.call_operations.get(linear.name, 0)
        rank = self.work.ranks.get(linear.name, 0)
        read = linear.out_features if self.work.behind else linear.in_features
        first, second = 2 * rows * read * rank, 2 * rows * rank * linear.out_features
        uses = (2, 5) if self.work.from_start else (1, 3)  # B0 does not train
        return total + uses[0] * first * (2 + below) + uses[1] * second

    def _attention(self) -> int:
        """Return the operations of the products of queries, keys, values and positions."""
        width = self._width()
        product = 2 * self.load.pairs * width
        total = product * (1 + self.query + self.key)  # Q K^T
        total += product * (1 + (self.query or self.key) + self.value)  # P V
        return total + (self._positions(self.relative, width) if self.relative else 0)

    def _width(self) -> int:
        """Return the width of all heads together: what `output` reads, or else what the first linear writes."""
        for linear in self.block.linears:
            if linear.role == "output":
                return linear.in_features
        return self.block.linears[0].out_features

    def _positions(self, relative: RelativePositions, width: int) -> int:
        """Return the operations on relative positions: queries by projected positions, and keys by them.

        A pass projects the rows once, whatever the rows of its batch.
        """
        product = 2 * relative.meetings(self.load) * width
        table = self._table_trains()
        total = 0
        for applies, content, role in (
            (relative.content_to_position, self.query, "key"),
            (relative.position_to_content, self.key, "query"),
        ):
            if applies:
                bias_trains = self.work.trains_biases and role in relative.biased
                projected = table or (self._trains(role) if relative.shared else bias_trains)
                total += product * (1 + content + projected)
        for linear in self.block.linears:
            if relative.shared and linear.role in ("query", "key"):
                total += self._linear(linear, relative.projected_rows(self.load), table)
        return total


POSITION = "position"
"""The role of a linear that projects relative positions alone."""


def eigenvalue_operations(size: int) -> int:
    """Return the operations of the eigenvalues of a symmetric matrix (size, size), to leading order: `4/3 size^3`.

    That is what reducing it to a tridiagonal one costs (Golub and Van Loan, Matrix Computations, section 8.3).
    """
    return 4 * size**3 // 3


def singular_value_operations(linear: LinearShape) -> int:
    """Return the operations of the singular values of a weight as they are computed here, by its smaller Gram matrix.

    The Gram matrix costs `2 in out min(in, out)`.
    """
    small = linear.max_rank
    return 2 * linear.in_features * linear.out_features * small + eigenvalue_operations(small)


def decomposition_operations(linear: LinearShape) -> int:
    """Return the operations of the singular values and vectors of a matrix (m, n): `6 m n^2 + 20 n^3` to leading order.

    The smaller side is n. That is the method that begins with a QR decomposition (Golub and Van Loan, Matrix
    Computations, section 8.6); a library may take another [ours].
    """
    small, large = linear.max_rank, max(linear.in_features, linear.out_features)
    return 6 * large * small**2 + 20 * small**3


def neighbour_operations(points: int, width: int) -> int:
    """Return the operations of the exact search for neighbours of all points: a key for each of `n (n - 1) / 2` pairs.

    A key is a product of `width + 2` terms. Distances that are computed again, for the few nearest of each point, are
    left out [ours].
    """
    return points * (points - 1) * (width + 2)
