"""gelora: geometric adaptive LoRA ranks, measured, assigned, trained and compared.

From Python: `profile_texts`, `plan_ranks` and `lora_config` (`gelora_cli.api`), loaded when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gelora_cli.api import lora_config, plan_ranks, profile_texts

__version__ = "0.1.0"
__all__ = ["lora_config", "plan_ranks", "profile_texts"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from gelora_cli import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
