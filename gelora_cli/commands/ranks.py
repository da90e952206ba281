"""`gelora ranks`: a plan for a budget from a saved profile, or several plans side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Union

from gelora_cli.allocation.trainer_patterns import FORMATS, PatternFormat
from gelora_cli.commands.base import Command, Positional, check_values, user_path
from gelora_cli.commands.terminal import labelled, wrapped
from gelora_cli.config.keys import key, section
from gelora_cli.config.schema import (
    DEBUG,
    DEFAULT_MODULES,
    FORCE_OUTPUT,
    LARGEST_SEED,
    PLUGINS,
    MethodConfig,
    RanksConfig,
)
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS

if TYPE_CHECKING:
    from gelora_cli.allocation.base import SignalArtifact
    from gelora_cli.core.artifacts.plan import RankPlan


@dataclass
class RanksCommandConfig:
    """The keys of `gelora ranks PATH`."""

    method: MethodConfig = section(MethodConfig, help="which rank each block gets")
    ranks: RanksConfig = section(RanksConfig, help="how a profile and a budget become ranks")
    budget: Union[int, float, str] = key(  # noqa: UP007
        "auto",
        help="trainable parameters: 0.3M, 300000, 3e5, 0.16% (of the backbone), rank:4 (as uniform rank 4), auto",
        common=True,
    )
    seed: int = key(0, help="random seed of the controls shuffled and random", low=0, high=LARGEST_SEED, common=True)
    allocators: list[str] = key(
        [],
        help="methods whose plans are shown side by side from saved signals, gelora,fisher; all: every one that can be",
        choices=lambda: ("all", *_planned_methods()),
        common=True,
    )
    choices: bool = key(
        False,
        help="show the plan under each measured choice side by side: sample, scale, and whatever profiles differ in",
        common=True,
    )
    plugins: str | None = key(None, help=PLUGINS, path=True, common=True)
    output: str | None = key(
        None, help="file to write the ranks to, in the form that format= names", path=True, common=True
    )
    format: str = key(
        "peft",
        help="whom output is for: peft is JSON for LoraConfig, axolotl YAML with its keys, trl Python with peft_config",
        choices=lambda: tuple(FORMATS),
        common=True,
    )
    force: bool = key(False, help=FORCE_OUTPUT, common=True)
    debug: bool = key(False, help=DEBUG, common=True)


@COMMANDS.register
class Ranks(Command[RanksCommandConfig]):
    """Plan ranks, show them, and write them for PEFT or another trainer where `output` names a file."""

    name = "ranks"
    summary = "plan ranks for a budget from a saved profile, or compare several plans"
    examples = """  gelora ranks runs/cola/minilm/gelora/b0.05M-s0-1a2b3c4d budget=0.1M
  gelora ranks profile.json budget=rank:8 output=rank_pattern.json
  gelora ranks profile.json budget=rank:8 format=axolotl output=ranks.yaml   # or format=trl output=ranks.py
  gelora ranks PROFILE PROFILE choices=true budget=rank:8       # what pooling, sample or scale would change
  gelora ranks DIR allocators=gelora,lora budget=rank:8         # plans of several methods side by side"""
    keys = RanksCommandConfig
    groups: ClassVar[Mapping[str, str]] = {"method": "gelora"}
    shown_keys = ("ranks.rule", "ranks.on_deficit", "ranks.granularity", "ranks.when_unstable")
    positional = Positional("PATH", many=True)

    def with_defaults(self, config: RanksCommandConfig) -> RanksCommandConfig:
        """Return the configuration with the modules and the scaling that a plan takes where none are given."""
        from gelora_cli.config.presets import with_scaling

        method = replace(config.method, modules=config.method.modules or DEFAULT_MODULES)
        return replace(config, method=with_scaling(method, None))

    def handle(self, config: RanksCommandConfig, paths: list[Path], typed: str) -> None:
        """Plan, write, and print the plan."""
        from gelora_cli.allocation.formatting import format_plan
        from gelora_cli.allocation.planning import plan_method
        from gelora_cli.commands.compared_ranks import choices_text, methods_text
        from gelora_cli.commands.outputs import check_output
        from gelora_cli.commands.saved_profiles import check_path
        from gelora_cli.config.presets import plan_settings
        from gelora_cli.core.budget import parse_budget
        from gelora_cli.core.registries import METHODS

        check_values(config)
        _check_mode(config, paths)
        form = FORMATS[config.format]
        for position, target in enumerate(_output_files(config.output)):  # all files before any is written
            endings = () if position else form.suffixes  # the plan beside it is JSON in any format
            check_output(target, force=config.force, endings=endings, kinds=f"{form.kind} (format={config.format})")
        for path in paths:
            check_path(path)
        if config.choices or config.allocators:
            print(choices_text(config, paths) if config.choices else methods_text(config, paths))
            return
        budget = parse_budget(config.budget)
        signals = _read_signals(METHODS.get(config.method.name).signals(budget), paths[0])
        model_map = next(iter(signals.values())).model_map
        plan = plan_method(model_map, signals, budget, **plan_settings(config))
        written_files = _write_plan(plan, model_map.kind, config)
        # Printed after the files are written, which must not depend on whoever reads this.
        print("\n".join([*map(wrapped, format_plan(plan).splitlines()), written_files]))


