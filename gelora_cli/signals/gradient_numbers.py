"""From sums of gradients to the numbers of one linear layer, with and without each group; no torch on import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.core.artifacts.signals import GradientNumbers, LinearGradients
from gelora_cli.core.progress import log_through_progress, progress
from gelora_cli.signals.gradient_pass import GROUPS, GradientPass

if TYPE_CHECKING:
    import torch


def measure_share(measurement: GradientPass) -> dict[str, LinearGradients]:
    """Return the numbers of every linear layer in this process's share, one after the other."""
    numbers: dict[str, LinearGradients] = {}
    is_main = measurement.context.accelerator.is_main_process
    bar = progress(len(measurement.share), "linear layers", "spectra of gradients", enabled=is_main)
    with log_through_progress(), bar:
        for name in measurement.share:
            numbers[name] = measure_linear(measurement, name)
            bar.update(1)
    return numbers


def measure_linear(measurement: GradientPass, name: str) -> LinearGradients:
    """Return the numbers of a linear layer over all batches, and without each group of them.

    Only this layer's sums are in memory.
    """
    import torch

    weight = measurement.gradients.weight(name).double()  # (out, in)
    total = torch.zeros_like(weight)  # in float64, so that taking a group away again loses nothing
    squares: list[torch.Tensor] = []  # (n_k, 2) for each group
    for group in range(GROUPS):
        gradient, group_squares = measurement.group_sums(name, group)
        total += gradient
        squares.append(group_squares)
    numbers = gradient_numbers(weight, total, torch.cat(squares))
    jackknife: list[GradientNumbers] = []
    for group in range(GROUPS):
        gradient, _ = measurement.group_sums(name, group)
        others = torch.cat([*squares[:group], *squares[group + 1 :]])
        jackknife.append(gradient_numbers(weight, total - gradient, others))
    return LinearGradients(name, numbers, tuple(jackknife))


def gradient_numbers(weight: torch.Tensor, gradient_sum: torch.Tensor, squares: torch.Tensor) -> GradientNumbers:
    """Return the numbers of one linear layer over n batches.

    Args:
        weight: W, (out, in) float64.
        gradient_sum: the sum of g_b over the batches, (out, in) float64.
        squares: for each batch the sums over parameters of g_b^2 and of (W g_b)^2, (n, 2) float64.
    """
    from gelora_cli.geometry.spectrum import effective_rank, singular_values

    mean_gradient = gradient_sum / len(squares)  # (out, in)
    square, weighted_square = squares.mean(0).tolist()
    return GradientNumbers(
        fisher=square / weight.numel(),
        importance=float((weight * mean_gradient).abs().mean()),
        effective_rank=effective_rank(singular_values(mean_gradient)),
        sensitivity=weighted_square,
    )
