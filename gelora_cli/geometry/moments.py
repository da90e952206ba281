"""Count, mean and scatter of vectors: summed over batches, put together and taken apart without loss of digits.

Letters in shapes: n vectors, D coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

STRIP = 256
"""Rows of a product that are computed at once: the smaller, the less is computed below the diagonal."""
FLOAT32_BATCHES = 8
"""Batches whose products are summed in float32, before they are added to the sums in float64."""


@dataclass(frozen=True)
class Moments:
    """Moments of n vectors.

    Attributes:
        count: n.
        mean: (D,) float64.
        scatter: sum over the vectors of `(x - mean)(x - mean)^T`, (D, D) float64; n times their covariance. Only its
            upper triangle counts, since it is symmetric.
    """

    count: int
    mean: torch.Tensor
    scatter: torch.Tensor


class MomentSums:
    """Sums over batches of vectors, from which their moments follow.

    Products are float32 over some batches and float64 over all. Vectors are shifted by the mean of the first batch, so
    that coordinates with a large mean and a small spread keep their digits.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self.count = self.batches = 0
        self.shift: torch.Tensor | None = None  # (D,) float32
        self.sums = torch.zeros(width, dtype=torch.float64, device=device)  # (D,)
        # Only the upper triangles are computed.
        self.recent = torch.zeros(width, width, device=device)  # (D, D) float32
        self.products = torch.zeros(width, width, dtype=torch.float64, device=device)  # (D, D)

    def add(self, vectors: torch.Tensor) -> None:
        """Add a batch of vectors, (n, D)."""
        vectors = vectors.float()
        if self.shift is None:
            self.shift = vectors.mean(0)  # (D,)
        shifted = vectors - self.shift  # (n, D)
        self.count += len(shifted)
        self.batches += 1
        self.sums += shifted.sum(0, dtype=torch.float64)
        for start in range(0, shifted.shape[1], STRIP):
            rows = slice(start, start + STRIP)
            self.recent[rows, start:].addmm_(shifted[:, rows].T, shifted[:, start:])
        if self.batches % FLOAT32_BATCHES == 0:
            self._flush()

    def moments(self) -> Moments:
        """Return the moments of all vectors that were added; nothing can be added afterwards."""
        self._flush()
        offset = self.sums / self.count  # (D,)
        shift = torch.zeros_like(offset) if self.shift is None else self.shift.double()
        return Moments(self.count, shift + offset, self.products.addr_(offset, offset, alpha=-float(self.count)))

    def _flush(self) -> None:
        self.products += self.recent
        self.recent.zero_()


def merged(first: Moments, second: Moments) -> Moments:
    """Return the moments of the vectors of both (Chan, Golub and LeVeque, 1983).

    With `d = m_2 - m_1` the scatter is `S_1 + S_2 + n_1 n_2 / (n_1 + n_2) d d^T`.
    """
    count = first.count + second.count
    offset = second.mean - first.mean  # (D,)
    scatter = first.scatter + second.scatter
    scatter.addr_(offset, offset, alpha=first.count * second.count / count)
    return Moments(count, first.mean + offset * (second.count / count), scatter)


def without(whole: Moments, part: Moments) -> Moments:
    """Return the moments of the whole without a part of it, such that `merged` with the part gives the whole."""
    count = whole.count - part.count
    offset = part.mean - whole.mean  # (D,)
    mean = whole.mean - offset * (part.count / count)
    scatter = whole.scatter - part.scatter
    scatter.addr_(offset, offset, alpha=-part.count * whole.count / count)
    return Moments(count, mean, scatter)


def pack(moments: Moments) -> tuple[torch.Tensor, torch.Tensor]:
    """Return moments as two tensors for a file: count and mean (1 + D,) float64, and half the scatter in float32.

    The upper triangle row by row, (D (D + 1) / 2,), is a quarter of what the matrix takes in float64.
    """
    head = torch.cat([moments.mean.new_tensor([moments.count]), moments.mean])
    triangle = torch.cat([row[index:].float() for index, row in enumerate(moments.scatter)])
    return head.cpu(), triangle.cpu()


def unpack(head: torch.Tensor, triangle: torch.Tensor, device: torch.device) -> Moments:
    """Return the moments that `pack` made two tensors of."""
    width = len(head) - 1
    upper = torch.zeros(width, width, dtype=torch.float64)
    start = 0
    for index in range(width):
        upper[index, index:] = triangle[start : start + width - index]
        start += width - index
    return Moments(int(head[0]), head[1:].to(device), upper.to(device))
