"""The plan of a run: from its method, budget and measured signals, or a saved plan."""

from __future__ import annotations

from dataclasses import replace

from gelora_cli.allocation.base import IDIM
from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.ranks import Signals
from gelora_cli.allocation.saved_plan import read_plan
from gelora_cli.config.presets import plan_settings
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.profile import IdProfile, LayerIdim
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.pipeline.inputs import ResolvedInputs, needed_signals
from gelora_cli.pipeline.session import Session
from gelora_cli.signals.idim import profile_settings


def make_plan(session: Session, signals: Signals, *, assume_even: bool = False, judged: bool = True) -> RankPlan:
    """Return the plan of the run's method, or the saved plan that `ranks.path` names.

    Args:
        session: the run's model and configuration.
        signals: what was measured for the method, by name. Runs of several tasks share it: it was measured with this
            model, but perhaps under another task's head, so the plan takes the session's map.
        assume_even: take a signal that is not measured yet to prefer no block.
        judged: obey `ranks.when_unstable`; a stand-in for a measurement can't be judged.

    Raises:
        GeloraError: the method can't meet the budget, `ranks.when_unstable=error` refuses its plan, or the saved plan
            is missing or for another model.
    """
    return plan_run(session.config, session.loaded.map, signals, assume_even=assume_even, judged=judged)


def even_plan(inputs: ResolvedInputs, model_map: ModelMap) -> RankPlan:
    """Return the plan of a run if no signal preferred a block, for what hardly depends on which block has which rank.

    Raises:
        GeloraError: as `make_plan`.
    """
    needed = needed_signals(inputs.config)
    signals = {IDIM: flat_profile(inputs, model_map)} if IDIM in needed else {}
    return plan_run(inputs.config, model_map, signals, assume_even=True, judged=not needed)


def plan_run(
    config: RunConfig, model_map: ModelMap, signals: Signals, *, assume_even: bool = False, judged: bool = True
) -> RankPlan:
    """Return the plan of a configuration for a model with this map (see `make_plan`)."""
    if config.ranks.path is not None:
        LOGGER.info("ranks, budget, modules and scaling are those of the plan in %s", config.ranks.path)
        return load_saved_plan(config.ranks.path, model_map)
    settings = plan_settings(config)
    if not judged:
        settings["when_unstable"] = "warn"
    return plan_method(model_map, signals, parse_budget(config.budget), assume_even=assume_even, **settings)


def load_saved_plan(path: str, model_map: ModelMap) -> RankPlan:
    """Return the plan in a `ranks.json` or a run directory, checked against the model's modules.

    Raises:
        GeloraError: there is no such plan, or it is for another model.
    """
    plan = read_plan(path)
    names = {linear.name for block in model_map.blocks for linear in block.linears}
    unknown = sorted(set(plan.rank_pattern) - names)
    if unknown:
        raise GeloraError(
            f"ranks.path={path} is a plan for another model: this model has no module {unknown[0]}. Plan again for "
            "this model: leave ranks.path out, or make a plan with gelora ranks"
        )
    # The plan may come from a run of another task, whose head has another number of labels.
    return replace(plan, head_params=model_map.head_params)


def flat_profile(inputs: ResolvedInputs, model_map: ModelMap) -> IdProfile:
    """Return a stand-in for a profile that is not measured: no growth anywhere, so that ranks are even."""
    config = inputs.config
    flat_layers = []
    for layer in range(len(model_map.layers) + 1):  # L + 1 hidden states: the input of block 1 is layer 0
        flat_layers.append(
            LayerIdim(
                layer=layer,
                idim=1.0,
                low=1.0,
                high=1.0,
                half=None,
                quarter=None,
                points=0,
                copies=0,
                used=0,
                constant=False,
            )
        )
    return IdProfile(
        model=inputs.model_name,
        model_fingerprint="",
        task=config.task.name,
        data_fingerprint="",
        settings=profile_settings(config.task, config.profile, config.model.dtype),
        examples_seen=0,
        examples_drawn=0,
        examples_copies=0,
        examples_used=0,
        layers=tuple(flat_layers),
        model_map=model_map,
        seconds=0.0,
    )
