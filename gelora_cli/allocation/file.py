"""Ranks or weights of a user's own, from a file (`method.path`). No torch."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol, cast

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.base import Allocation, Allocator
from gelora_cli.allocation.notes import weights_note
from gelora_cli.allocation.problem import AllocationProblem, Granularity, Weights, exact_number
from gelora_cli.allocation.rank_file import FileEntry, RankFile, read_rank_file
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import join_texts
from gelora_cli.core.registries import ALLOCATORS

NAMED = 3
"""How many names a message lists."""


class FileKeys(Protocol):
    """The keys of a method whose ranks come from a file."""

    path: str | None


class GivenRanks(Weights):
    """Ranks that are used as they stand; `values` are the ranks."""


@ALLOCATORS.register
class FromFile(Allocator[None]):
    """Weights of a file share out the budget; ranks of a file are used as they are, within the budget.

    Per block or per linear, as the file has it, unless `ranks.granularity` says otherwise. A linear then has the value
    of its block, a block the mean weight of its linears, or the one rank that all of them have.
    """

    name = "file"
    signal = ""
    basis = "fixed"

    def granularity_for(self, settings: object) -> Granularity:
        """Return whether the file names blocks or linears."""
        return read_file(settings).per

    def weigh(self, signal: None, problem: AllocationProblem) -> Weights:
        """Return the weights or ranks of the file.

        Raises:
            GeloraError: it can't be read, names what the model has not, or leaves out what it has.
        """
        file = read_file(problem.settings)
        values = _of_blocks(file, problem) if file.per == "block" else _of_linears(file, problem)
        if file.kind == "ranks":
            return GivenRanks(values=values, start=tuple(int(value) for value in values))
        return Weights.proportional(values)

    def allocate(self, problem: AllocationProblem, weights: Weights, seed: int) -> Ranks:
        """Return the file's ranks, or units in proportion to its weights.

        Raises:
            GeloraError: its ranks are above a largest rank or the budget.
        """
        if not isinstance(weights, GivenRanks):
            return problem.apportion(weights)
        file, ranks = read_file(problem.settings), weights.start
        for target, rank in zip(problem.targets, ranks, strict=True):
            if rank > target.max_rank:
                raise file.error(
                    f"rank {rank} for {target.linears[0].name} of block {target.block}, whose smallest side is "
                    f"{target.max_rank}; give {target.max_rank} or less"
                )
        if (cost := problem.cost(ranks)) > problem.largest_cost:
            raise file.error(
                f"its ranks cost {cost:,} parameters, above the {problem.largest_cost:,} of budget={problem.budget}. "
                f"Give budget={cost} or more, or lower ranks."
            )
        return ranks

    def note(self, signal: None, allocation: Allocation) -> str:
        """Return where the ranks come from, and what is known of weights."""
        file = read_file(allocation.problem.settings)
        given = f"{file.kind.capitalize()} of each {file.per} from {file.path}."
        return f"{given} {weights_note(allocation)}"


def read_file(settings: object) -> RankFile:
    """Return the file that `method.path` names.

    Raises:
        GeloraError: none is named, or it can't be read.
    """
    path = cast("FileKeys", settings).path
    if path is None:
        raise GeloraError("method=file needs method.path=FILE, a JSON or CSV file of ranks or weights")
    return read_rank_file(path)


def _of_blocks(file: RankFile, problem: AllocationProblem) -> tuple[Fraction, ...]:
    """Return the value of each target's block."""
    by_block = {int(entry.key): entry for entry in file.entries}
    if len(by_block) < len(file.entries):
        raise file.error("two of its numbers are the same block, such as 1 and 01; give each once")
    numbers = range(1, problem.blocks + 1)
    _check_keys(file, {str(number) for number in by_block}, [str(number) for number in numbers], "block")
    return problem.spread([_exact(by_block[number]) for number in numbers])


def _of_linears(file: RankFile, problem: AllocationProblem) -> tuple[Fraction, ...]:
    """Return the value of each target: that of its linear, or of all its linears together."""
    by_name = {entry.key: entry for entry in file.entries}
    names = [linear.name for target in problem.targets for linear in target.linears]
    _check_keys(file, set(by_name), names, "linear that method.modules adapts")
    values = []
    for target in problem.targets:
        entries = [by_name[linear.name] for linear in target.linears]
        if file.kind == "ranks" and len({entry.value for entry in entries}) > 1:
            raise file.error(
                f"the ranks of block {target.block} differ, and ranks.granularity=block gives them one; leave "
                "ranks.granularity out"
            )
        values.append(sum(map(_exact, entries), Fraction(0)) / len(entries))
    return tuple(values)


def _check_keys(file: RankFile, given: set[str], known: Sequence[str], what: str) -> None:
    """Check that a file names each block or linear, and nothing else.

    Raises:
        GeloraError: it does not; the message names some of both.
    """
    unknown = [entry for entry in file.entries if entry.key.lstrip("0") not in known and entry.key not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0].key, known, n=1) if what != "block" else []
        accepted = f"did you mean {near[0]}?" if near else f"accepted: {join_texts(known, most=NAMED)}"
        raise file.error(f"{unknown[0].where} names no {what} of this model; {accepted}")
    missing = [name for name in known if name not in given]
    if missing:
        raise file.error(f"it lacks {what} {join_texts(missing, most=NAMED)}; give each a value, 0 among them")


def _exact(entry: FileEntry) -> Fraction:
    return exact_number(entry.value, entry.where)
