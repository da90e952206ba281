"""The entry point `gelora`: it finds the command, and turns every error into one message and an exit code."""

from __future__ import annotations

import sys

from gelora_cli import __version__
from gelora_cli.commands.failures import print_error, user_error
from gelora_cli.core.errors import GeloraError, StoppedError
from gelora_cli.core.registries import COMMANDS


def main(argv: list[str] | None = None) -> None:
    """Run the `gelora` command and exit with 0, 1 (a run failed), 2 (wrong input) or 130 (interrupted)."""
    from gelora_cli.commands.streams import prepare_streams

    prepare_streams()
    code = command_line(sys.argv[1:] if argv is None else argv)
    try:
        sys.stdout.flush()
    except GeloraError as error:  # standard output is full
        code = print_error(error)
    from gelora_cli.launchers.torchrun import inside_workers

    if inside_workers():
        from gelora_cli.core.processes import end_process

        end_process(code)
    sys.exit(code)


def command_line(arguments: list[str]) -> int:
    """Run one command and return its exit code; an error is one message, a traceback only with debug=true."""
    # Before a command is imported: the syntax and the libraries of other versions would fail with a traceback.
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        version = sys.version.split()[0]
        return print_error(GeloraError(f"Python {version} is not supported; take Python 3.11, 3.12 or 3.13."))
    try:
        return _dispatch(_readable(arguments))
    except KeyboardInterrupt:
        print("gelora: interrupted", file=sys.stderr)
        return StoppedError.exit_code
    except BrokenPipeError:  # whoever read the output has gone, as `head` does; that is no failure of ours
        return 0
    except Exception as error:
        if "debug=true" in arguments:  # the arguments as typed: the error may have come before they were parsed
            raise
        return print_error(user_error(error))


def _readable(arguments: list[str]) -> list[str]:
    """Return the arguments without a comment at their end, which zsh hands over.

    Raises:
        GeloraError: one holds bytes that are not UTF-8.
    """
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            escaped = argument.encode(errors="backslashreplace").decode()
            raise GeloraError(
                f"{escaped}: not UTF-8; give text in UTF-8, and rename a file whose name is not"
            ) from error
    return arguments[: arguments.index("#")] if "#" in arguments else arguments


def _dispatch(arguments: list[str]) -> int:
    """Do what the first argument says. What answers without Hydra comes first."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        from gelora_cli.commands.help import overview

        print(overview())
        return 0
    if arguments[0] == "--version":
        print(f"gelora {__version__}")
        return 0
    from gelora_cli.launchers.torchrun import drop_leftover_launcher

    drop_leftover_launcher()  # before anything imports torch or accelerate, which read these variables
    name, rest = arguments[0], arguments[1:]
    if name == "--serve-jobs":
        from gelora_cli.commands.job_actions import serve_jobs

        return serve_jobs(*rest)
    if name in ("-sc", "--shell-completion") or name.startswith("--shell-completion="):
        from gelora_cli.commands.completion import complete_words

        return complete_words(arguments)
    if name.startswith("-"):
        raise GeloraError(f"{name} stands before the command; put it behind: gelora run {name} ...")
    if name not in COMMANDS:
        from gelora_cli.core.messages import suggest

        raise GeloraError(f"{name}: unknown command; {suggest(name, COMMANDS.names())}")
    if {"-h", "--help", "--hydra-help"} & set(rest):
        from gelora_cli.commands.help import command_help

        print(command_help(COMMANDS.get(name), rest))
        return 0
    from gelora_cli.commands.dispatch import run_command

    return run_command(COMMANDS.get(name), rest)


if __name__ == "__main__":
    main()
