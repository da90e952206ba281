"""Controls: assignments of the same units of rank to blocks that don't follow the profile. No torch, no numpy.

Each takes GeLoRA's ranks and `fits`, which says whether an assignment keeps within the budget and the blocks' largest
ranks, and gives an assignment with the same total that fits. What a seed draws is the same everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from gelora_cli.core.errors import GeloraError

Ranks = tuple[int, ...]
Fits = Callable[[Ranks], bool]
DRAWS = 10_000


def shuffled(ranks: Ranks, fits: Fits, seed: int) -> Ranks:
    """A permutation of the ranks that changes them, uniform over those; the ranks themselves where all are equal.

    Raises:
        GeloraError: none of the drawn permutations fits.
    """
    if len(set(ranks)) == 1:
        return ranks
    generator = random.Random(f"shuffled {seed}")
    return _first(lambda: tuple(generator.sample(ranks, len(ranks))), lambda found: found != ranks and fits(found))


def randomly(ranks: Ranks, fits: Fits, seed: int) -> Ranks:
    """Uniform over all assignments with the same total and every block at least 1.

    An assignment of T units to L blocks is a choice of L - 1 of the T - 1 places between units.

    Raises:
        GeloraError: none of the drawn assignments fits.
    """
    generator, total = random.Random(f"random {seed}"), sum(ranks)

    def draw() -> Ranks:
        cuts = sorted(generator.sample(range(1, total), len(ranks) - 1))
        return tuple(after - before for before, after in zip([0, *cuts], [*cuts, total], strict=True))

    return _first(draw, fits)


def reverse(ranks: Ranks, fits: Fits, seed: int) -> Ranks:
    """`r_(L + 1 - i)`; `seed` changes nothing.

    Raises:
        GeloraError: it does not fit.
    """
    return _first(lambda: ranks[::-1], fits)


def _first(draw: Callable[[], Ranks], accepted: Callable[[Ranks], bool]) -> Ranks:
    for _ in range(DRAWS):
        found = draw()
        if accepted(found):
            return found
    raise GeloraError(
        "no such assignment of the same total keeps within the budget and the largest ranks of the blocks, whose units "
        "cost differently here; take another budget or method"
    )


CONTROLS: dict[str, Callable[[Ranks, Fits, int], Ranks]] = {
    "shuffled": shuffled,
    "random": randomly,
    "reversed": reverse,
}
