"""The budget: how a user writes it, its canonical name, and what it is in adapter parameters; no torch, no numpy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from gelora_cli.core.artifacts.model_map import LinearShape, ModelMap
from gelora_cli.core.errors import GeloraError

BudgetKind = Literal["params", "percent", "rank", "auto"]
MODULES = ("attention", "all")
ACCEPTED = (
    "0.3M, 12K, 300000 or 3e5 (parameters), 0.16% (of the backbone), rank:4 (what uniform rank 4 costs), "
    "auto (the rule's own ranks)"
)

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?"
_FORMS: tuple[tuple[BudgetKind, re.Pattern[str]], ...] = (
    ("auto", re.compile(r"auto()()", re.IGNORECASE)),
    ("rank", re.compile(rf"rank:?({_NUMBER})()", re.IGNORECASE)),
    ("percent", re.compile(rf"({_NUMBER}) ?(%|pct)", re.IGNORECASE)),
    ("params", re.compile(rf"({_NUMBER})([km]?)", re.IGNORECASE)),
)
_UNITS = {"": 0, "k": 3, "m": 6}
"""Powers of ten."""
# Decimal keeps 28 digits. Within these limits every number is exact, and its name is short enough to be read back.
_MAX_CHARACTERS = 40
_MAX_DIGITS = 16
_MAX_EXPONENT = 12


@dataclass(frozen=True)
class Budget:
    """A bound on the adapter's trainable parameters, as `parse_budget` returns it.

    `amount` counts parameters (kind `params`), percent of the backbone's parameters (`percent`) or units of rank
    (`rank`). It is 0 for `auto`. `text` is what the user wrote, for messages; several texts are one budget.
    """

    kind: BudgetKind
    amount: int | Decimal
    text: str = field(default="", compare=False, repr=False)

    @property
    def given(self) -> str:
        """Return the budget in the user's words, or its canonical text where it was not read from any."""
        return self.text or self.name

    @property
    def name(self) -> str:
        """Return the canonical text, which is safe in a directory's name: `0.3M`, `0.16pct`, `rank4` or `auto`."""
        if self.kind == "params":
            return f"{_plain(Decimal(self.amount).scaleb(-6))}M"
        if self.kind == "percent":
            return f"{_plain(Decimal(self.amount))}pct"
        return f"rank{self.amount}" if self.kind == "rank" else "auto"

    def params(self, model_map: ModelMap, modules: str) -> int | None:
        """Return the bound in parameters for this model, rounded down; None for `auto`.

        Raises:
            GeloraError: `rank:N` with N above the smallest side of a module.
        """
        if self.kind == "auto":
            return None
        if self.kind == "percent":
            # Fractions: in floats the product could round to one parameter more or less.
            return int(Fraction(self.amount) * model_map.backbone_params // 100)
        if self.kind == "params":
            return int(self.amount)
        return self._uniform_params(model_map, modules)

    def _uniform_params(self, model_map: ModelMap, modules: str) -> int:
        rank = int(self.amount)
        largest = min(max_ranks(model_map, modules))
        if rank > largest:
            raise GeloraError(
                f"budget=rank:{rank} given, but the smallest side of the adapted modules is {largest} and no rank "
                f"passes it. Give rank:{largest} or less."
            )
        return rank * sum(unit_costs(model_map, modules))


def parse_budget(value: str | int | float) -> Budget:
    """Return the budget that `value` means: `0.3M`, `12K`, `300000`, `3e5`, `0.16%`, `rank:4` or `auto`.

    The canonical names `0.16pct` and `rank4` are read too, so `parse_budget(budget.name) == budget`.

    Raises:
        GeloraError: any other text, no number, a number not above zero, more than 100 %, or a count that isn't whole.
    """
    text = str(value).strip()
    if len(text) > _MAX_CHARACTERS:
        raise _refusal(text, "it is none of the accepted forms")
    for kind, pattern in _FORMS:
        match = pattern.fullmatch(text)
        if match and kind == "auto":
            return Budget("auto", 0, text)
        if match:
            return Budget(kind, _parse_amount(kind, match[1], match[2].lower(), text), text)
    raise _refusal(text, "it is none of the accepted forms")


def unit_costs(model_map: ModelMap, modules: str) -> tuple[int, ...]:
    """Return the parameters that one unit of rank costs in each block, over the linears that `modules` adapts.

    Raises:
        GeloraError: `modules` is neither `attention` nor `all`, or a block has nothing to adapt.
    """
    costs = []
    for linears in adapted_linears(model_map, modules):
        costs.append(sum(linear.unit_params for linear in linears))
    return tuple(costs)


def max_ranks(model_map: ModelMap, modules: str) -> tuple[int, ...]:
    """Return the largest rank of each block: the smallest side of the linears that `modules` adapts.

    Raises:
        GeloraError: as `unit_costs`.
    """
    ranks = []
    for linears in adapted_linears(model_map, modules):
        ranks.append(min(linear.max_rank for linear in linears))
    return tuple(ranks)


def _parse_amount(kind: BudgetKind, number: str, unit: str, text: str) -> int | Decimal:
    """Return percent, parameters or units of rank from the parts of a text that has the form of a budget."""
    amount = Decimal(number)
    if amount <= 0:
        raise _refusal(text, "a budget must be above zero")
    if abs(amount.adjusted()) > _MAX_EXPONENT or len(amount.as_tuple().digits) > _MAX_DIGITS:
        raise _refusal(text, "the number is too large, too small or too long for a budget")
    if kind == "percent":  # stays a decimal: how many parameters it is depends on the model
        if amount > 100:
            raise _refusal(text, "more than 100 % of the backbone")
        return amount
    count = amount.scaleb(_UNITS[unit])
    if count != count.to_integral_value():  # exact: these are decimals
        if kind == "rank":
            raise _refusal(text, "it is not a whole number of units")
        hint = "" if unit else f" (for {number} million write {number}M)"
        raise _refusal(text, f"it is not a whole number of parameters{hint}")
    return int(count)


def adapted_linears(model_map: ModelMap, modules: str) -> list[tuple[LinearShape, ...]]:
    """Return the linears that `modules` (`attention` or `all`) adapts, block by block.

    Raises:
        GeloraError: `modules` is neither, or a block has nothing to adapt.
    """
    if modules not in MODULES:
        raise GeloraError(f"method.modules={modules} given; accepted: {' or '.join(MODULES)}.")
    blocks = [model_map.linears(block, modules) for block in model_map.blocks]
    empty = [block.index for block, linears in zip(model_map.blocks, blocks, strict=True) if not linears]
    if empty or not blocks:
        where = f"block {empty[0]}" if empty else "a model without blocks"
        raise GeloraError(f"method.modules={modules} finds no linear to adapt in {where} ({model_map.kind}).")
    return blocks


def _refusal(text: str, reason: str) -> GeloraError:
    start = text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."
    return GeloraError(f"budget={start} can't be used: {reason}. Accepted: {ACCEPTED}. For example budget=0.3M.")


def _plain(number: Decimal) -> str:
    """Return a number with every digit, without exponent and trailing zeros."""
    return format(number.normalize(), "f")
