"""Idim profiles of runs or of profiles in one picture, a panel per task: figure 3 of GeLoRA (arXiv 2412.09250) in form.

    gelora run task=sst2 model=minilm data.glue=DIR                        # RUN
    gelora profile task=rte model=minilm data.glue=DIR                     # BEFORE
    gelora profile task=rte model=minilm data.glue=DIR init_from=RUN       # AFTER
    python scripts/figure3.py BEFORE AFTER --output figure3.png

Each argument is a directory with `profile.json` in it, or such a file; each line is named after its model, which says
what it was tuned on before.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gelora_cli.core.artifacts.profile import IdProfile
from gelora_cli.core.codec import read_artifact
from gelora_cli.core.directories import create_directory
from gelora_cli.core.errors import GeloraError
from gelora_cli.plots.profiles import plot_profiles


def labelled(paths: list[Path]) -> dict[str, IdProfile]:
    """Return the profiles by model and task, so that one that several runs share is drawn once."""
    found = [read_artifact(IdProfile, path / IdProfile.FILE if path.is_dir() else path) for path in paths]
    return {f"{profile.model} on {profile.task}": profile for profile in found}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what the command line names, and print the numbers that are drawn; 2 with a message where that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profiles", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, default=Path("figure3.png"), help="a .png or .svg (%(default)s)")
    given = parser.parse_args(arguments)
    if given.output.suffix not in (".png", ".svg") or given.output.is_dir():
        parser.error(f"--output {given.output} given; a file that ends in .png or .svg is needed")
    try:
        profiles = labelled(given.profiles)
        create_directory(given.output.parent, "--output=FILE")
        plot_profiles(profiles, given.output)
    except (GeloraError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for label, profile in profiles.items():
        print(f"{label}: " + "  ".join(f"{row.idim:.2f} ({row.low:.2f}-{row.high:.2f})" for row in profile.layers))
    print(given.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
