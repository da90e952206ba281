"""What a checkpoint costs: bytes and seconds of one, beside the seconds of an optimizer step, of a real run.

python -m scripts.benchmarks.checkpoints --data DIR [--method gelora] [--budget 0.15M]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from gelora_cli.commands.main import command_line
from gelora_cli.training import checkpoint


def main() -> None:
    """Train for some steps with a checkpoint after each, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="GLUE in the hub's layout")
    parser.add_argument("--method", default="gelora")
    parser.add_argument("--budget", default="0.15M")
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    seconds: list[float] = []
    sizes: list[int] = []
    save = checkpoint.Checkpoints.save

    def timed(self: checkpoint.Checkpoints, state: Any, tensors: Any) -> None:
        start = time.perf_counter()
        save(self, state, tensors)
        seconds.append(time.perf_counter() - start)
        sizes.extend(path.stat().st_size for path in self.directory.rglob(checkpoint.TENSORS))

    checkpoint.Checkpoints.save = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as runs:
        overrides = ["task=sst2", "model=minilm", f"data.glue={arguments.data}", f"method={arguments.method}"]
        overrides += [
            f"budget={arguments.budget}",
            "data.max_train_examples=2000",
            f"train.max_steps={arguments.steps}",
        ]
        overrides += ["train.log_steps=1", "train.checkpoint_steps=2", f"runs_dir={runs}"]
        overrides += ["data.max_train_examples=2000", "profile.max_examples=300"]
        assert command_line(["run", *overrides]) == 0
        text = "".join(path.read_text() for path in Path(runs).rglob("metrics.jsonl"))
    times = [line["seconds"] for line in map(json.loads, text.splitlines()) if "loss" in line]
    steps = [after - before for before, after in zip(times[::2], times[1::2], strict=False)]  # no checkpoint between
    size, wrote, step = statistics.median(sizes) / 1e6, 1e3 * statistics.median(seconds), 1e3 * statistics.median(steps)
    print(f"{arguments.method}: a checkpoint {size:.2f} MB, {wrote:.0f} ms to write; a step {step:.0f} ms")
    print(f"medians of {len(seconds)} checkpoints and {len(steps)} steps")


if __name__ == "__main__":
    main()
