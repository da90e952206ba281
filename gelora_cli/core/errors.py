"""Errors with a message for the user; the command turns each into its exit code."""

from __future__ import annotations


class GeloraError(Exception):
    """A failure with a message for the user: what was given, what is accepted, and the fix.

    `directory` is the run directory of the run that it ended, if there is one.
    """

    exit_code = 2
    directory: str | None = None


class RunError(GeloraError):
    """A failure of the work itself, on input that was accepted."""

    exit_code = 1


class UnusableError(GeloraError):
    """A file that can't be used although it may be undamaged: of another version or type, or not readable."""


class OtherVersionError(UnusableError):
    """An artifact of another schema version, which this version of gelora does not read."""


class StoppedError(GeloraError):
    """The work was stopped by a signal, and what it had is saved."""

    exit_code = 130
