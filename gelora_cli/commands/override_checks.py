"""Overrides checked before Hydra composes them, so that every mistake of a command line is named at once."""

from __future__ import annotations

import sys

from gelora_cli.commands.hydra_app import hydra_name, register_schemas
from gelora_cli.config.arguments import Arguments
from gelora_cli.config.checks import list_problems, value_problems
from gelora_cli.config.composing import composed_config
from gelora_cli.config.literal_text import protect_text
from gelora_cli.config.overrides import load_named_plugins, override_problems, replaced_values
from gelora_cli.config.schema import command_keys, takes_run_keys
from gelora_cli.config.shipped import config_dir
from gelora_cli.config.tuned_folder import tuned_overrides
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import escape_controls


def check_overrides(schema: str, parsed: Arguments, overrides: list[str]) -> list[str]:
    """Return the overrides in a form that Hydra parses.

    Raises:
        GeloraError: some are wrong; together with what is wrong with the values of the rest.
    """
    # Plug-ins first: they may register the method, and hold the YAML files, that other overrides name.
    search_path = load_named_plugins(overrides) if hasattr(command_keys(schema), "plugins") else []
    problems, good = override_problems(
        schema, overrides, parsed.config_dir, multirun=parsed.multirun, shows_config=parsed.shows_config
    )
    if problems:
        if parsed.multirun:
            of_rest = _problems_of_jobs(schema, parsed.flags, [*good, *search_path])
        else:
            of_rest = _problems_of_rest(schema, [*good, *search_path])
        raise GeloraError(list_problems(problems + of_rest))
    for text in replaced_values(overrides):
        print(f"warning: {escape_controls(text, one_line=True)}", file=sys.stderr)
    # A search sets what it searches, and what it does not search is what a run without tuned presets has.
    takes_tuned = takes_run_keys(schema) and schema != "tune"
    tuned = tuned_overrides(parsed.config_dir, overrides) if takes_tuned else []
    return [*good, *search_path, *tuned]


def _problems_of_rest(schema: str, overrides: list[str]) -> list[str]:
    """Return what is wrong with the values of overrides that can be composed.

    So a user sees a misspelt key and a value out of bounds in one message.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    register_schemas(schema)
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            composed = compose(hydra_name(schema), [protect_text(text) for text in overrides])
            return value_problems(composed_config(composed))
    except (HydraException, GeloraError):  # what is wrong with the keys is then all that can be said
        return []


def _problems_of_jobs(schema: str, flags: list[str], overrides: list[str]) -> list[str]:
    """Return what is wrong with the values of a sweep's jobs, each problem once, where they can be composed."""
    from hydra.errors import HydraException

    from gelora_cli.commands.sweep_composition import compose_sweep  # what it imports takes time, and this is rare

    try:
        jobs = compose_sweep(schema, flags, overrides)
    except (HydraException, GeloraError):
        return []
    return list(dict.fromkeys(problem for job in jobs for problem in value_problems(job.config)))
