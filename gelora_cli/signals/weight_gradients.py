"""The gradients of linear weights, taken out of backward one linear layer at a time; importing this imports no torch.

Letters: N tokens that a linear reads, those of padding included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn


class Handle(Protocol):
    """What removes a hook again."""

    def remove(self) -> None:
        """Remove it."""


class WeightGradients:
    """The gradient of the weight of each linear layer, (out, in) float32, summed over the passes until it is taken.

    A weight in float32 gets its gradient from autograd. One that is stored in another type (`models.quantized`) can't
    have one, so it is computed from what the linear reads, x (N, in), and the gradient of what it gives, g (N, out):

        dW = sum over the calls of g^T x, in float32.

    Autograd would hold the same x until then, and where blocks are computed a second time it holds none. Such gradients
    wait for a later pass in the memory of the CPU, so that on the device there are only those of one block.

    Args:
        model: the model, whose linears may be stored in several types.
        names: the linears, each with a weight of its own.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        import torch

        self.modules: dict[str, Any] = {name: model.get_submodule(name) for name in names}
        self.weights: dict[str, nn.Parameter] = {}
        self.stored: set[str] = set()
        for name, module in self.modules.items():
            if module.weight.dtype == torch.float32:
                self.weights[name] = module.weight
            else:
                self.stored.add(name)
        self._gradients: dict[str, torch.Tensor] = {}
        self._open_calls: Counter[str] = Counter()
        self._is_last = True
        self._in_backward = False

    def weight(self, name: str) -> torch.Tensor:
        """Return the weight that a linear computes with, (out, in) float32."""
        from gelora_cli.models.quantized import linear_weight

        return linear_weight(self.modules[name])

    def size(self, name: str) -> int:
        """Return how many weights a linear has."""
        from gelora_cli.models.quantized import weight_count

        return weight_count(self.modules[name])

    @contextmanager
    def reported(self, on_complete: Callable[[str], None]) -> Iterator[None]:
        """Call `on_complete` with the name of each linear whose gradient is complete, while backward goes on."""
        handles: list[Handle] = []
        for name, weight in self.weights.items():
            hook = partial(self._on_accumulated, name, on_complete)
            handles.append(weight.register_post_accumulate_grad_hook(hook))  # type: ignore[no-untyped-call]
        for name in self.stored:
            handles.append(self.modules[name].register_forward_hook(partial(self._on_call, name, on_complete)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._gradients.clear()

    def backward(self, loss: torch.Tensor, *, is_last: bool) -> None:
        """Go back through the pass that gave a loss (); `is_last` says that no later pass adds to the gradients."""
        self._is_last, self._in_backward = is_last, True
        try:
            loss.backward()  # type: ignore[no-untyped-call]
        finally:
            self._in_backward = False
            self._open_calls.clear()

    def take(self, name: str) -> torch.Tensor:
        """Return the gradient of a linear and forget it; zeros if nothing depends on its weight."""
        import torch

        if name in self.stored:
            module = self.modules[name]
            gradient = self._gradients.pop(name, None)
            if gradient is None:
                return torch.zeros(module.out_features, module.in_features, device=module.weight.device)
            return gradient.to(module.weight.device)
        weight = self.weights[name]
        gradient, weight.grad = weight.grad, None
        return torch.zeros_like(weight) if gradient is None else gradient

    def _on_accumulated(self, name: str, on_complete: Callable[[str], None], _: torch.Tensor) -> None:
        if self._is_last:  # else a later pass adds to it
            on_complete(name)

    def _on_call(
        self,
        name: str,
        on_complete: Callable[[str], None],
        module: nn.Module,
        inputs: tuple[torch.Tensor, ...],
        output: torch.Tensor,
    ) -> torch.Tensor | None:
        """Wait for the gradient of this call's output, which gets one also where nothing below it trains."""
        import torch

        from gelora_cli.models.tap import Tap

        if not torch.is_grad_enabled():
            return None
        if not output.requires_grad:
            output = output.detach().requires_grad_()
        if not self._in_backward:  # where blocks are computed a second time, that is no other call
            self._open_calls[name] += 1
        tapped: torch.Tensor = Tap.apply(output, inputs[0], partial(self._add, name, on_complete))  # type: ignore[no-untyped-call]
        return tapped

    def _add(self, name: str, on_complete: Callable[[str], None], read: torch.Tensor, gradient: torch.Tensor) -> None:
        """Add the gradient that a call gives the weight: of what it read (B, T, in) and the gradient (B, T, out)."""
        outer = gradient.flatten(0, -2).float()  # (N, out)
        inner = read.to(gradient.dtype).flatten(0, -2).float()  # (N, in), in the numbers that were multiplied
        total = outer.T @ inner  # (out, in)
        earlier = self._gradients.pop(name, None)
        if earlier is not None:
            total += earlier.to(total.device)
        self._open_calls[name] -= 1
        if self._is_last and not self._open_calls[name]:
            self._gradients[name] = total
            on_complete(name)
        else:
            self._gradients[name] = total.cpu()
