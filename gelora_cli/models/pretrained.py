"""What transformers reads of a model's directory, and keeping it quiet meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import first_line
from gelora_cli.models.locate import ResolvedModel

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from showing its loading report and progress bars; its verbosity is restored afterwards."""
    from transformers.utils import logging as untyped_logging

    logging: Any = untyped_logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def read_config(resolved: ResolvedModel) -> PreTrainedConfig:
    """Return a model's configuration as transformers reads it, without remote code.

    Raises:
        GeloraError: config.json can't be read, or is of a model type that transformers doesn't know.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(resolved.directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever transformers makes of values that it didn't expect
        raise GeloraError(
            f"config.json of {resolved.source} can't be read: {first_line(error)}. A model type that the installed "
            "transformers knows by itself is accepted (no remote code); try a newer transformers or another model."
        ) from error
    return cast("PreTrainedConfig", config)
