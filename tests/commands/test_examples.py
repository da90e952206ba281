"""Every command that the documentation shows can be pasted into bash and zsh, as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.config.shipped import config_dir
from gelora_cli.core.registries import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
SPECIAL = "[]{}()*?<>!^;&$`"
"""What a shell takes for itself outside quotes. zsh stops at a pattern that no file matches, such as `[review]`."""


def unquoted(line: str) -> str:
    """Return what stands outside quotes; zsh knows no comments at its prompt, so they count, too."""
    return re.sub(r"'[^']*'|\"[^\"$`]*\"", "", line)


def survives(line: str) -> bool:
    """Return whether a shell hands every word over as it is written."""
    rest = unquoted(line)
    return not (set(SPECIAL) | {"'", '"'}) & set(rest) and not re.search(r"(^|\s)=", rest)


def shown_commands() -> Iterator[tuple[str, str]]:
    """Yield where a command line is shown, and the line, without the comment sign of YAML."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in path.read_text(encoding="utf-8").split("```")[1::2]:
            language, _, lines = block.partition("\n")
            if language in ("", "bash", "sh", "console"):
                yield from ((path.name, line) for line in lines.splitlines() if line)
        # A row of a report may be called `gelora (method.variant=dora)`, which is no command.
        for line in re.findall(r"`(gelora \w[^`\n]*)`", path.read_text(encoding="utf-8")):
            yield path.name, line
    for path in sorted(config_dir().rglob("*.yaml")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if found := re.match(r"#.*?(gelora \w+ .*=.*)$", line):
                yield path.name, found[1]
    for name in COMMANDS.names():
        for line in COMMANDS.get(name).examples.splitlines():
            yield f"gelora {name} --help", line.strip()


SHOWN = sorted(set(shown_commands()))


def test_there_are_many() -> None:
    assert len(SHOWN) > 50
    assert {"README.md", "text.yaml", "gelora run --help"} <= {place for place, _ in SHOWN}


@pytest.mark.parametrize(("place", "line"), SHOWN)
def test_it_survives_the_shell(place: str, line: str) -> None:
    assert survives(line), f"{place}: {line}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gelora run task.columns=[review]", False),
        ("gelora run 'task.columns=[review]'", True),
        ("gelora run seed=0   # it's done", False),
        ("gelora run seed=0   # a sweep; all of it", False),
        ("gelora run seed=0   # all of it", True),
        ("pip install -e .[demo]", False),
        ("pip install -e '.[demo]'", True),
        ("gelora predict RUN file=*.csv", False),
    ],
)
def test_the_check_itself(line: str, expected: bool) -> None:
    assert survives(line) is expected


def test_a_comment_that_zsh_hands_over_is_no_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["--version", "#", "a", "comment"]) == 0
    assert command_line(["run", "--cfg", "job", "seed=7", "#", "some", "words"]) == 0
    assert "seed: 7" in capsys.readouterr().out
