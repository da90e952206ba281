"""The keys of the sections `profile.` and `ranks.`: what is measured, and how it becomes ranks."""

from __future__ import annotations

from dataclasses import dataclass

from gelora_cli.config.keys import key

LARGEST_SEED = 2**31 - 1


@dataclass
class ProfileConfig:
    """How the idim profile and the other signals are measured.

    `scale` is the n1 of the estimator `gride`, and `tokens` belongs to the pooling of that name. `scales` adds curves
    to a profile and changes none of its other numbers. `control` measures what the profile must differ from.
    `track` measures it again while a model is fine-tuned, on `track_examples` (None: all), with stable ranks of the
    blocks' Jacobians at `track_tokens` tokens; it changes no number.
    """

    pooling: str = key(
        "mean",
        help="the points: of each text the mean of its tokens, the first or the last; tokens: several, each a point",
        choices=("mean", "cls", "last", "tokens"),
        profile=True,
    )
    estimator: str = key(
        "fit",
        help="of TwoNN, fit or mle; gride looks at a larger neighbourhood",
        choices=("fit", "mle", "gride"),
        profile=True,
    )
    discard: float = key(
        0.1, help="share of the largest distance ratios that is left out", low=0, high=0.9, profile=True
    )
    max_examples: int = key(10_000, help="training rows that are measured", low=20, profile=True)
    seed: int = key(0, help="of the draw of the rows", low=0, high=LARGEST_SEED, profile=True)
    batch_size: int = key(64, help="texts per forward pass", low=1, profile=True)
    tokens: int = key(
        4,
        help="tokens of each text for profile.pooling=tokens; memory grows with it, the search with its square",
        low=1,
        profile=True,
        absent=(4,),
    )
    scale: int | None = key(
        None,
        help="neighbour n1 at which profile.estimator=gride is read; null: the rule chooses",
        low=1,
        profile=True,
        absent=(None,),
    )
    scales: bool = key(
        False,
        help="measure idim against the size of the neighbourhood and down to N/8, too; a longer search",
        profile=True,
        identity=False,
        absent=(False,),
    )
    control: str | None = key(
        None,
        help="profile a control: the model with untrained weights, or texts with shuffled tokens; null: neither",
        choices=("untrained", "shuffled"),
        profile=True,
        absent=(None,),
    )
    precision: str = key(
        "float32",
        help="of the forward pass that gives the states; bf16: autocast, about twice as fast, other last digits",
        choices=("float32", "bf16"),
        profile=True,
        absent=("float32",),
    )
    gradient_batches: int = key(
        32, help="global batches of the signal gradients; fewer where there are too few rows", low=10, absent=(32,)
    )
    gradient_batch_size: int = key(
        32, help="rows of each, on any number of processes; each row is used at most once", low=1, absent=(32,)
    )
    track: bool = key(False, help="measure idim and stable ranks while training, too", identity=False)
    track_examples: int | None = key(
        500, help="training rows that are measured while training; null: all", low=20, identity=False
    )
    track_tokens: int = key(4, help="tokens at which the blocks' Jacobians are taken", low=1, identity=False)


@dataclass
class RanksConfig:
    """How a profile and a budget become ranks; `path` takes a saved plan instead."""

    rule: str = key(
        "growth+1",
        help="weight of a block: the growth of the idim across it, with or without the 1 on top",
        choices=("growth+1", "growth"),
    )
    rounding: str = key(
        "up", help="how real-valued ranks are rounded for budget=auto", choices=("up", "nearest", "down")
    )
    on_deficit: str = key(
        "error", help="what happens where the budget is below the lower bounds", choices=("error", "shrink")
    )
    granularity: str | None = key(
        None,
        help="whether every block gets a rank or every module; null: the method's own choice",
        choices=("block", "module"),
        absent=(None,),
    )
    when_unstable: str = key(
        "warn",
        help="what happens where a plan would move with the sample: a warning, the uniform plan, or an error",
        choices=("warn", "uniform", "error"),
        absent=("warn",),
    )
    path: str | None = key(
        None,
        help="take the whole plan of a saved ranks.json or run directory: ranks, budget, modules, scaling",
        path=True,
        identity=False,
    )
