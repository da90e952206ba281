"""TensorBoard: event files in the run directory, so that `tensorboard --logdir runs` shows every run by its path."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gelora_cli.config.schema import TrackerConfig
from gelora_cli.core.registries import TRACKERS
from gelora_cli.trackers.base import DONE, TrackedRun, Tracker, TrackerKind, metric_values

PNG_SIZE = slice(16, 24)
"""Where a PNG file has its width and height, as two big-endian integers."""


class TensorBoardTracker(Tracker):
    """Writes scalars, pictures, parameters and the final values with the writer of TensorBoard itself, without torch.

    A resumed run has a further event file in the same directory, whose steps go on.
    """

    def __init__(self, directory: Path, runs_dir: str) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer, self.runs_dir = EventFileWriter(str(directory)), runs_dir
        self.step = 0

    def start(self, run: TrackedRun) -> str:
        """Write the parameters for the tabs HPARAMS and TEXT."""
        if not run.resumed:
            from tensorboard.plugins.hparams.summary_v2 import hparams_pb

            simple = {name: value for name, value in run.parameters.items() if isinstance(value, str | int | float)}
            self._write(hparams_pb(simple, trial_id=run.id))
            rows = "".join(f"| {name} | {json.dumps(value)} |\n" for name, value in run.parameters.items())
            self._write_text("parameters", f"| parameter | value |\n|---|---|\n{rows}")
        return f"tensorboard --logdir {self.runs_dir}"

    def log(self, values: Mapping[str, Any]) -> None:
        """Write the numbers of a line as scalars at its step."""
        self.step = values["step"]
        self._write_scalars(metric_values(values))

    def picture(self, path: Path) -> None:
        """Write a picture as the PNG that it is."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        content = path.read_bytes()
        width, height = struct.unpack(">II", content[PNG_SIZE])
        image = Summary.Image(encoded_image_string=content, width=width, height=height)
        self._write(Summary(value=[Summary.Value(tag=f"pictures/{path.stem}", image=image)]))

    def end(self, state: str, result: Mapping[str, float]) -> None:
        """Write the final values, and the end of the session for the tab HPARAMS."""
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        self._write_scalars(result)
        status = api_pb2.STATUS_SUCCESS if state == DONE else api_pb2.STATUS_FAILURE
        info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        content = plugin_data_pb2.HParamsPluginData(session_end_info=info, version=metadata.PLUGIN_DATA_VERSION)
        plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=content.SerializeToString())
        value = Summary.Value(
            tag=metadata.SESSION_END_INFO_TAG,
            metadata=SummaryMetadata(plugin_data=plugin),
            tensor=metadata.NULL_TENSOR,
        )
        self._write(Summary(value=[value]))

    def close(self) -> None:
        """Write what the writer holds, and end its thread."""
        self.writer.close()

    def _write_scalars(self, numbers: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write(Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]))

    def _write_text(self, tag: str, text: str) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.plugins.text.metadata import create_summary_metadata

        tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()])
        metadata = create_summary_metadata(display_name=tag, description="")
        self._write(Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)]))

    def _write(self, summary: Any) -> None:
        """Write a summary at the current step, to the disk at once: the process may be killed."""
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=time.time(), step=self.step, summary=summary))
        self.writer.flush()


@TRACKERS.register
class TensorBoard(TrackerKind[TrackerConfig]):
    """Event files in the run directory: `tensorboard --logdir runs`."""

    name = "tensorboard"
    library = "tensorboard"

    def open(self, directory: Path, settings: TrackerConfig) -> Tracker:
        """Return a writer of a new event file."""
        return TensorBoardTracker(directory, str(directory.parents[3]))
