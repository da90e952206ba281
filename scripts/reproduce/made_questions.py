"""Made-up articles with questions, in SQuAD's layout, for a machine without data.

python -m scripts.reproduce.made_questions DIR
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("Ada", "Bruno", "Clara", "David", "Elena", "Felix", "Greta", "Hugo", "Irene", "Jonas", "Karin", "Lukas")
PLACES = (
    "Athens",
    "Berlin",
    "Cairo",
    "Dublin",
    "Geneva",
    "Lisbon",
    "Madrid",
    "Oslo",
    "Prague",
    "Rome",
    "Turin",
    "Vienna",
)
TRADES = ("baker", "carpenter", "doctor", "farmer", "lawyer", "painter", "sailor", "teacher")
ARTICLES = {"train": 24, "validation": 6}
PARAGRAPHS, FACTS, QUESTIONS = 5, 4, 2


def main() -> None:
    write_questions(Path(sys.argv[1]))


def write_questions(directory: Path) -> Path:
    """Write `<directory>/plain_text/<split>-00000-of-00001.parquet`, always with the same rows."""
    from datasets import Dataset, Features, Sequence, Value, disable_progress_bars

    disable_progress_bars()
    texts = {name: Value("string") for name in ("id", "title", "context", "question")}
    answers = Sequence({"text": Value("string"), "answer_start": Value("int32")})
    (directory / "plain_text").mkdir(parents=True, exist_ok=True)
    for split, articles in ARTICLES.items():
        rows = list(made_rows(split, articles))
        table = Dataset.from_list(rows, features=Features(texts | {"answers": answers}))
        table.to_parquet(directory / "plain_text" / f"{split}-00000-of-00001.parquet")
    return directory


def made_counts() -> list[int]:
    """Return how many questions `train` and `validation` have."""
    return [articles * PARAGRAPHS * QUESTIONS for articles in ARTICLES.values()]


def made_rows(split: str, articles: int) -> Iterator[dict[str, Any]]:
    """Make paragraphs of facts about people, and questions after the trade or the place of some of them."""
    generator = random.Random(split)
    for number in range(articles * PARAGRAPHS):
        title = f"{split} article {number // PARAGRAPHS}"
        names, places = generator.sample(NAMES, FACTS), generator.sample(PLACES, FACTS)
        facts = list(zip(names, generator.choices(TRADES, k=FACTS), places, strict=True))
        context = " ".join(f"{name} has been a {trade} in {place} for many years." for name, trade, place in facts)
        for index, (name, trade, place) in enumerate(generator.sample(facts, QUESTIONS)):
            question, text = (f"Where does {name} work?", place) if index else (f"What is {name}?", trade)
            start = context.index(text, context.index(name))
            answer = {"text": [text], "answer_start": [start]}
            common = {"id": f"{split}-{number}-{index}", "title": title, "context": context}
            yield common | {"question": question, "answers": answer}


if __name__ == "__main__":
    main()
