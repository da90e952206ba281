"""The configuration: every key declared once, with its default, what it accepts, its help and whether it counts.

A key is added by one line here, and by one in a YAML file of `configs/` where a group gives it another value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, TypeVar, Union

from gelora_cli.config.entry_section import EntrySection
from gelora_cli.config.input_schema import QUOTING, SEPARATORS, DataConfig, ModelConfig, TaskConfig
from gelora_cli.config.keys import Key, declared_keys, key, section
from gelora_cli.config.method_schema import (
    MODULES,
    LowRankConfig,
    MethodConfig,
    PlannedLoraConfig,
    PresetConfig,
    default_method,
)
from gelora_cli.config.plan_schema import LARGEST_SEED, ProfileConfig, RanksConfig
from gelora_cli.core.install import install_gelora
from gelora_cli.core.registries import COMMANDS, LAUNCHERS, TRACKERS
from gelora_cli.core.registry import Registry

JSON_LINES = "json_lines"
"""The tracker that every training has."""
FORCE_OUTPUT = "replace an output file that gelora did not write, or that was changed since"
DEBUG = "show tracebacks"
PLUGINS = "your own methods, tasks, ...: a folder or an installed package, whose Python files are part of the identity"

DEFAULT_MODULES, DEFAULT_SCALING = "attention", 32.0
"""What is adapted and `alpha / r`, where neither the configuration nor its preset says so."""


def optional_trackers() -> tuple[str, ...]:
    """Return the names of the trackers that a user can add; JSON lines are always written."""
    return tuple(name for name in TRACKERS.names() if name != JSON_LINES)


@dataclass
class TrainConfig:
    """Fine-tuning; what is None comes from the task's preset."""

    epochs: int | None = key(None, help="passes over the training rows; null: the preset's", low=1, common=True)
    max_steps: int | None = key(None, help="end after so many optimizer steps, in whatever epoch", low=1)
    patience: int | None = key(
        None,
        help="end after so many epochs in a row without a better one (protocol dev or split); null: train all epochs",
        low=1,
        absent=(None,),
    )
    batch_size: int | None = key(
        None, help="the global batch, the same for any number of processes; null: the preset's", low=1, common=True
    )
    micro_batch_size: int | None = key(
        None, help="examples per process at once; null: the whole share, no accumulation", low=1
    )
    learning_rate: float | None = key(None, help="the largest learning rate; null: the preset's", above=0, common=True)
    warmup_ratio: float = key(0.06, help="share of the optimizer steps in which the rate rises", low=0, high=1)
    weight_decay: float = key(0.0, help="of weights; biases and norms have none", low=0)
    max_grad_norm: float = key(1.0, help="longer gradients are cut to this norm", above=0)
    label_smoothing: float = key(
        0.0, help="share of a label that is spread evenly over all labels", low=0, high=0.99, absent=(0.0,)
    )
    fast: bool = key(
        False, help="steps in fewer kernels, with other roundings and draws of dropout, for plain LoRA", absent=(False,)
    )
    gradient_checkpointing: bool = key(
        False, help="compute every block again on the way back: less memory, more time, equal numbers", identity=False
    )
    packing: bool = key(
        False,
        help="short examples one behind the other in place of padding, not seeing each other (generation)",
        absent=(False,),
    )
    eval_batch_size: int = key(64, help="examples per batch of an evaluation", low=1)
    log_steps: int = key(20, help="a line of the log every so many optimizer steps", low=1, identity=False)
    checkpoint_steps: int | None = key(
        None, help="a checkpoint every so many optimizer steps; null: by the clock alone", low=1, identity=False
    )
    checkpoint_seconds: float | None = key(
        300.0, help="and every so many seconds; both null: none", low=0, identity=False
    )


@dataclass
class WorkersConfig:
    """How many worker processes share the work."""

    processes: int = key(
        1, help="worker processes, one per GPU, or sharing the CPU's cores", low=1, identity=False, common=True
    )


@dataclass
class LaunchConfig(WorkersConfig, EntrySection):
    """Where the work runs: the worker processes of one run, and what runs the jobs of a sweep.

    A launcher with keys of its own declares them in a subclass, which its `config_class` names.
    """

    registry: ClassVar[Registry[Any]] = LAUNCHERS
    choice: ClassVar[str] = "launcher"
    changes_numbers: ClassVar[bool] = False

    launcher: str = key(
        "local",
        help="of a sweep (-m): local gives each job a process here, in_place runs all in one; slurm, ray: a cluster",
        choices=LAUNCHERS.names,
        identity=False,
    )
    parallel: int | None = key(
        None,
        help="jobs of a sweep (-m) side by side; null: one, or as many as there are GPUs for with gpus_per_run",
        low=1,
        identity=False,
    )
    gpus_per_run: float | None = key(
        None,
        help="GPUs of each job of a sweep (-m); 0.5: two jobs share one; null: an even share",
        above=0,
        identity=False,
    )


@dataclass
class TrackerConfig(EntrySection):
    """What every tracker has. A tracker with keys of its own declares them in a subclass: its `config_class`.

    None of the keys takes a secret: `config.yaml` holds them.
    """

    registry: ClassVar[Registry[Any]] = TRACKERS
    changes_numbers: ClassVar[bool] = False

    name: str = key("", help="which tracker it is", identity=False, internal=True)
    wait_seconds: float = key(
        30.0, help="how long the end of a run waits for this tracker at most", low=0, identity=False
    )

    def problems(self) -> Iterator[str]:
        """Yield that the library of the tracker is not installed, with the command that installs it."""
        library = TRACKERS.get(self.name).library if self.name in TRACKERS else ""
        spec = find_spec(library) if library else None
        if library and (spec is None or spec.origin is None):  # no origin: a folder of that name, such as ./wandb/
            yield f"tracker={self.name} needs the package {library}: {install_gelora(self.name)}"


