"""What large work would cost, on paper: operations of the shapes over a stated rate, sizes of arrays, fitted laws.

Nothing here was run. Operations are those of `models/operations.py`, which tests hold against torch's own counter.
"""

from __future__ import annotations

from dataclasses import dataclass

from gelora_cli.core.artifacts.model_map import BlockMap, LinearShape
from gelora_cli.models.operations import (
    FORWARD_ONLY,
    Load,
    ModelShapes,
    RelativePositions,
    UpdateWork,
    model_operations,
    neighbour_operations,
)
from scripts.benchmarks.laws import Law

BFLOAT16_RATE = 100e12
"""Operations a second that one GPU is taken to sustain in training: an assumption, a tenth of an H100's peak."""
FLOAT32_RATE = 30e12
"""The same of float32 without TF32, in which profiles and neighbours are measured: an assumption, half of its peak."""
DISK_RATE = 1e9
"""Bytes a second that a disk is taken to write: an assumption."""
FLOAT32 = 4
RANK = 4
ATTENTION = ("query", "key", "value", "output")


@dataclass(frozen=True)
class Scale:
    """A model and the text that goes through it."""

    name: str
    shapes: ModelShapes
    width: int
    rows: int
    length: int
    batch: int

    @property
    def layers(self) -> int:
        """Return the number of blocks."""
        return len(self.shapes.blocks)

    @property
    def load(self) -> Load:
        """Return what one pass over all rows puts through the model."""
        passes = -(-self.rows // self.batch)
        return Load(passes, self.rows, self.rows * self.length, self.rows * self.length**2)

    @property
    def forward(self) -> int:
        """Return the operations of one pass without gradients."""
        return model_operations(self.shapes, self.load, FORWARD_ONLY, head=False)

    @property
    def epoch(self) -> int:
        """Return the operations of one epoch of LoRA on the attention."""
        ranks: dict[str, int] = {}
        for block in self.shapes.blocks:
            ranks |= {linear.name: RANK for linear in block.linears if linear.role in ATTENTION}
        return model_operations(self.shapes, self.load, UpdateWork(ranks=ranks))

    def neighbours(self, points: int) -> int:
        """Return the operations of the search for neighbours in all layers."""
        return (self.layers + 1) * neighbour_operations(points, self.width)

    @property
    def quadratic_from(self) -> int:
        """Return the rows from which on the search for neighbours has more operations than the forward pass."""
        return round(self.forward / self.rows / ((self.layers + 1) * (self.width + 2)))

    def state_bytes(self, points: int) -> int:
        """Return the bytes of one layer's states."""
        return points * self.width * FLOAT32


def transformer(layers: int, width: int, inner: int, *, key_width: int = 0, gated: bool = False) -> ModelShapes:
    """Return the shapes of a transformer: attention of a width, and a feed-forward part, with a gate if `gated`."""
    blocks = []
    for index in range(1, layers + 1):
        name = f"layer.{index}"
        sides = {"query": (width, width), "key": (width, key_width or width), "value": (width, key_width or width)}
        sides |= {"output": (width, width), "up": (width, inner), "down": (inner, width)}
        if gated:
            sides["gate"] = (width, inner)
        linears = tuple(LinearShape(f"{name}.{role}", role, *shape) for role, shape in sides.items())
        blocks.append(BlockMap(index, name, linears))
    return ModelShapes(blocks=tuple(blocks))


def deberta_on_mnli() -> Scale:
    """Return DeBERTaV3-base (12 blocks, d = 768, 256 buckets) on all 392,702 rows of MNLI at 64 tokens."""
    plain = transformer(12, 768, 3072)
    relative = RelativePositions(512, content_to_position=True, position_to_content=True, shared=True)
    return Scale("DeBERTaV3-base, MNLI", ModelShapes(plain.blocks, relative=relative), 768, 392_702, 64, 32)


def decoder_on_prompts() -> Scale:
    """Return a Llama-like decoder of 8B parameters (32 blocks, d = 4096) on 100,000 prompts of 512 tokens."""
    shapes = transformer(32, 4096, 14_336, key_width=1024, gated=True)
    return Scale("8B decoder, 100,000 prompts", shapes, 4096, 100_000, 512, 8)


def model_rows(scale: Scale) -> list[tuple[str, str, str]]:
    """Return what profiling and training at a scale would take, and where it breaks: quantity, value, from what."""
    layer, every = scale.state_bytes(scale.rows), (scale.layers + 1) * scale.state_bytes(scale.rows)
    search = scale.neighbours(scale.rows)
    return [
        ("profile: forward pass of all rows", hours(scale.forward / FLOAT32_RATE), f"{scale.forward:.2e} operations"),
        ("profile: neighbours of all rows, all layers", hours(search / FLOAT32_RATE), f"{search:.2e} operations"),
        ("states of one layer in memory", gigabytes(layer), f"{scale.rows:,} x {scale.width} float32"),
        ("states of all layers on disk meanwhile", gigabytes(every), f"{scale.layers + 1} layers"),
        ("writing them", hours(every / DISK_RATE), "1 GB/s assumed"),
        (f"training: an epoch of LoRA r = {RANK}", hours(scale.epoch / BFLOAT16_RATE), f"{scale.epoch:.2e} operations"),
    ]


@dataclass(frozen=True)
class Grid:
    """Many runs on many devices; bytes and files of a run are those of a measured one."""

    runs: int
    devices: int
    run_files: int
    run_bytes: int

    def rows(self, run_seconds: float, ls: Law, report: Law) -> list[tuple[str, str, str]]:
        """Return what the grid would take: quantity, value, from what."""
        waves = -(-self.runs // self.devices)
        return [
            (
                "training",
                hours(waves * run_seconds),
                f"{waves} runs in turn on each of {self.devices} GPUs",
            ),
            ("files", f"{self.runs * self.run_files:,}", f"{self.run_files} in a run directory"),
            (
                "bytes, more with larger adapters",
                gigabytes(self.runs * self.run_bytes),
                "of a run of minilm",
            ),
            ("`gelora ls`", f"{ls.at(self.runs):.1f} s", f"law {ls.text('runs')}"),
            ("`gelora report figures.draw=false`", f"{report.at(self.runs):.1f} s", f"law {report.text('runs')}"),
        ]


def hours(seconds: float) -> str:
    """Return seconds in the unit that they are read in."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def gigabytes(size: float) -> str:
    """Return bytes in GB or MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
