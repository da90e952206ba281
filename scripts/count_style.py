"""Count what makes code hard to read, for each package: `python scripts/count_style.py [--root DIR] [--list PACKAGE]`.

    nested      comprehensions inside a comprehension, per 1,000 lines of code
    chained     conditional expressions inside a conditional expression, per 1,000 lines of code
    once        share of the private functions of a module that are named once beside their definition
    not verb    share of the docstrings whose first line is not in the imperative mood (pydocstyle's D401)
    comments    share of the lines that hold a comment
    Any         parameters annotated with a bare `Any`; right for values from JSON, YAML or an untyped library
    long        files of more than 300 lines

`--list PACKAGE` prints each place instead, `--root` counts another checkout, to compare before and after.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DOCUMENTED = (*FUNCTIONS, ast.ClassDef, ast.Module)
LONG_FILE = 300


@dataclass
class Counts:
    """What was counted in one package."""

    lines: int = 0
    comments: int = 0
    docstrings: int = 0
    private_functions: int = 0
    places: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def row(self) -> list[str]:
        """Return the cells of the package's row, in the order of the columns."""
        return [
            str(self.lines),
            f"{1000 * len(self.places['nested']) / max(self.lines, 1):.1f}",
            f"{1000 * len(self.places['chained']) / max(self.lines, 1):.1f}",
            percent(len(self.places["once"]), self.private_functions),
            percent(len(self.places["not verb"]), self.docstrings),
            percent(self.comments, self.lines),
            str(len(self.places["Any"])),
            str(len(self.places["long"])),
        ]


def main() -> None:
    """Print a row for each package and one for the whole, or the places in one package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--list", metavar="PACKAGE", help="print each place in this package (all: everywhere)")
    arguments = parser.parse_args()
    packages = count_packages(arguments.root)
    if arguments.list:
        chosen = packages if arguments.list == "all" else {arguments.list: packages[arguments.list]}
        for counts in chosen.values():
            for kind, places in counts.places.items():
                print(*(f"{place} ({kind})" for place in places), sep="\n")
        return
    header = ["package", "lines", "nested", "chained", "once", "not verb", "comments", "Any", "long"]
    rows = [[package, *counts.row()] for package, counts in sorted(packages.items())]
    rows.append(["all", *total(packages.values()).row()])
    for row in [header, *rows]:
        print(f"{row[0]:14}" + "".join(f"{cell:>9}" for cell in row[1:]))
    readme = (arguments.root / "README.md").read_text(encoding="utf-8")
    print(f"README.md: {len(prose(readme).split())} words, code and link addresses aside")


def count_packages(root: Path) -> dict[str, Counts]:
    """Return what was counted, by package; a file outside of any package counts under its own name."""
    package_root = root / "gelora_cli"
    packages: dict[str, Counts] = defaultdict(Counts)
    for path in sorted(package_root.rglob("*.py")):
        count_file(path, path.relative_to(root), packages[package_of(path, package_root)])
    for path, line in not_imperative(package_root):
        packages[package_of(path, package_root)].places["not verb"].append(f"{path.relative_to(root)}:{line}")
    return packages


def count_file(path: Path, shown: Path, counts: Counts) -> None:
    """Add what one file holds."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    lines = len(text.splitlines())
    counts.lines += lines
    counts.comments += sum(
        token.type == tokenize.COMMENT for token in tokenize.generate_tokens(io.StringIO(text).readline)
    )
    if lines > LONG_FILE:
        counts.places["long"].append(f"{shown}: {lines} lines")
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node):
            counts.docstrings += 1
        for kind in kinds_of(node):
            counts.places[kind].append(f"{shown}:{getattr(node, 'lineno', 1)}")
    uses = Counter(re.findall(r"\b_[a-z]\w*", text))
    for node in tree.body:
        if isinstance(node, FUNCTIONS) and node.name.startswith("_"):
            counts.private_functions += 1
            if uses[node.name] <= 2:
                counts.places["once"].append(f"{shown}:{node.lineno} {node.name}")


def kinds_of(node: ast.AST) -> Iterator[str]:
    """Yield what a node counts as."""
    if isinstance(node, COMPREHENSIONS) and any(isinstance(part, COMPREHENSIONS) for part in inner(node)):
        yield "nested"
    if isinstance(node, ast.IfExp) and any(isinstance(part, ast.IfExp) for part in (node.body, node.orelse)):
        yield "chained"
    if isinstance(node, ast.arg) and is_any(node.annotation):
        yield "Any"


def inner(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every node below a node."""
    return (part for part in ast.walk(node) if part is not node)


def is_any(annotation: ast.expr | None) -> bool:
    """Return whether an annotation is `Any` or a union with it, such as `Any | None`."""
    if isinstance(annotation, ast.BinOp):
        return is_any(annotation.left) or is_any(annotation.right)
    return isinstance(annotation, ast.Name) and annotation.id == "Any"


def not_imperative(package_root: Path) -> Iterator[tuple[Path, int]]:
    """Yield file and line of each docstring that pydocstyle's D401, as ruff has it, finds not verb first."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "D401", "--output-format", "json"]
    output = subprocess.run([*command, str(package_root)], capture_output=True, text=True, check=False).stdout
    for finding in json.loads(output):
        yield Path(finding["filename"]), int(finding["location"]["row"])


def total(packages: Iterable[Counts]) -> Counts:
    """Return the sum over packages."""
    whole = Counts()
    for counts in packages:
        whole.lines += counts.lines
        whole.comments += counts.comments
        whole.docstrings += counts.docstrings
        whole.private_functions += counts.private_functions
        for kind, places in counts.places.items():
            whole.places[kind].extend(places)
    return whole


def package_of(path: Path, package_root: Path) -> str:
    """Return the package of a file, or the name of a file outside of any."""
    return path.relative_to(package_root).parts[0]


def percent(part: int, whole: int) -> str:
    """Return a share as a percentage with one decimal."""
    return f"{100 * part / max(whole, 1):.1f}%"


def prose(markdown: str) -> str:
    """Return the text of a Markdown page without code blocks and the addresses of its links."""
    without_code = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    return re.sub(r"\]\([^)]*\)", "]", without_code)


if __name__ == "__main__":
    main()
