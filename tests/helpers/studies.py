"""Hand-made studies, as `gelora tune` would record them."""

from __future__ import annotations

import math
import random

from gelora_cli.core.artifacts.study import MethodStudy, SearchedKey, Study, Trial

RATE = SearchedKey("train.learning_rate", 1e-4, 3.16e-2, log=True, widened=1, first_low=1e-4, first_high=1e-2)
SCALING = SearchedKey("method.scaling", 1.0, 64.0, log=True)
DROPOUT = SearchedKey("method.dropout", None, None, choices=("0.0", "0.1"))
THRESHOLD = SearchedKey("method.threshold_total", 0.1, 2.0)


def method_study(
    label: str, space: tuple[SearchedKey, ...] = (RATE, SCALING, DROPOUT), *, trials: int = 8, peak: float = 2e-3
) -> MethodStudy:
    """Make a search whose value is highest at the learning rate `peak`; its third trial collapsed, its fifth failed."""
    generator = random.Random(label)
    made = []
    for number in range(1, trials + 1):
        place = (number - 0.5) / trials
        rate = float(f"{1e-4 * 316 ** ((place * 5) % 1):.3g}")
        values: dict[str, float | int | str | bool] = {"train.learning_rate": rate}
        values |= {"method.scaling": float(f"{64**place:.3g}")} if SCALING in space else {}
        values |= {"method.dropout": 0.1 if number % 2 else 0.0} if DROPOUT in space else {}
        values |= {"method.threshold_total": round(0.1 + 1.9 * place, 3)} if THRESHOLD in space else {}
        value = round(0.88 - 0.05 * abs(math.log10(rate / peak)) + generator.uniform(-0.01, 0.01), 4)
        if number == 5:
            made.append(Trial(number, values, f"runs/{label}/{number}", "failed", message="out of memory"))
        elif number == 3:
            made.append(Trial(number, values, f"runs/{label}/{number}", "done", 0.56, collapsed=True, seconds=30.0))
        else:
            made.append(Trial(number, values, f"runs/{label}/{number}", "done", value, seconds=30.0))
    done = [(trial.value, trial.number) for trial in made if trial.value is not None]
    best = max(done)[1]
    method, *others = label.split(" ")
    return MethodStudy(
        label=label,
        method=method,
        overrides=(f"method={method}", *others),
        space=space,
        trials=tuple(made),
        best=best,
        at_edge=("train.learning_rate",) if peak > 2e-2 else (),
        spread=0.012,
    )


def study(*methods: MethodStudy, trials: int = 8, budget: str = "0.15M") -> Study:
    """Make a study of these methods on SST-2."""
    return Study(
        task="sst2",
        model="minilm",
        budget=budget,
        reported="accuracy",
        holdout=0.1,
        examples=6_735,
        sampler="sobol",
        seed=0,
        trials=trials,
        overrides=("task=sst2", "model=minilm", f"budget={budget}", "train.epochs=2", "data.glue=glue"),
        numerics=2,
        date="2026-11-26T03:00:00+00:00",
        methods=methods,
        command=f"gelora tune task=sst2 model=minilm budget={budget} train.epochs=2 data.glue=glue",
    )
