"""Read a model's configuration by transformers, and keep transformers quiet."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.messages import first_line
from gelora_cli.models.files import read_config_json
from gelora_cli.models.locate import ResolvedModel

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

MOST_OF_REASON = 300
"""Characters of what transformers says of a value."""


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide the loading report and the progress bars of transformers; its settings are restored afterwards."""
    from transformers.utils import logging as untyped_logging

    logging: Any = untyped_logging
    verbosity = logging.get_verbosity()
    shows_bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shows_bars:
            logging.enable_progress_bar()


def read_config(resolved: ResolvedModel) -> PreTrainedConfig:
    """Return a model's configuration as transformers reads it, without remote code.

    Raises:
        GeloraError: config.json can't be read, or is of a model type that transformers doesn't know.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(resolved.directory, trust_remote_code=False, local_files_only=True)
    except StoppedError:  # a signal, not a fault of the file
        raise
    except Exception as error:  # transformers raises errors of many classes for values that it doesn't expect
        raise GeloraError(_explain_unread(resolved, error)) from error
    return cast("PreTrainedConfig", config)


def _explain_unread(resolved: ResolvedModel, error: Exception) -> str:
    """Return why transformers doesn't read a config.json: a value that it refuses, or a model type it doesn't know."""
    from transformers import CONFIG_MAPPING

    if read_config_json(resolved.directory, resolved.source).get("model_type") in CONFIG_MAPPING:
        reason = " ".join(str(error).split())[:MOST_OF_REASON]  # what was expected stands on the lines below the first
        return f"config.json of {resolved.source}: {reason}. Use the config.json that belongs to these weights."
    return (
        f"config.json of {resolved.source} can't be read: {first_line(error)}. A model type that the installed "
        "transformers knows by itself is accepted (no remote code). Install a newer transformers, or use another "
        "model."
    )


def empty_backbone(resolved: ResolvedModel) -> PreTrainedModel:
    """Return the model that config.json describes, without a head and without weights (on the device `meta`).

    Raises:
        GeloraError: transformers can't build it.
    """
    from transformers import AutoModel

    config = read_config(resolved)
    try:
        return build_empty(AutoModel, config)
    except StoppedError:
        raise
    except Exception as error:  # an error of any class for values that a model doesn't expect
        raise GeloraError(
            f"The {config.model_type} model of {resolved.source} can't be built from its config.json: "
            f"{first_line(error)}. Write config.json again with save_pretrained."
        ) from error


def build_empty(factory: Any, config: PreTrainedConfig) -> PreTrainedModel:
    """Return the model that an auto class of transformers builds, without weights (on the device `meta`)."""
    import torch

    with quiet_transformers(), torch.random.fork_rng(devices=[]), torch.device("meta"):
        # A copy, since the chosen attention is noted in the configuration.
        return cast("PreTrainedModel", factory.from_config(copy.deepcopy(config), trust_remote_code=False))
