"""Errors with a message for the user; the command turns each into its exit code."""

from __future__ import annotations


class GeloraError(Exception):
    """A failure with a message for the user: what was given, what is accepted, the fix; and the run that it ended."""

    exit_code = 2
    directory: str | None = None


class RunError(GeloraError):
    """A failure of the work itself, on input that was accepted."""

    exit_code = 1


class UnusableError(GeloraError):
    """A file that may be whole, but not for us: of another version or type, or not readable."""


class OtherVersionError(UnusableError):
    """An artifact of another schema version: whole, but not for this version of ours."""


class StoppedError(GeloraError):
    """The work was asked to stop, by a signal, and kept what it had."""

    exit_code = 130