def _planned_methods() -> tuple[str, ...]:
    """Return the methods whose ranks an allocator gives."""
    from gelora_cli.allocation.ranks import planned_methods

    return planned_methods()


def _check_mode(config: RanksCommandConfig, paths: Sequence[Path]) -> None:
    """Refuse what does not go together: both comparisons, an output of several plans, several paths of one plan.

    Raises:
        GeloraError: with what to leave out.
    """
    if config.choices and config.allocators:
        raise GeloraError("choices=true and allocators=... are two comparisons; give one of them")
    if config.output is not None and (config.choices or config.allocators):
        raise GeloraError("output=FILE holds one plan: leave choices and allocators out, and give method=NAME")
    if config.format != "peft" and (config.choices or config.allocators):
        raise GeloraError(f"format={config.format} is of output=FILE, which holds one plan: leave the comparison out")
    if len(paths) > 1 and not (config.choices or config.allocators):
        raise GeloraError(
            f"one plan has one PATH, {len(paths)} are given; choices=true compares several profiles, "
            "allocators=NAME,NAME the plans of several methods"
        )


def _read_signals(names: tuple[str, ...], path: Path) -> dict[str, SignalArtifact]:
    """Return the signals of a plan; of one that reads none any, since each holds the model's blocks."""
    from gelora_cli.allocation.base import IDIM
    from gelora_cli.signals.saved import read_signals, saved_signals

    if names or not path.is_dir():
        return read_signals(names or (IDIM,), path)
    return saved_signals([path])


def _write_plan(plan: RankPlan, kind: str, config: RanksCommandConfig) -> str:
    """Write a plan of a kind of model where `output` asks for it, and return lines that say what was written."""
    from gelora_cli.allocation.ranks import planned_methods
    from gelora_cli.commands.outputs import write_output
    from gelora_cli.core.codec import to_json
    from gelora_cli.core.registries import VARIANTS

    if plan.method not in planned_methods():
        return wrapped(f"method={plan.method} has no rank_pattern before it is run, so nothing was written")
    form = FORMATS[config.format]
    if config.output is None:
        file = f"output=FILE{form.suffixes[0]}"
        return wrapped(f"nothing was written; {file} writes these ranks for {form.trainer} and for gelora train")
    text = form.text(plan)  # before any file is written: a trainer may not take this plan
    pattern, *plan_files = _output_files(config.output)
    for target in plan_files:
        write_output(target, to_json(plan), force=config.force)
    write_output(pattern, text, force=config.force)
    lines = [labelled(form.label, f"{pattern}, {form.usage}"), *_kind_warnings(form, kind)]
    if start := VARIANTS.get(plan.variant).own_start:
        warning = (
            f"variant={plan.variant} starts {start}, as gelora train does; with this file alone PEFT trains plain LoRA"
        )
        lines.append(f"warning: {warning}")
    if plan_files:
        # Only PEFT's pattern is read again, and compared with the plan beside it.
        source = pattern if config.format == "peft" else plan_files[0]
        lines.append(labelled("to train", f"gelora train ... ranks.path={source} (whole plan: {plan_files[0].name})"))
    return "\n".join([*lines, *_serving_lines(plan, kind)])


def _serving_lines(plan: RankPlan, kind: str) -> list[str]:
    """Return what to know where ranks that differ are served, or trained by others, for a kind of model."""
    from gelora_cli.allocation.serving import PATTERN_LOST, describe_vllm_rank, serving_warnings

    ranks = plan.rank_pattern.values()
    largest = plan.rank_factor * max(ranks)  # of the adapter that `gelora train` saves
    lines = [labelled("to serve", f"the largest rank is {largest}; {describe_vllm_rank(largest)}")]
    lines += [f"warning: {text}" for text in serving_warnings(plan)]
    if len(set(ranks)) > 1 and not _is_encoder(kind):  # those that lose the pattern train decoders
        lines.append(f"warning: {PATTERN_LOST}")
    return lines


def _kind_warnings(form: PatternFormat, kind: str) -> list[str]:
    """Return that the plan is one of an encoder, and its trainer one of decoders."""
    if not form.decoders_only or not _is_encoder(kind):
        return []
    text = f"{kind} is an encoder, and {form.trainer} trains causal language models; format=peft is for encoders"
    return [f"warning: {text}"]


def _is_encoder(kind: str) -> bool:
    """Return whether a kind of model is known to be no decoder."""
    from gelora_cli.core.registries import MODEL_KINDS

    return kind in MODEL_KINDS and not MODEL_KINDS.get(kind).is_decoder


def _output_files(output: str | None) -> list[Path]:
    """Return the files of a pattern: itself, and the plan beside it unless it is a pipe or a device."""
    from gelora_cli.allocation.peft_pattern import plan_beside

    if not output:
        return []
    pattern = user_path(output)
    return [pattern] if pattern.exists() and not pattern.is_file() else [pattern, plan_beside(pattern)]
