"""What a user reads of an error: one message on standard error, and an exit code."""

from __future__ import annotations

import errno
import os
import re
import sys

from gelora_cli.commands.terminal import wrapped
from gelora_cli.core.errors import GeloraError, RunError
from gelora_cli.core.messages import escape_controls

LONGEST_WORD = 200
"""Characters of a name or number in a message. A longer one is shown by its two ends."""


def user_error(error: Exception | SystemExit) -> GeloraError:
    """Return an error as a message for the user, which says who can fix it: the user, a plug-in, or we."""
    from gelora_cli.core.install import install_gelora, install_package
    from gelora_cli.core.messages import first_line
    from gelora_cli.core.plugins import describe_error, plugin_line

    if isinstance(error, GeloraError):
        return error
    if plugin_line(error):
        return RunError(
            f"a plug-in raised {describe_error(error)}. Correct it and give the command again; with debug=true it "
            "shows the traceback."
        )
    package = (getattr(error, "name", None) or "").split(".")[0]
    if isinstance(error, ModuleNotFoundError) and package not in ("", "gelora_cli"):
        return GeloraError(
            f"the package {package} is missing: {install_package(package)}, or all that gelora needs: "
            f"{install_gelora()}"
        )
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return GeloraError(f"{error.strerror}: raise the limit of open files (ulimit -n), or close what holds them")
    if isinstance(error, OSError) and error.filename is not None:
        path = error.filename  # bytes or a number where the file was opened by that
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else str(path)
        return GeloraError(f"{name}: {error.strerror}; give another path, or change that one")
    return RunError(
        f"unexpected {type(error).__name__}: {first_line(error)}. The same command with debug=true shows where it "
        "comes from; please report it as a fault of gelora."
    )


def print_error(error: GeloraError) -> int:
    """Print an error's message and return its exit code."""
    where = f" (run directory: {error.directory})" if error.directory and error.directory not in str(error) else ""
    first, *rest = f"gelora: {error}".split("\n")  # later lines are lists and warnings
    lines = escape_controls(shorten("\n".join([f"{first}{where}", *rest]))).split("\n")
    print("\n".join(wrapped(line, stream=sys.stderr) for line in lines), file=sys.stderr)
    return error.exit_code


def shorten(message: str) -> str:
    """Return a message in which names and numbers that fill several lines are shown by their two ends."""

    def ends(word: re.Match[str]) -> str:
        return f"{word[0][:60]}...{word[0][-40:]}"

    return re.sub(rf"\S{{{LONGEST_WORD},}}", ends, message)
