"""MLflow: a server, or a database or folder on this machine. Only parameters, metrics and pictures; no model.

A model logged by MLflow would be pickled. The adapter stays in the run directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gelora_cli.config.keys import key
from gelora_cli.config.schema import TrackerConfig
from gelora_cli.core.registries import TRACKERS
from gelora_cli.trackers.base import DONE, FAILED, STOPPED, TrackedRun, Tracker, TrackerKind, metric_values

ID_TAG = "gelora.id"
"""The tag by which the run is found again."""
STATUS = {DONE: "FINISHED", STOPPED: "KILLED", FAILED: "FAILED"}
LONGEST_PARAMETER = 500
"""Characters of a parameter; older servers take no more."""
PARAMETERS_AT_ONCE = 100
"""The most parameters that a server takes in one request."""


@dataclass
class MlflowConfig(TrackerConfig):
    """The keys of `tracker=mlflow`."""

    tracking_uri: str | None = key(
        None, help="a server, sqlite:///FILE or a folder; null: MLFLOW_TRACKING_URI, or MLflow's own place"
    )
    experiment: str = key("gelora", help="the experiment that its runs stand in")

    def problems(self) -> Iterator[str]:
        """Yield that the address holds a password, which would be written into `config.yaml`."""
        yield from super().problems()
        if "@" in urlsplit(self.tracking_uri or "").netloc:
            yield (
                "tracker.mlflow.tracking_uri has a user or password in it, and would be written to config.yaml; leave "
                "them out and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )


class MlflowTracker(Tracker):
    """Writes to one run of an experiment, which a tag finds again."""

    def __init__(self, settings: MlflowConfig, runs: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
        from mlflow.tracking import MlflowClient

        self.settings = settings
        with _locked(runs):  # two runs that create the tables of a new database at once leave it broken
            self.client = MlflowClient(tracking_uri=settings.tracking_uri)
        self.run_id = ""
        self.step = 0

    def start(self, run: TrackedRun) -> str:
        """Begin the run, or continue the one with this id."""
        experiment = self.client.get_experiment_by_name(self.settings.experiment)
        experiment_id = experiment.experiment_id if experiment else self._create_experiment()
        existing = self.client.search_runs([experiment_id], f"tags.`{ID_TAG}` = '{run.id}'", max_results=1)
        if existing:
            self.run_id = existing[0].info.run_id
            self.client.update_run(self.run_id, status="RUNNING")
        else:
            tags = {ID_TAG: run.id, "gelora.group": run.group}
            self.run_id = self.client.create_run(experiment_id, tags=tags, run_name=run.name).info.run_id
            self._log_parameters(run.parameters)
        return f"experiment {self.settings.experiment}, run {self.run_id}, at {without_user(self.client.tracking_uri)}"

    def log(self, values: Mapping[str, Any]) -> None:
        """Write the numbers of a line at its step."""
        self.step = values["step"]
        self._log_metrics(metric_values(values))

    def picture(self, path: Path) -> None:
        """Upload a picture as an artifact."""
        self.client.log_artifact(self.run_id, str(path), "pictures")

    def end(self, state: str, result: Mapping[str, float]) -> None:
        """Write the final values, and how the run ended."""
        self._log_metrics(result)
        self.client.set_terminated(self.run_id, STATUS[state])

    def _create_experiment(self) -> str:
        """Return the id of a new experiment, or of the one that another run created meanwhile."""
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client.create_experiment(self.settings.experiment))
        except MlflowException:
            experiment = self.client.get_experiment_by_name(self.settings.experiment)
            if experiment is None:
                raise
            return str(experiment.experiment_id)

    def _log_parameters(self, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        values = [Param(name, str(value)[:LONGEST_PARAMETER]) for name, value in parameters.items()]
        for begin in range(0, len(values), PARAMETERS_AT_ONCE):
            self.client.log_batch(self.run_id, params=values[begin : begin + PARAMETERS_AT_ONCE])

    def _log_metrics(self, numbers: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)  # milliseconds
        # Names may hold letters, digits, `_-. :/` alone: a split is "train (holdout)".
        named = {name.replace("(", "").replace(")", ""): value for name, value in numbers.items()}
        self.client.log_batch(self.run_id, [Metric(name, value, now, self.step) for name, value in named.items()])


def without_user(address: str) -> str:
    """Return an address without user and password, for messages: the environment may name them."""
    return re.sub("(?<=//)[^/]*@", "", address)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a lock on a directory, where its file system has locks."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@TRACKERS.register
class Mlflow(TrackerKind[MlflowConfig]):
    """MLflow: parameters, metrics and pictures, on a server or on this machine; no model."""

    name = "mlflow"
    config_class = MlflowConfig
    library = "mlflow"

    def open(self, directory: Path, settings: MlflowConfig) -> Tracker:
        """Return a tracker that begins its run when it is told which it is."""
        return MlflowTracker(settings, directory.parents[3])
