"""Check every declared kind of model on a tiny one, and write the table of kinds by checks.

    python -m scripts.kind_table [--check]

It runs the functions of `tests/helpers/kind_checks.py`, which the tests run too, and takes a minute or two. Figures of
rounding differ between machines. `--check` writes nothing: it says which checks failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import peft
import torch
import transformers

from gelora_cli.core.files import write_atomic

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explanation" / "model-kinds-checked.md"
FAILED = "**failed**"

INTRODUCTION = """\
# Kinds of models, checked

Every declared kind (the [reference](../reference/model-kinds.md) says what is adapted in each) is checked on a tiny
model of random weights, with a tokenizer that places special tokens as the published models do. No published weights
were loaded for this page. `scripts/kind_table.py` writes it, and the tests run the same checks
(of kinds that are like another one only in `make test-slow`).

| check | what must hold |
|---|---|
| map | each linear layer is where the declaration says, in its shape: blocks x layers in each |
| profile | a finite intrinsic dimension for the embeddings and after every block: how many |
| signals | every other signal (gradients, activations, weights) is finite |
| step 0 | with the adapter and before the first step, the scores are those of the base, bit by bit |
| a step | gradients reach the adapter of every linear layer (how many) and the head; nothing else moves |
| plain PEFT | transformers and PEFT alone load the saved adapter by its model card's arguments: largest difference |
| merge | the merged model scores as the adapted one: largest difference |
| operations | forward pass and training step cost what torch's own counter says: largest relative difference |
| question answering | whether transformers has such a head for the kind; if so, the model loads with it and is mapped |
| text generation | with a decoder's own head, an adapter starts equal, trains alone, comes back: largest difference |
| run | `gelora run` on pairs of texts ends, and its saved adapter gives the scores back: largest difference |
| predict | `gelora predict` labels pairs of texts, with a probability for each label |
| export | plain transformers load the exported model, and it scores as `gelora predict`: largest difference |

"""


def main() -> int:
    """Run the checks, and write the page unless one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a check failed")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))  # where the tests are
    from tests.helpers.tiny import ALL_KINDS

    table = {}
    for kind in ALL_KINDS:
        table[kind] = check_kind(kind)
        print(kind, *table[kind].values(), sep=" | ", flush=True)
    failed = [f"{kind}: {name}" for kind, row in table.items() for name, figure in row.items() if figure == FAILED]
    if failed:
        print(f"failed: {', '.join(failed)}")
        return 1
    if not options.check:
        write_atomic(PAGE, page_text(table).encode())
        print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


def check_kind(kind: str) -> dict[str, str]:
    """Return the figure of every check on a tiny model of this kind; `FAILED` of one that did not hold."""
    from tests.helpers.kind_checks import CHECKS, KindCase
    from tests.helpers.rows import write_task
    from tests.helpers.tiny import make_tiny

    row = {}
    with tempfile.TemporaryDirectory() as work, redirect_stderr(StringIO()):
        place = Path(work)
        (place / "work").mkdir()
        for task in ("cola", "mrpc"):
            write_task(place / "glue", task)
        case = KindCase(kind, make_tiny(kind, place / "model"), place / "glue", place / "work")
        for name, check in CHECKS.items():
            try:
                row[name] = check(case)
            except AssertionError:
                row[name] = FAILED
    return row


def page_text(table: Mapping[str, Mapping[str, str]]) -> str:
    """Return the page of a table: kind -> check -> figure."""
    names = list(next(iter(table.values())))
    lines = [f"| kind | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for kind, row in table.items():
        lines.append(f"| `{kind}` | {' | '.join(row.values())} |")
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, PEFT {peft.__version__}"
    return f"{INTRODUCTION}{chr(10).join(lines)}\n\nMeasured with {versions}, in float32 on the CPU.\n"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
