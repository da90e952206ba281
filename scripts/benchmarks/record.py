"""What a benchmark found, as JSON in results/benchmarks/, from which `page.py` writes docs/benchmarks.md."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "benchmarks"
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "numpy", "datasets")


def describe_machine() -> str:
    """Return the processor or GPU, the usable cores, and torch's threads."""
    import torch

    from gelora_cli.core.processes import usable_cores

    cores, threads = _counted(usable_cores(), "core"), _counted(torch.get_num_threads(), "thread")
    parts = [f"{processor_name()}, {cores}, {threads}"]
    if torch.cuda.is_available():
        parts.insert(0, torch.cuda.get_device_name())
    return "; ".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def processor_name() -> str:
    """Return the processor's name as Linux has it, or its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def library_versions(extra: Sequence[str] = ()) -> dict[str, str]:
    """Return the versions of Python and of the libraries that count, and of `extra` ones."""
    versions = {"Python": platform.python_version()}
    for name in (*LIBRARIES, *extra):
        versions[name] = metadata.version(name)
    return versions


def reached(is_reached: bool) -> str:
    """Return how a goal is marked."""
    return "**reached**" if is_reached else "**not reached**"


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of the page: its caption, its columns and its rows, as they are shown."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Series:
    """Some numbers of a picture: where each stands, as a name (bars) or a size (lines), and its value."""

    name: str
    at: tuple[str | float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of the page, which `pictures.py` draws.

    Attributes:
        kind: `bars`, each with its number, or `lines` over logarithmic axes.
        title: in bold above it.
        subtitle: what was measured, in a line.
        alternative: what it shows, for those who can't see it.
        series: what is drawn.
        values_label: name and unit of the values.
        at_label: name and unit of the sizes that lines stand over.
    """

    kind: str
    title: str
    subtitle: str
    alternative: str
    series: tuple[Series, ...]
    values_label: str
    at_label: str = ""


@dataclass(frozen=True, kw_only=True)
class BenchmarkRecord:
    """What one benchmark found on one machine.

    Attributes:
        name: the script, such as `training`; with `machine_kind` it names the file.
        machine_kind: `cpu`, or a short name of the GPU such as `h100`.
        title: the heading on the page.
        setting: what was measured and how, in a few sentences of Markdown.
        goal: what was aimed at, and whether it was reached.
        command: the command that measures it again.
        tables: what was measured.
        notes: what was tried and kept, or thrown out, with its figures; sentences of Markdown.
        picture: for those who would rather look than read.
        machine: the processor or GPU, cores and threads.
        versions: library to version.
        measured: the day, in UTC.
    """

    name: str
    machine_kind: str
    title: str
    setting: str
    goal: str
    command: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    picture: Picture | None = None
    machine: str = field(default_factory=describe_machine)
    versions: dict[str, str] = field(default_factory=library_versions)
    measured: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d"))

    def write(self, folder: Path = RESULTS) -> Path:
        """Write `NAME-KIND.json`, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}-{self.machine_kind}.json"
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


def read_records(folder: Path = RESULTS) -> list[BenchmarkRecord]:
    """Return all records of a folder, by file name."""
    records = []
    for path in sorted(folder.glob("*.json")):
        values = json.loads(path.read_text(encoding="utf-8"))
        values["tables"] = tuple(_read_table(table) for table in values["tables"])
        values["notes"] = tuple(values["notes"])
        if values.get("picture"):
            values["picture"] = _read_picture(values["picture"])
        records.append(BenchmarkRecord(**values))
    return records


def _read_table(values: dict[str, list[list[str]]]) -> Table:
    rows = tuple(tuple(row) for row in values["rows"])
    return Table(caption=str(values["caption"]), columns=tuple(map(str, values["columns"])), rows=rows)


def _read_picture(values: dict[str, Any]) -> Picture:
    series = []
    for item in values["series"]:
        series.append(Series(name=item["name"], at=tuple(item["at"]), values=tuple(item["values"])))
    return Picture(**values | {"series": tuple(series)})
