"""Whether the machines of one run have the same model, rows, plug-ins and packages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gelora_cli.core.distributed import gather_objects
from gelora_cli.core.environment import versions
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.plugins import plugins_fingerprint

if TYPE_CHECKING:
    from accelerate import Accelerator

    from gelora_cli.pipeline.inputs import ResolvedInputs

SHOWN = 12
"""Characters that are shown of a fingerprint."""


def check_agreement(inputs: ResolvedInputs, accelerator: Accelerator) -> None:
    """Refuse a run on several machines whose files or packages differ; on one machine all processes read the same.

    Every process reads model and rows from its own machine, under the paths of the first one. With other contents there
    the run would train on a mixture that no fingerprint describes.

    Raises:
        GeloraError: the same on every process, with what differs.
    """
    if os.environ.get("LOCAL_WORLD_SIZE", "1") == os.environ.get("WORLD_SIZE", "1"):
        return
    own = inputs.fingerprints | versions()
    own["device"] = accelerator.device.type
    if inputs.config.plugins is not None:
        own["plugins"] = plugins_fingerprint(inputs.config.plugins)
    per_process = gather_objects(accelerator, own)
    differences = []
    for name, value in per_process[0].items():
        other = next((rank for rank, values in enumerate(per_process) if values.get(name) != value), None)
        if other is not None:
            theirs = str(per_process[other].get(name))
            differences.append(f"{name} ({value[:SHOWN]} on process 0, {theirs[:SHOWN]} on process {other})")
    if differences:
        raise GeloraError(
            f"the machines of this run differ: {'; '.join(differences)}. Give them the same files under the same "
            "paths, and the same versions"
        )
