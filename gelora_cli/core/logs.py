"""The log of a run: on standard error and in its file."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from gelora_cli.core.messages import escape_controls

LOGGER = logging.getLogger("gelora")


def setup_logging(file: Path | None = None, *, main: bool = True) -> None:
    """Log to standard error, and to `file`; processes other than the main one log only errors."""
    LOGGER.disabled = False  # Hydra disables every existing logger, which would silence a sweep from its second job on
    LOGGER.setLevel(logging.INFO if main else logging.ERROR)
    LOGGER.propagate = False
    for handler in LOGGER.handlers[:]:
        LOGGER.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None and main:
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(_VisibleFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
        LOGGER.addHandler(handler)
    logging.raiseExceptions = False  # a log that can't be written, as on a full disk, must not stop a run
    _quiet_libraries()


class _VisibleFormatter(logging.Formatter):
    """Escape control characters in log lines, since names and paths come from the user's files."""

    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(super().format(record))


def _quiet_libraries() -> None:
    """Keep the libraries' own notices out of the log; gelora checks and reports what matters among them."""
    import warnings

    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    for name in ("httpx", "httpx2", "filelock", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # the launcher reports why a worker ended
