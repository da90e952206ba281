"""One exact search for the nearest neighbours of a cloud of points, and what follows from it for parts of the cloud.

Letters: n points, d columns, k neighbours of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gelora_cli.geometry.neighbours import Neighbours, find_neighbours
from gelora_cli.geometry.points import Array, Rows

WIDER = 4
"""Points that lack neighbours in a part are searched again for so many times as many. Of 48 neighbours fewer than two
lie in a quarter once in 60,000 times; of 12, once in six."""


@dataclass(frozen=True)
class PointSearch:
    """Distinct points (n, d) and their k nearest neighbours, from one search.

    Attributes:
        points: (n, d).
        neighbours: distances (n, k) and rows (n, k).
        memory_bytes: working memory of further searches, see `neighbours.nearest_two`.
        device: where they run.
    """

    points: npt.NDArray[Any]
    neighbours: Neighbours
    memory_bytes: int
    device: torch.device

    @classmethod
    def run(cls, points: npt.NDArray[Any], count: int, memory_bytes: int, device: torch.device) -> PointSearch:
        """Search the `count` nearest neighbours of points that `check_points` has returned; fewer if n is smaller."""
        count = min(count, len(points) - 1)
        return cls(points, find_neighbours(points, memory_bytes, device, count=count), memory_bytes, device)

    def nearest(self, count: int) -> Rows:
        """Return the rows of so many nearest neighbours, (n, count), up to k.

        Which of equally near points is named depends on how many were searched. Where the second and the third are
        equally far, the two nearest are those of a search for two, so that what is computed from them doesn't depend
        on k.
        """
        distances, indices = self.neighbours.distances, self.neighbours.indices
        if count == 2 and np.any(distances[:, 1:2] == distances[:, 2:3]):
            # Without bfloat16, so that the same ones are named on any processor.
            tied = find_neighbours(self.points, self.memory_bytes, self.device, count=2, roughly=False)
            indices = tied.indices
        return indices[:, :count]

    def ratios_within(self, parts: Sequence[Rows], near: int, far: int) -> list[Array]:
        """Return for each part `r_far / r_near` of its points as if there were no others, (part,).

        The neighbours of a point within a part are those of its k neighbours that belong to the part, in the same
        order. Points with fewer than `far` of them in some part are searched once more among all points, for
        `WIDER * k` neighbours, and the few that are then still left in their part alone.

        Args:
            parts: (part,) distinct rows each, more than `far`.
            near: number of the nearer neighbour, from 1 up.
            far: number of the farther one.
        """
        every = np.arange(len(self.points))
        ratios = [_ratios_among(self.neighbours, every, part, part, near, far) for part in parts]
        left = [part[np.isnan(found)] for part, found in zip(parts, ratios, strict=True)]
        rows = np.unique(np.concatenate([np.zeros(0, np.int64), *left]))
        if not len(rows):
            return ratios
        count = min(WIDER * self.neighbours.distances.shape[1], len(self.points) - 1)
        wider = find_neighbours(self.points, self.memory_bytes, self.device, count=count, rows=rows)
        for part, found, few in zip(parts, ratios, left, strict=True):
            missing = np.isnan(found)
            found[missing] = _ratios_among(wider, rows, part, few, near, far)
            rest = np.flatnonzero(np.isnan(found))
            if len(rest):
                alone = find_neighbours(self.points[part], self.memory_bytes, self.device, count=far, rows=rest)
                found[rest] = alone.ratios(near, far)
        return ratios


def _ratios_among(neighbours: Neighbours, rows: Rows, part: Rows, wanted: Rows, near: int, far: int) -> Array:
    """Return `r_far / r_near` of points of a part within it, (wanted,); NaN where too few neighbours are in the part.

    Args:
        neighbours: of `rows`, distances (rows, k) and rows (rows, k).
        rows: ascending, those of `wanted` among them.
        part: (part,) the points of the part.
        wanted: (wanted,) some of them.
        near: number of the nearer neighbour.
        far: number of the farther one.
    """
    if not len(wanted):
        return np.zeros(0)
    in_part = np.zeros(max(int(neighbours.indices.max()), int(part.max())) + 1, dtype=np.bool_)
    in_part[part] = True
    places = np.searchsorted(rows, wanted)
    belongs = in_part[neighbours.indices[places]]  # (wanted, k)
    counts = belongs.cumsum(axis=1, dtype=np.int32)  # (wanted, k)
    known = np.flatnonzero(counts[:, -1] >= far)
    distances = neighbours.distances[places[known]]  # (known, k)
    # Where the count first reaches a number, there is the neighbour of this number.
    columns = [(counts[known] < number).sum(axis=1) for number in (near, far)]
    near_distances, far_distances = (distances[np.arange(len(known)), column] for column in columns)
    ratios = np.full(len(wanted), np.nan)
    ratios[known] = far_distances / near_distances
    return ratios
