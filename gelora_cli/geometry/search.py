"""One exact search for the nearest neighbours of a cloud of points, and what follows from it for parts of the cloud.

Letters: n points, d columns, k neighbours of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gelora_cli.geometry.neighbours import Neighbours, find_neighbours
from gelora_cli.geometry.points import Array, Rows


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
            indices = find_neighbours(self.points, self.memory_bytes, self.device, count=2).indices
        return indices[:, :count]

    def ratios_within(self, part: Rows, near: int, far: int) -> Array:
        """Return `r_far / r_near` of the points of a part as if there were no others, (part,).

        The neighbours of a point within a part are those of its k neighbours that belong to the part, in the same
        order. Only a point with fewer than `far` of them is searched again, among the points of the part.

        Args:
            part: (part,) distinct rows, more than `far`.
            near: number of the nearer neighbour, from 1 up.
            far: number of the farther one.
        """
        in_part = np.zeros(len(self.points), dtype=np.bool_)
        in_part[part] = True
        belongs = in_part[self.neighbours.indices[part]]  # (part, k)
        counts = belongs.cumsum(axis=1, dtype=np.int32)  # (part, k)
        is_known = counts[:, -1] >= far
        known = np.flatnonzero(is_known)
        distances = self.neighbours.distances[part[known]]  # (known, k)
        # Where the count first reaches a number, there is the neighbour of this number.
        columns = [(counts[known] < number).sum(axis=1) for number in (near, far)]
        near_distances, far_distances = (distances[np.arange(len(known)), column] for column in columns)
        ratios = np.empty(len(part))
        ratios[known] = far_distances / near_distances
        unknown = np.flatnonzero(~is_known)
        if len(unknown):
            # The search of all rows uses each product for both of its points, so it costs half as much per row.
            rows = unknown if 2 * len(unknown) < len(part) else np.arange(len(part))
            found = find_neighbours(self.points[part], self.memory_bytes, self.device, count=far, rows=rows)
            ratios[rows] = found.ratios(near, far)
        return ratios