@dataclass
class RunConfig:
    """The whole configuration of a run.

    `init_from` is an earlier run's directory, whose adapter is merged into the base and so is in the fingerprint of
    the model; `preset_source` says where completed training settings come from.
    """

    task: TaskConfig = section(TaskConfig, help="what is learned from which rows")
    model: ModelConfig = section(ModelConfig, help="the pretrained model")
    method: MethodConfig = section(
        MethodConfig, help="how it is fine-tuned, and which rank each block gets", default=default_method
    )
    profile: ProfileConfig = section(ProfileConfig, help="how the idim of the layers is measured")
    ranks: RanksConfig = section(RanksConfig, help="how a profile and a budget become ranks")
    train: TrainConfig = section(TrainConfig, help="fine-tuning")
    launch: LaunchConfig = section(LaunchConfig, help="worker processes, and where the jobs of a sweep run")
    data: DataConfig = section(DataConfig, help="where the data is")
    trackers: list[str] = key(
        [],
        help="where metrics go beside metrics.jsonl; tracker=NAME is the same",
        choices=optional_trackers,
        identity=False,
        common=True,
    )
    tracker: dict[str, TrackerConfig] = key({}, help="name of a tracker to its own keys", identity=False, internal=True)
    budget: Union[int, float, str] = key(  # noqa: UP007 - OmegaConf reads this form
        "auto",
        help="trainable parameters: 0.3M, 300000, 3e5, 0.16% (of the backbone), rank:4 (as uniform rank 4), auto",
        common=True,
    )
    seed: int = key(
        0, help="random seed of heads, adapters, batches and drawn rows", low=0, high=LARGEST_SEED, common=True
    )
    precision: str = key(
        "auto",
        help="auto: bf16 autocast where the hardware has it, else float32",
        choices=("auto", "float32", "bf16"),
        common=True,
    )
    protocol: str = key(
        "last",
        help="the reported weights: the last epoch's, the best on the dev set, or the best on rows not reported",
        choices=("last", "dev", "split"),
        common=True,
    )
    init_from: str | None = key(
        None,
        help="an earlier run to start from: its adapter is merged into the base model",
        path=True,
        identity=False,
        common=True,
    )
    plugins: str | None = key(None, help=PLUGINS, path=True, identity=False, common=True)
    runs_dir: str = key("runs", help="the directory of all runs", path=True, identity=False, common=True)
    archives: list[str] = key(
        [], help="archives of gelora pack, whose runs count as done: [FILE,...]", identity=False, common=True
    )
    force: bool = key(False, help="run it again although it is finished", identity=False, common=True)
    smoke: bool = key(
        False, help="a short trial on few rows, marked as no result wherever it shows", absent=(False,), common=True
    )
    dry_run: bool = key(
        False, help="check everything, show parameters, memory and time, write nothing", identity=False, common=True
    )
    debug: bool = key(False, help=DEBUG, identity=False, common=True)
    tuned_presets: str | None = key(
        None, help="the folder of tuned presets of --config-dir", path=True, identity=False, internal=True
    )
    keys_given: list[str] = key(
        [], help="the keys that the user gave, which no tuned preset sets", identity=False, internal=True
    )
    preset_source: str = key("", help="where the training settings come from", identity=False, internal=True)
    preset_trials: int | None = key(
        None,
        help="how many trials are behind the training settings; null: unknown, or given by hand",
        identity=False,
        internal=True,
    )


RunKeys = TypeVar("RunKeys", bound=RunConfig)
"""The keys of a run, with those that a command adds to them."""


def command_keys(command: str) -> type:
    """Return the dataclass that declares the keys of a command; it lies in the command's own file."""
    return COMMANDS.get(command).keys


def takes_run_keys(command: str) -> bool:
    """Return whether a command takes the keys of a run, alone or with keys of its own."""
    return issubclass(command_keys(command), RunConfig)


def tracker_keys() -> tuple[Key, ...]:
    """Return the keys of all trackers that a user can add, as `tracker.NAME.KEY`."""
    keys: list[Key] = []
    for name in optional_trackers():
        keys += declared_keys(TrackerConfig.class_of(name), prefix=f"tracker.{name}.")
    return tuple(entry for entry in keys if not entry.declared.internal)


__all__ = [
    "DEBUG",
    "DEFAULT_MODULES",
    "DEFAULT_SCALING",
    "FORCE_OUTPUT",
    "JSON_LINES",
    "LARGEST_SEED",
    "MODULES",
    "PLUGINS",
    "QUOTING",
    "SEPARATORS",
    "DataConfig",
    "LaunchConfig",
    "LowRankConfig",
    "MethodConfig",
    "ModelConfig",
    "PlannedLoraConfig",
    "PresetConfig",
    "ProfileConfig",
    "RanksConfig",
    "RunConfig",
    "RunKeys",
    "TaskConfig",
    "TrackerConfig",
    "TrainConfig",
    "WorkersConfig",
    "command_keys",
    "optional_trackers",
    "takes_run_keys",
    "tracker_keys",
]
