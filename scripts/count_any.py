"""Count the parameters annotated `Any`, for each package: `python scripts/count_any.py [--list]`.

A bare `Any` says that a function takes whatever comes. It is right where values come from JSON, YAML or an untyped
library, and wrong where a type of ours exists. Nested ones, as in `Mapping[str, Any]`, aren't counted.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "gelora_cli"


def main() -> None:
    """Print one line for each package, or with `--list` one for each parameter."""
    found = [(path, *parameter) for path in sorted(PACKAGE.rglob("*.py")) for parameter in any_parameters(path)]
    if "--list" in sys.argv[1:]:
        for path, line, function, parameter in found:
            print(f"{path.relative_to(PACKAGE.parent)}:{line} {function}({parameter})")
        return
    counts = Counter(package_of(path) for path, *_ in found)
    for package, count in sorted(counts.items()):
        print(f"{package:12} {count:4}")
    print(f"{'total':12} {sum(counts.values()):4}")


def any_parameters(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, function and name of each parameter of a file that is annotated `Any`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for argument in all_arguments(node.args):
                if is_any(argument.annotation):
                    yield argument.lineno, node.name, argument.arg


def all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    """Return every argument of a function, `*args` and `**kwargs` included."""
    variadic = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *variadic]


def is_any(annotation: ast.expr | None) -> bool:
    """Return whether an annotation is `Any` or a union with it, such as `Any | None`."""
    if isinstance(annotation, ast.BinOp):
        return is_any(annotation.left) or is_any(annotation.right)
    return isinstance(annotation, ast.Name) and annotation.id == "Any"


def package_of(path: Path) -> str:
    """Return the package of a file, or the name of a file outside of any."""
    return path.relative_to(PACKAGE).parts[0]


if __name__ == "__main__":
    main()
