"""How colours are seen: lightness and distance, also without the receptors for red, green or blue."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb

Array = np.ndarray[Any, np.dtype[np.float64]]

# Machado, Oliveira and Fernandes (2009), severity 1, on linear sRGB.
VISIONS = {
    "all receptors": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red ones": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "no green ones": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "no blue ones": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
XYZ = np.array(
    ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
)
WHITE = XYZ.sum(axis=1)


def linear(color: str) -> Array:
    """Return linear sRGB, (3,)."""
    values = np.array(to_rgb(color))
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def cielab(rgb: Array) -> Array:
    """Return lightness, a and b of a linear sRGB colour, (3,)."""
    ratios = XYZ @ np.clip(rgb, 0, 1) / WHITE
    x, y, z = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116)
    return np.array((116 * y - 16, 500 * (x - y), 200 * (y - z)))


def luminance(color: str) -> float:
    """Return the relative luminance of WCAG 2."""
    return float(XYZ[1] @ linear(color))


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of WCAG 2, from 1 to 21."""
    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def smallest_distance(colors: tuple[str, ...], vision: str) -> float:
    """Return the smallest distance in CIELAB between two of these colours as they are seen."""
    seen = [cielab(np.array(VISIONS[vision]) @ linear(color)) for color in colors]
    return min(float(np.linalg.norm(first - second)) for first, second in combinations(seen, 2))
