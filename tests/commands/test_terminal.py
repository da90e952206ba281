"""Messages on a narrow terminal: wrapped at words, and whole in a pipe."""

from __future__ import annotations

import io
import sys

import pytest

from gelora_cli.commands import terminal
from gelora_cli.commands.failures import print_error
from gelora_cli.commands.help import overview
from gelora_cli.core.errors import GeloraError

COLUMNS = 60
MESSAGE = "data.text=/a/path/that/stays/whole.csv: no column revew; did you mean review? Name it by task.columns=[...]"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return what takes the place of both streams; not a fixture, since pytest sets the streams after fixtures."""
    stream = Terminal()
    monkeypatch.setattr(terminal, "terminal_width", lambda _: COLUMNS)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


def test_an_error_is_wrapped_at_words_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = narrow_terminal(monkeypatch)
    assert print_error(GeloraError(MESSAGE)) == 2
    lines = stream.getvalue().splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= COLUMNS
    assert " ".join(line.strip() for line in lines) == f"gelora: {MESSAGE}"


def test_an_error_is_one_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(GeloraError(MESSAGE))
    assert capsys.readouterr().err == f"gelora: {MESSAGE}\n"


def test_the_run_directory_stands_with_the_error_and_not_with_a_later_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = GeloraError("too small\nwarning: few texts")
    error.directory = "runs/a"
    print_error(error)
    assert capsys.readouterr().err == "gelora: too small (run directory: runs/a)\nwarning: few texts\n"


def test_the_overview_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow_terminal(monkeypatch)
    assert max(map(len, overview().splitlines())) <= COLUMNS
