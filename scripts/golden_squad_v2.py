"""Golden numbers for `squad_v2`: the official script of SQuAD v2.0 beside our metric, on adversarial predictions.

The script (evaluate-v2.0.py of the SQuAD explorer, sha256 printed) is not part of this project; give the path of your
copy. It is run as a program, in a process of its own, on files that this script writes. The tolerance is 1e-9: both
sides do the same sums in another order. A threshold is compared by the value that it reaches: the official script sums
floats, so of two thresholds that tie it may give the higher one; ours is then the lower one. No two no-answer scores
are alike, and a threshold of 0, which the official script gives where nothing answered is best, is left out:
`gelora_cli.metrics.evaluate_metrics.best_threshold` says why.

    python scripts/golden_squad_v2.py --official evaluate-v2.0.py --rounds 200
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from gelora_cli.metrics.base import load_metric
from gelora_cli.metrics.definitions import question_points

WORDS = ["the", "cat", "Cat,", "a", "an", "sat", "on", "mat.", "42", "caf\u00e9", "\u4e1c\u4eac", "'s", "U.S.", ""]
NAMES = {
    "exact": "exact_match",
    "f1": "f1",
    "HasAns_exact": "HasAns_exact_match",
    "HasAns_f1": "HasAns_f1",
    "NoAns_exact": "NoAns_exact_match",
    "NoAns_f1": "NoAns_f1",
    "best_exact": "best_exact_match_chosen_on_eval",
    "best_f1": "best_f1_chosen_on_eval",
}
THRESHOLDS = {"best_exact_thresh": "exact_match", "best_f1_thresh": "f1"}


def main() -> None:
    """Compare, print the largest difference and, for the first round, all numbers; exit 1 on a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, required=True, help="path of evaluate-v2.0.py")
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    print(f"{arguments.official}: sha256 {hashlib.sha256(arguments.official.read_bytes()).hexdigest()}")
    largest, ties = 0.0, 0
    for seed in range(arguments.rounds):
        predictions, references = questions(np.random.default_rng(seed))
        official = run_official(arguments.official, predictions, references)
        ours = load_metric("squad_v2").compute(predictions=predictions, references=references)
        for theirs, name in NAMES.items():
            if theirs in official:
                largest = max(largest, abs(official[theirs] - ours[name]))
                if seed == 0:
                    print(f"{name:34} official {official[theirs]:12.8f}  gelora {ours[name]:12.8f}")
        for theirs, name in THRESHOLDS.items():
            threshold, mine = official[theirs], ours[f"best_{name}_chosen_on_eval_threshold"]
            if threshold in (0, mine):
                continue
            reached = value_at(threshold, name, predictions, references)
            print(
                f"seed {seed}: best {name} at {threshold:.3f}, gelora's at {mine:.3f}; the former gives {reached:.8f}"
            )
            largest = max(largest, abs(reached - ours[f"best_{name}_chosen_on_eval"]), mine - threshold)
            ties += 1
    print(f"{arguments.rounds} rounds, {ties} thresholds that tie, largest difference {largest:.3g}")
    sys.exit(largest > 1e-9)


def value_at(threshold: float, name: str, predictions: list[dict[str, Any]], references: list[dict[str, Any]]) -> float:
    """Return the mean score, 0 to 100, if questions with a no-answer score of at most `threshold` are answered.

    An unanswerable one that is answered keeps its point where its text is empty, as the official search has it.
    """
    texts, golds = [row["prediction_text"] for row in predictions], [row["answers"]["text"] for row in references]
    points = question_points("squad_v2", name, texts, golds)
    answered = np.array([row["no_answer_score"] <= threshold for row in predictions])
    silent = ~answered | np.array([not text for text in texts])
    answerable = np.array([bool(gold) for gold in golds])
    return 100 * float(np.where(answerable, points * answered, silent).mean())


def questions(generator: np.random.Generator) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Draw up to 40 questions; a gold answer is often the prediction, and two in five questions have none."""
    predictions: list[dict[str, Any]] = []
    references: list[dict[str, Any]] = []
    for number in range(int(generator.integers(1, 40))):
        text = said(generator)
        golds = [text if generator.random() < 0.3 else said(generator) for _ in range(generator.integers(1, 4))]
        golds = [] if generator.random() < 0.4 else golds
        score = float(np.round(generator.normal(), 1)) + number * 1e-3
        predictions.append({"id": f"q{number}", "prediction_text": text, "no_answer_score": score})
        references.append({"id": f"q{number}", "answers": {"text": golds, "answer_start": [0] * len(golds)}})
    return predictions, references


def said(generator: np.random.Generator) -> str:
    return "  ".join(generator.choice(WORDS, generator.integers(0, 6)).tolist())


def run_official(script: Path, predictions: list[dict[str, Any]], references: list[dict[str, Any]]) -> dict[str, float]:
    """Return the script's own output at threshold 0."""
    asked = []
    for row in references:
        golds = [{"text": text, "answer_start": 0} for text in row["answers"]["text"]]
        asked.append({"id": row["id"], "question": "?", "answers": golds})
    with tempfile.TemporaryDirectory() as folder:
        data, answers, odds = (Path(folder) / name for name in ("data.json", "predictions.json", "na_prob.json"))
        data.write_text(json.dumps({"data": [{"paragraphs": [{"context": "", "qas": asked}]}]}))
        answers.write_text(json.dumps({row["id"]: row["prediction_text"] for row in predictions}))
        odds.write_text(json.dumps({row["id"]: row["no_answer_score"] for row in predictions}))
        files = [str(path) for path in (script, data, answers)]
        command = [sys.executable, *files, "--na-prob-file", str(odds), "--na-prob-thresh", "0"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    values: dict[str, float] = json.loads(done.stdout)
    return values


if __name__ == "__main__":
    main()
