"""The plan of a run: from its method, budget and measured signals, or a saved plan."""

from __future__ import annotations

from dataclasses import replace

from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.ranks import Signals
from gelora_cli.allocation.saved_plan import read_plan
from gelora_cli.config.presets import plan_settings
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER
from gelora_cli.pipeline.session import Session


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
    config, model_map = session.config, session.loaded.map
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
