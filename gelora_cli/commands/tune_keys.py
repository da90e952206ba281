"""The keys of the section `tune.`, beside those of a run."""

from __future__ import annotations

from dataclasses import dataclass

from gelora_cli.config.keys import key
from gelora_cli.config.schema import LARGEST_SEED

SAMPLERS = ("sobol", "tpe")


@dataclass
class TuneConfig:
    """How learning rates and other settings are searched."""

    trials: int = key(16, help="runs for each method", low=1, high=10_000, identity=False, common=True)
    holdout: float = key(
        0.1,
        help="share of the training rows that trials are scored on and not trained on",
        above=0,
        high=0.5,
        identity=False,
        common=True,
    )
    sampler: str = key(
        "sobol",
        help="points that fill the space evenly, the same for all methods; tpe: proposals from the values so far",
        choices=SAMPLERS,
        identity=False,
        common=True,
    )
    seed: int = key(0, help="what the points are drawn by", low=0, high=LARGEST_SEED, identity=False)
    space: str | None = key(
        None,
        help="a YAML file with the searched keys, in place of those of each method",
        path=True,
        identity=False,
        common=True,
    )
    widen: int = key(
        1,
        help="how often ranges are made wider, for all methods, while a best value lies on their edge",
        low=0,
        high=10,
        identity=False,
    )
    budgets: list[str] = key(
        [],
        help="how large a rank: tune at each of these budgets, and find the smallest that is not shown to be worse",
        identity=False,
        common=True,
    )
    margin: float | None = key(
        None,
        help="of tune.budgets, by how much a smaller budget may be worse; null: 0.01, and 1 of a metric in percent",
        low=0,
        identity=False,
        common=True,
    )
    seeds: list[int] = key(
        [1, 2, 3],
        help="of tune.budgets, the seeds that are compared: not the search's own, whose best value is too high",
        identity=False,
        common=True,
    )
