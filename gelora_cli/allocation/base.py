"""What an allocator is: it turns a measured signal into weights, and weights into ranks; no torch, no numpy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, Protocol, TypeVar

from gelora_cli.allocation.apportionment import Ranks
from gelora_cli.allocation.jackknife import inflate_weights
from gelora_cli.allocation.notes import weights_note
from gelora_cli.allocation.problem import AllocationProblem, Granularity, Weights
from gelora_cli.core.artifacts.model_map import ModelMap
from gelora_cli.core.codec import StoredArtifact


class SignalArtifact(StoredArtifact, Protocol):
    """What every measured signal says besides its numbers: the model that it was measured on, and how long it took."""

    @property
    def model_map(self) -> ModelMap:
        """Return the blocks and adaptable linears of the model."""

    @property
    def seconds(self) -> float:
        """Return the seconds of the measurement."""


def total_operations(artifacts: Iterable[SignalArtifact]) -> int | None:
    """Return the floating-point operations of measuring all of these; None where one of them has no count.

    An artifact of a plug-in may have none, and so does one that is older than the count.
    """
    total = 0
    for artifact in artifacts:
        operations = getattr(artifact, "operations", None)
        if not isinstance(operations, int):
            return None
        total += operations
    return total


SignalT = TypeVar("SignalT")

Basis = Literal["sample", "fixed", "control"]
"""What decides an allocator's weights: a `sample` of texts or batches, something `fixed` such as the pretrained weights
or a file, or nothing that could be judged, since it is a `control` of another allocator."""

MEASURE_AGAIN = "measure again with force=true"
"""What helps where a signal was measured before there were tenths."""

IDIM = "idim"
"""The name of the signal that GeLoRA reads, and with `budget=auto` every method that has a budget."""


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """An allocator's ranks, and those that they are compared with.

    Attributes:
        problem: what was allocated.
        weights: what the signal asked for.
        ranks: the allocator's ranks.
        uniform: the ranks that `method=lora` gives each target under the same budget.
        gelora: those of `method=gelora`; empty if it can't meet the budget or has no profile.
    """

    problem: AllocationProblem
    weights: Weights
    ranks: Ranks
    uniform: Ranks
    gelora: Ranks = ()


@dataclass(frozen=True, kw_only=True)
class SmallerSample(Generic[SignalT]):
    """A signal as measured on a smaller sample: the share 1 / `part` of the whole one, of so many examples."""

    part: int
    examples: int
    signal: SignalT


class Allocator(ABC, Generic[SignalT]):
    """Which rank where. One object per allocator, registered in `core.registries.ALLOCATORS`.

    What the ranks are used for (LoRA, or a variant of it) is a method's business: a method names its allocator.

    Attributes:
        name: what a method names it by.
        signal: the name of the signal that it reads, in `core.registries.SIGNALS`; empty if it reads none.
        granularity: whether every block gets a rank (`block`), or every linear (`module`), unless
            `ranks.granularity` says otherwise.
        basis: what decides its weights; the stability of a plan is judged for a `sample` only.
        has_common_scale: whether a sample may scale all weights alike, as larger gradients do. That is no noise of the
            plan, since ranks follow the ratios. Not so of differences such as growths, whose mean may be noise alone.
    """

    name: str
    signal: ClassVar[str]
    granularity: ClassVar[Granularity] = "block"
    basis: ClassVar[Basis] = "sample"
    has_common_scale: ClassVar[bool] = False

    @abstractmethod
    def weigh(self, signal: SignalT, problem: AllocationProblem) -> Weights:
        """Return how much rank the signal asks for in each of `problem.targets`.

        Args:
            signal: the artifact that the signal has measured; None of an allocator that reads none.
            problem: what gets a rank, and the settings of the rule.

        Raises:
            GeloraError: the signal is not that of this model, or holds numbers that say nothing.
        """

    def granularity_for(self, settings: object) -> Granularity:
        """Return what gets a rank unless `ranks.granularity` says so; `settings` are the keys of the method."""
        return self.granularity

    def allocate(self, problem: AllocationProblem, weights: Weights, seed: int) -> Ranks:
        """Return one rank per target, which `problem.is_feasible` accepts; `seed` is for what is drawn.

        Raises:
            GeloraError: there are no such ranks; the message says what to change.
        """
        return problem.apportion(weights)

    def resampled(self, signal: SignalT) -> Sequence[SignalT]:
        """Return the signal as measured without each tenth of its sample, texts or batches; empty if it has none.

        The stability of a plan is decided with them (`allocation.stability`).
        """
        return ()

    def replicates(self, signal: SignalT, problem: AllocationProblem) -> tuple[Weights, ...]:
        """Return weights that scatter as those of ten other samples would; empty if the signal has no such numbers.

        They are `w + 3 (w_k - mean)` with the weights `w_k` of `resampled`, since measurements that share nine tenths
        of their sample lie three times too close (`allocation.jackknife`). An allocator whose weights cut a number off
        inflates that number instead.
        """
        samples = [self.weigh(sample, problem) for sample in self.resampled(signal)]
        return inflate_weights(self.weigh(signal, problem), samples) if samples else ()

    def smaller_samples(self, signal: SignalT) -> Sequence[SmallerSample[SignalT]]:
        """Return the signal as measured on a half, a quarter and an eighth of its sample, as far as it has them."""
        return ()

    def unmeasured(self, signal: SignalT) -> str:
        """Return why `replicates` is empty, or what to do then, as a clause."""
        if (type(self).resampled, type(self).replicates) == (Allocator.resampled, Allocator.replicates):
            return f"the allocator {self.name} gives no measurements without a tenth of its sample (method resampled)"
        return MEASURE_AGAIN

    def caveat(self, signal: SignalT) -> str:
        """Return what decides the plan in every sample although nothing measured it; empty if nothing does."""
        return ""

    def remedy(self, signal: SignalT) -> str:
        """Return what may make an unstable plan stable, as a clause that begins with a verb."""
        return "measure more batches or texts"

    def rank_ends(self, signal: SignalT, problem: AllocationProblem) -> tuple[tuple[int | None, int | None], ...]:
        """Return each target's rank at the lower and the upper end of the signal's error; None if it has none."""
        return ((None, None),) * len(problem.targets)

    def warnings(self, signal: SignalT) -> tuple[str, ...]:
        """Return a sentence for each part of the signal that says little of the task."""
        return ()

    def note(self, signal: SignalT, allocation: Allocation) -> str:
        """Return what a reader should know of these ranks, in sentences; empty if there is nothing to say."""
        return weights_note(allocation)
