"""Write docs/what-we-found.md, its pictures and the README's table of it, from the archive of the comparison.

    python -m scripts.evidence.page [--runs PLACE...] [--check]

Equal runs give equal text. `--check` writes nothing, and says whether page and README are what the runs give.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.files import write_atomic
from gelora_cli.plots.base import Picture
from scripts.evidence.findings import find
from scripts.evidence.page_sections import page_text, readme_text
from scripts.evidence.pictures import file_name, page_pictures
from scripts.evidence.plan import ROOT, load_scale
from scripts.script_main import exit_code

PAGE = ROOT / "docs" / "what-we-found.md"
README = ROOT / "README.md"
IMAGES = ROOT / "docs" / "images"
START, END = "<!-- evidence -->\n", "<!-- /evidence -->\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write page, pictures and README, or compare them with the runs."""
    return exit_code("evidence", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", type=Path, nargs="+", help="archives or run directories in place of the plan's archive"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a text is another")
    options = parser.parse_args(arguments)
    scale = load_scale("cpu")
    if missing := [str(place) for place in options.runs or () if not place.exists()]:
        raise GeloraError(f"--runs {', '.join(missing)}: not there; an archive or a directory of runs is expected")
    before = README.read_text(encoding="utf-8")
    with_block(before, "")  # before any work
    findings = find(scale, options.runs or [scale.archive])
    pictures = page_pictures(findings)
    texts = {PAGE: page_text(findings, pictures)}
    if findings.has_tests:  # until then the README keeps what it has
        texts[README] = with_block(before, readme_text(findings, pictures))
    if options.check:
        others = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
        for path in others:
            print(f"{path.relative_to(ROOT)} is not what the runs give: python -m scripts.evidence.page")
        return 1 if others else 0
    write_page(pictures.values(), texts, IMAGES)
    print(f"written: {', '.join(str(path.relative_to(ROOT)) for path in texts)}, of {len(findings.evidence.runs)} runs")
    return 0


def write_page(pictures: Iterable[Picture], texts: Mapping[Path, str], images: Path) -> None:
    """Write the pictures, then the texts that show them."""
    images.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        write_atomic(images / file_name(picture), picture.png())
    for path, text in texts.items():
        write_atomic(path, text)


def with_block(text: str, block: str) -> str:
    """Return a text with another block between the marks.

    Raises:
        GeloraError: the marks are not there once each, in order.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end) or START in after:
        raise GeloraError(
            f"README.md: the lines {START.strip()} and {END.strip()} are expected once each, in this order"
        )
    return f"{before}{START}{block}{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
