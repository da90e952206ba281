"""The files of a submission to the GLUE benchmark: names, label words and row counts, and the lines of a file.

A submission is a zip of eleven tab-separated files with the header `index`, `prediction` and a line per test row.
File names, label words and row counts are the benchmark's (https://gluebenchmark.com/submit).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gelora_cli.core.errors import RunError

HEADER = "index\tprediction\n"
LOWEST, HIGHEST = 0.0, 5.0
"""The range of a similarity in STS-B."""

ENTAILMENT = {name: name for name in ("entailment", "not_entailment")}
INFERENCE = {name: name for name in ("entailment", "neutral", "contradiction")}


@dataclass(frozen=True)
class Part:
    """One file of a submission.

    Attributes:
        file: its name.
        task: the task whose run answers it.
        rows: the official number of its rows.
        words: label, as the hub names it, to what the file says for it; empty for a score.
        split: the split that it answers.
        folder: the folder of its rows, where that is not the task's own.
    """

    file: str
    task: str
    rows: int
    words: Mapping[str, str]
    split: str = "test"
    folder: str | None = None

    @property
    def constant(self) -> str:
        """Return what every line says where there is no run: the word of the first label, or the lowest score."""
        return next(iter(self.words.values()), f"{LOWEST:.3f}")


PARTS = (
    Part("CoLA.tsv", "cola", 1_063, {"unacceptable": "0", "acceptable": "1"}),
    Part("SST-2.tsv", "sst2", 1_821, {"negative": "0", "positive": "1"}),
    Part("MRPC.tsv", "mrpc", 1_725, {"not_equivalent": "0", "equivalent": "1"}),
    Part("STS-B.tsv", "stsb", 1_379, {}),
    Part("QQP.tsv", "qqp", 390_965, {"not_duplicate": "0", "duplicate": "1"}),
    Part("MNLI-m.tsv", "mnli", 9_796, INFERENCE, "test_matched"),
    Part("MNLI-mm.tsv", "mnli", 9_847, INFERENCE, "test_mismatched"),
    Part("QNLI.tsv", "qnli", 5_463, ENTAILMENT),
    Part("RTE.tsv", "rte", 3_000, ENTAILMENT),
    Part("WNLI.tsv", "wnli", 146, {"not_entailment": "0", "entailment": "1"}),
    Part("AX.tsv", "mnli", 1_104, INFERENCE, folder="ax"),
)
TASKS = tuple(dict.fromkeys(part.task for part in PARTS))


@dataclass(frozen=True)
class Answers:
    """The words of the lines of a file, and how many of them were scores outside 0 to 5."""

    words: list[str]
    clipped: int = 0


def answer_lines(part: Part, rows: Sequence[Mapping[str, Any]]) -> Answers:
    """Return the words of the lines of a file, in the order of the ids.

    A score is clipped to 0 to 5 and rounded to three digits.

    Args:
        part: the file.
        rows: predictions, each with `id` and `prediction`.

    Raises:
        RunError: a score is not finite.
    """
    # By number: as texts, "10" would stand before "2".
    predictions = [row["prediction"] for row in sorted(rows, key=lambda row: int(row["id"]))]
    if part.words:
        return Answers([part.words[name] for name in predictions])
    if not_finite := [value for value in predictions if not math.isfinite(value)]:
        count, first = len(not_finite), not_finite[0]
        raise RunError(f"{part.file}: {count} predictions are not finite, the first is {first}; take another run")
    clipped = sum(not LOWEST <= value <= HIGHEST for value in predictions)
    return Answers([f"{min(max(value, LOWEST), HIGHEST):.3f}" for value in predictions], clipped)
