"""Standard streams that are closed, full, or pipes whose reader has gone."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gelora_cli.commands.streams import TolerantStream
from gelora_cli.core.errors import GeloraError


def test_a_reader_that_has_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        stream = TolerantStream(pipe, is_output=True)
        for _ in range(3):
            assert stream.write("text\n") == 5
            stream.flush()


def test_full_output_is_one_message_and_full_error_output_none() -> None:
    for is_output in (True, False):
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            stream = TolerantStream(full, is_output=is_output)
            stream.write("text\n")
            if is_output:
                with pytest.raises(GeloraError, match=r"standard output .*No space left"):
                    stream.flush()
            stream.flush()  # from now on it goes nowhere


def test_what_a_stream_has_stays_reachable() -> None:
    inner = io.StringIO()
    stream = TolerantStream(inner, is_output=True)
    print("text", file=stream)
    assert inner.getvalue() == "text\n"
    assert stream.isatty() is False


COMMAND = f"{sys.executable} -m gelora_cli"
SHELL: list[tuple[str, int, str, str]] = [
    # command, exit code, what standard output holds, what standard error says
    (f"set -o pipefail; {COMMAND} --help | true", 0, "", ""),
    (f"set -o pipefail; {COMMAND} run --cfg job | true", 0, "", ""),
    (f"{COMMAND} --help > /dev/full", 2, "", "standard output can't be written: No space left on device"),
    (f"{COMMAND} run --cfg job > /dev/full", 2, "", "standard output can't be written"),
    (f"{COMMAND} --version 2>&-", 0, "gelora", ""),
    (f"{COMMAND} nonsense >&-", 2, "", "nonsense: unknown command"),
    (f"{COMMAND} nonsense 2>&-", 2, "", ""),
    (f"{COMMAND} nonsense 2> /dev/full", 2, "", ""),
    (f"PYTHONIOENCODING=ascii {COMMAND} ls /no/é", 2, "", "/no/\\xe9: no such directory"),
]


@pytest.mark.parametrize(
    ("command", "code", "output", "said"), SHELL, ids=[row[0].split("gelora_cli ")[1] for row in SHELL]
)
def test_commands_end_quietly_or_with_one_message(command: str, code: int, output: str, said: str) -> None:
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
    assert output in ended.stdout
    assert ended.stdout.strip() if output else not ended.stdout
    assert said in ended.stderr
    assert bool(ended.stderr) is bool(said)
    assert "Traceback" not in ended.stderr
