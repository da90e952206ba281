"""`gelora export`: a finished run as a model of its own, or its adapter alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gelora_cli.commands.base import Command, Positional, check_values, output_directory, relative
from gelora_cli.commands.terminal import labelled
from gelora_cli.config.keys import key
from gelora_cli.config.schema import DEBUG
from gelora_cli.core.registries import COMMANDS


@dataclass
class ExportCommandConfig:
    """The keys of `gelora export RUN`."""

    output: str | None = key(None, help="the directory to write", path=True, common=True)
    form: str = key(
        "merged",
        help="merged: the adapter in the model's weights, in float32; adapter: for the base model",
        choices=("merged", "adapter"),
        common=True,
    )
    debug: bool = key(False, help=DEBUG, common=True)


@COMMANDS.register
class ExportCommand(Command[ExportCommandConfig]):
    """Write what others load (see `exporting`)."""

    name = "export"
    summary = "write a run as a model or an adapter for others"
    examples = "  gelora export RUN output=exported\n  gelora export RUN output=exported form=adapter"
    keys = ExportCommandConfig
    positional = Positional("RUN")

    def handle(self, config: ExportCommandConfig, paths: list[Path], typed: str) -> None:
        """Export, and print how far the merged model's scores are from the adapter's."""
        from gelora_cli.commands.exporting import export
        from gelora_cli.core.logs import setup_logging

        check_values(config)
        target = output_directory(config.output)
        setup_logging()
        exported = export(paths[0].absolute(), target, config.form)
        what = "the merged model in float32" if exported.form == "merged" else "the adapter"
        print(labelled("exported", f"{relative(target)} ({what}; its README.md says how to load it)"))
        if exported.form == "merged":
            print(
                labelled(
                    "check",
                    f"scores differ from the adapter's by at most {exported.difference:.2g} on {exported.examples} "
                    f"examples; {exported.tolerance:.2g} is accepted",
                )
            )
        if exported.storage is not None:
            print(labelled("run", exported.storage.in_words()))
