"""Ray as the launcher sees it, in one process: tasks run when they are waited for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any


class RayError(Exception):
    pass


class TaskCancelledError(RayError):
    pass


@dataclass(eq=False)
class Reference:
    arguments: tuple[Any, ...]
    cancelled: bool = False
    result: Any = None


@dataclass
class FakeRay(ModuleType):
    """A cluster with these nodes, whose tasks give what `answer` does or raise what it raises."""

    answer: Callable[..., Any]
    nodes_: list[dict[str, Any]] = field(default_factory=lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    options_: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    inits: list[dict[str, Any]] = field(default_factory=list)
    down: bool = False

    def __post_init__(self) -> None:
        super().__init__("ray")
        self.exceptions = ModuleType("ray.exceptions")
        self.exceptions.RayError = RayError  # type: ignore[attr-defined]
        self.exceptions.TaskCancelledError = TaskCancelledError  # type: ignore[attr-defined]

    def init(self, **settings: Any) -> None:
        self.inits.append(settings)
        if settings["address"] == "nowhere:1":
            raise ConnectionError("nobody there\nat all")

    def shutdown(self) -> None:
        self.down = True

    def nodes(self) -> list[dict[str, Any]]:
        return self.nodes_

    def cluster_resources(self) -> dict[str, float]:
        total: dict[str, float] = {}
        for node in self.nodes_:
            for name, count in node["Resources"].items():
                total[name] = total.get(name, 0.0) + count
        return total

    def remote(self, function: Callable[..., Any]) -> FakeRay:
        assert function.__module__ == "gelora_cli.launchers.ray_job"  # nothing else of ours may travel
        remote: Callable[..., Reference] = self._send
        self.remote = remote  # type: ignore[assignment,method-assign]
        return self

    def options(self, **options: Any) -> FakeRay:
        self.options_.append(options)
        return self

    def _send(self, *arguments: Any) -> Reference:
        self.calls.append(arguments)
        return Reference(arguments)

    def wait(
        self, references: Sequence[Reference], *, num_returns: int, timeout: float
    ) -> tuple[list[Reference], list[Reference]]:
        last = references[-1]  # the last first, so that jobs end in another order than they were sent in
        if not last.cancelled:
            try:
                last.result = self.answer(*last.arguments)
            except RayError as error:
                last.result = error
        return [last], [*references[:-1]]

    def cancel(self, reference: Reference) -> None:
        reference.cancelled = True

    def get(self, reference: Reference) -> Any:
        if reference.cancelled:
            raise TaskCancelledError
        if isinstance(reference.result, Exception):
            raise reference.result
        return reference.result


def install(monkeypatch: Any, fake: FakeRay) -> FakeRay:
    """Let `import ray` find this."""
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake
