"""The commands. Heavy imports stay inside each, so that help, `ls` and `ranks` start at once."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli import __version__
from gelora_cli.core.artifacts import Estimate
from gelora_cli.core.errors import GeloraError, RunError, StoppedError
from gelora_cli.core.messages import visible

if TYPE_CHECKING:
    from gelora_cli.config.overrides import Arguments
    from gelora_cli.config.schema import RunConfig
    from gelora_cli.data.sources import Split
    from gelora_cli.launchers.jobs import JobServer, Outcome

COMMANDS = {
    "run": "profile, assign ranks, fine-tune, evaluate: all stages",
    "profile": "stage 1: measure the intrinsic dimension of every layer",
    "ranks": "stage 2: plan ranks for a budget from a saved profile (no torch)",
    "train": "stages 2 and 3 from a saved profile or plan",
    "evaluate": "score a finished run's adapter again",
    "predict": "label or answer a split, a file or standard input with a finished run",
    "export": "a finished run as a model that transformers loads by itself, or its adapter alone",
    "submit": "a submission to the GLUE benchmark from finished runs",
    "ls": "list runs, their status and value",
    "report": "runs as one page, tables, tests of their differences and pictures (no torch)",
    "fetch": "copy model, tokenizer and data with their revisions to a directory for offline machines",
    "doctor": "look at versions, devices, tokenizers, places and the hub; each finding with its fix",
}

EXAMPLES = {
    "run": """  gelora run experiment=demo
  gelora run task=cola budget=0.3M
  gelora run task=cola model=minilm data.glue=DIR budget=0.05M launch.processes=2
  gelora run task=text data.text=reviews.csv 'task.columns=[review]' task.label=sentiment model=minilm budget=0.1M
  gelora run -m task=cola,rte budget=0.1M,0.3M seed=0,1,2
  gelora run task=rte init_from=RUN                     # start from the adapter of RUN, merged into the base""",
    "profile": """  gelora profile task=sst2 model=minilm data.glue=DIR
  gelora profile task=text data.text=lines.txt model.path=DIR     # a text a line, no labels""",
    "ranks": """  gelora ranks runs/cola/minilm/gelora/b0.05M-s0-1a2b3c4d budget=0.1M
  gelora ranks profile.json budget=rank:8 output=rank_pattern.json""",
    "train": """  gelora train task=cola model=minilm data.glue=DIR budget=0.1M
  gelora train task=cola model=minilm data.glue=DIR ranks.path=RUN seed=1""",
    "evaluate": "  gelora evaluate RUN\n  gelora evaluate RUN launch.processes=2 output=results.json",
    "predict": """  gelora predict RUN split=test output=predictions.csv
  gelora predict RUN file=sentences.txt
  echo 'The cats sleeps.' | gelora predict RUN
  gelora predict RUN file=questions.json                # in the format of SQuAD
  gelora predict RUN 'question="Who wrote it?"' 'context="It was written by Ada Lovelace."'""",
    "export": "  gelora export RUN output=exported\n  gelora export RUN output=exported form=adapter",
    "submit": """  gelora submit runs output=submission
  gelora submit runs/cola runs/mnli output=submission choose=best fill_missing=true data.glue=DIR""",
    "ls": """  gelora ls
  gelora ls runs/cola --json
  gelora ls verify=true                                 # compare every file with its sha256, as report does""",
    "report": """  gelora report runs
  gelora report runs/cola runs/sst2 output=compared 'title="CoLA and SST-2"'
  gelora report runs mix_protocols=true published=published.csv""",
    "fetch": "  gelora fetch offline task=cola model=deberta_v3_base",
    "doctor": "  gelora doctor\n  gelora doctor runs_dir=/scratch/runs",
}
UNCHECKED = ("method", "budget", "seed", "train", "profile", "ranks", "preset_source")
"""What model and data of a run don't depend on."""
LAUNCHED = ("run", "profile", "train", "evaluate")
SWEPT = ("run", "profile", "train")
POSITIONAL = {
    "ranks": "PATH",
    "evaluate": "RUN",
    "predict": "RUN",
    "export": "RUN",
    "submit": "DIR...",
    "ls": "DIR",
    "report": "DIR...",
    "fetch": "DIR",
}
COMPLETION = 'shell completion:  eval "$(gelora -sc install=bash)"   (also zsh, fish)'


LONGEST_WORD = 200
"""Of a message: a longer name or number is shown by its two ends."""


def main(argv: list[str] | None = None) -> None:
    """Run the `gelora` command and exit with 0, 1 (a run failed), 2 (wrong input) or 130 (interrupted)."""
    from gelora_cli.commands.streams import prepare_streams

    prepare_streams()
    code = command_line(sys.argv[1:] if argv is None else argv)
    try:
        sys.stdout.flush()
    except GeloraError as error:  # standard output is full
        code = _say(error)
    sys.exit(code)


def command_line(arguments: list[str]) -> int:
    """Run one command and return its exit code; an error is one message, a traceback only with debug=true."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return _say(GeloraError(f"Python {sys.version.split()[0]} is not supported; take Python 3.11, 3.12 or 3.13."))
    try:
        return _dispatch(_readable(arguments))
    except KeyboardInterrupt:
        print("gelora: interrupted", file=sys.stderr)
        return StoppedError.exit_code
    except BrokenPipeError:  # whoever read the output has gone
        return 0
    except Exception as error:
        if "debug=true" in arguments:
            raise
        return _say(_message_of(error))


def _readable(arguments: list[str]) -> list[str]:
    """Return the arguments without a comment at their end, which zsh hands over.

    Raises:
        GeloraError: one holds bytes that are not UTF-8.
    """
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            shown = argument.encode(errors="backslashreplace").decode()
            raise GeloraError(f"{shown}: not UTF-8; give text in UTF-8, and rename a file whose name is not") from error
    return arguments[: arguments.index("#")] if "#" in arguments else arguments


def _message_of(error: Exception) -> GeloraError:
    """Return an error as a message for the user: a package that is missing, a path that can't be used, or our fault."""
    from gelora_cli.core.install import install_gelora, install_package
    from gelora_cli.core.runtime import first_line

    if isinstance(error, GeloraError):
        return error
    name = (getattr(error, "name", None) or "").split(".")[0]
    if isinstance(error, ModuleNotFoundError) and name not in ("", "gelora_cli"):
        return GeloraError(
            f"the package {name} is missing: {install_package(name)}, or all that gelora needs: {install_gelora()}"
        )
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return GeloraError(f"{error.strerror}: raise the limit of open files (ulimit -n), or close what holds them")
    if isinstance(error, OSError) and error.filename is not None:
        return GeloraError(f"{_shown_path(error.filename)}: {error.strerror}; give another path, or change that one")
    return RunError(
        f"unexpected {type(error).__name__}: {first_line(error)}. The same command with debug=true shows where it "
        "comes from; please report it as a fault of gelora."
    )


def _shown_path(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else str(path)


def _say(error: GeloraError) -> int:
    """Print an error's message and return its exit code."""
    where = f" (run directory: {error.directory})" if error.directory and error.directory not in str(error) else ""
    print(visible(_shortened(f"gelora: {error}{where}")), file=sys.stderr)
    return error.exit_code


def _shortened(message: str) -> str:
    """Return a message in which names and numbers that fill several lines are shown by their two ends."""

    def ends(word: re.Match[str]) -> str:
        return f"{word[0][:60]}...{word[0][-40:]}"

    return re.sub(rf"\S{{{LONGEST_WORD},}}", ends, message)


def _dispatch(arguments: list[str]) -> int:
    from gelora_cli.core.messages import nearest
    from gelora_cli.launchers.workers import drop_leftover_launcher

    drop_leftover_launcher()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] == "--serve-jobs":
        return _serve_jobs(*arguments[1:])
    if arguments[0] == "--version":
        print(f"gelora {__version__}")
        return 0
    if arguments[0] in ("-sc", "--shell-completion") or arguments[0].startswith("--shell-completion="):
        return _complete(arguments)
    command, rest = arguments[0], arguments[1:]
    if command.startswith("-"):
        raise GeloraError(f"{command} stands before the command; put it behind: gelora run {command} ...")
    if command not in COMMANDS:
        raise GeloraError(f"{command}: unknown command; {nearest(command, COMMANDS)}")
    if {"-h", "--help", "--hydra-help"} & set(rest):
        print(command_help(command, rest))
        return 0
    return _hydra_command(command, rest)


def overview() -> str:
    """`gelora --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "gelora: which LoRA rank should each transformer block get?",
            "",
            "usage: gelora COMMAND [OVERRIDES]   everything behind the command is a Hydra override, key=value",
            "",
            "commands:",
            *lines,
            "",
            "examples:",
            EXAMPLES["run"],
            "",
            "gelora COMMAND --help shows a command's keys; --cfg job its composed configuration; -m sweeps.",
            COMPLETION,
        ]
    )


def command_help(command: str, given: Iterable[str] = ()) -> str:
    """Return the text of `gelora COMMAND --help`; groups among the overrides beside it decide the defaults shown."""
    from gelora_cli.config.help import key_lines

    words = list(given)
    usage = f"usage: gelora {command} {POSITIONAL.get(command, '')} [OVERRIDES]".replace("  ", " ")
    parts = [f"gelora {command}: {COMMANDS[command]}", "", usage, "", "examples:", EXAMPLES[command], ""]
    width = shutil.get_terminal_size((100, 24)).columns
    parts += key_lines(_config_name(command), words, everything="all" in words, width=width)
    sweep = "  -m (multirun)" if command in SWEPT else ""
    return "\n".join(
        [*parts, "", f"flags: --cfg job [--resolve]{sweep}  --config-dir DIR (your own groups)  --help [all]"]
    )


def _config_name(command: str) -> str:
    return "run" if command in ("run", "profile", "train", "fetch") else command


def _hydra_command(command: str, arguments: list[str]) -> int:
    """Check the overrides, then let Hydra compose and call the command, once or for every job of a sweep."""
    from gelora_cli.config.overrides import split_arguments

    try:
        Path.cwd()
    except OSError as error:
        raise GeloraError("the working directory is gone or can't be read; change to another one: cd DIR") from error
    words = [command, *arguments]
    if command == "ls":
        arguments = ["json=true" if argument == "--json" else argument for argument in arguments]
    given = split_arguments(arguments)
    if given.multirun and command not in SWEPT:
        raise GeloraError(f"gelora {command} takes no -m; those that sweep: {', '.join(SWEPT)}")
    paths = _positional(command, [text for text in given.words if _is_positional(text)])
    name = _config_name(command)
    overrides = _checked_overrides(name, given, [text for text in given.words if not _is_positional(text)])
    launcher = any(text.startswith("hydra/launcher=") for text in overrides)
    if given.multirun and not launcher:
        return _sweep(command, name, given.flags, overrides, words)
    codes: list[int] = []

    def job(config: Any) -> None:
        codes.append(_do(command, config, paths, words).code)

    _compose(name, given.flags, overrides, job, elsewhere=launcher)
    return max(codes, default=0)


def _sweep(command: str, name: str, flags: list[str], overrides: list[str], words: list[str]) -> int:
    """Resolve every job before the first starts; then do each in a process of its own, and end with one table.

    Raises:
        GeloraError: what is wrong with any of them.
    """
    from gelora_cli.launchers.jobs import JobServer
    from gelora_cli.launchers.workers import inside_workers

    if inside_workers():
        raise GeloraError("-m starts processes itself: give launch.processes=N and leave the launcher (torchrun) out")
    jobs = _resolved_jobs(name, flags, overrides)
    outcomes: list[Outcome] = []
    with JobServer() as server:
        _check_jobs(server, command, jobs)
        with contextlib.suppress(StoppedError):  # a signal before a job had begun
            for number, (label, config) in enumerate(jobs, start=1):
                if server.stopped:
                    break
                print(visible(f"gelora: job {number} of {len(jobs)}: {label}"), file=sys.stderr, flush=True)
                outcomes.append(server.run(command, config, words))
    return _report_sweep([label for label, _ in jobs], outcomes)


def _resolved_jobs(name: str, flags: list[str], overrides: list[str]) -> list[tuple[str, RunConfig]]:
    """Every job's label, the overrides in which they differ, and its completed configuration.

    Raises:
        GeloraError: what is wrong with the values of any.
    """
    from hydra.core.hydra_config import HydraConfig

    from gelora_cli.config.checks import list_problems, value_problems
    from gelora_cli.config.complete import complete
    from gelora_cli.config.overrides import composed_config, restore_text

    given: list[list[str]] = []
    composed: list[Any] = []

    def collect(config: Any) -> None:
        given.append([restore_text(word) for word in HydraConfig.get().overrides.task])
        composed.append(config)

    with tempfile.TemporaryDirectory() as place:  # for what Hydra itself writes of a sweep
        _compose(name, flags, [*overrides, f"hydra.sweep.dir={place}"], collect)
    configs = [composed_config(config) for config in composed]
    common = set(given[0]).intersection(*given[1:]) if len(given) > 1 else set()
    labels = [" ".join(word for word in words if word not in common) for words in given]
    jobs = list(zip(labels, configs, strict=True))
    problems = [f"{label}: {problem}" for label, config in jobs for problem in value_problems(config)]
    if problems:
        raise GeloraError(list_problems(problems))
    return [(label, complete(config)) for label, config in jobs]


def _check_jobs(server: JobServer, command: str, jobs: list[tuple[str, RunConfig]]) -> None:
    """Look for the model and read the data of every job, once for those that share them.

    Raises:
        GeloraError: what is wrong with any, under the first job that has it.
    """
    from gelora_cli.config.checks import list_problems

    alike: dict[str, list[tuple[str, RunConfig]]] = {}
    for label, config in jobs:
        parts = [getattr(config, field.name) for field in fields(config) if field.name not in UNCHECKED]
        alike.setdefault(repr(parts), []).append((label, config))
    found = server.check(command, [group[0][1] for group in alike.values()])
    problems = []
    for group, problem in zip(alike.values(), found, strict=False):
        others = f" (and {len(group) - 1} more)" if len(group) > 1 else ""
        problems += [f"{group[0][0]}{others}: {problem}"] if problem else []
    if problems:
        raise GeloraError(f"{list_problems(problems)}\nNo job was started.")


def _report_sweep(labels: list[str], outcomes: list[Outcome]) -> int:
    """The grid of what is done as one table, then a row per job with what happened to it; and the exit code."""
    from gelora_cli.report.grid import grid_table
    from gelora_cli.report.listing import Job, list_jobs

    table = grid_table([Path(found.directory) for found in outcomes if found.directory and not found.code])
    print(f"\n{table}" if table else "", end="\n" if table else "")
    _report_costs([Estimate(**found.cost) for found in outcomes if found.cost])
    rows = [
        Job(label, found.state, found.value, found.seconds, _where(found))
        for label, found in zip(labels, outcomes, strict=False)
    ]
    rows += [Job(label, "not started") for label in labels[len(outcomes) :]]
    print(f"\n{list_jobs(rows)}", flush=True)
    counts = Counter(row.state for row in rows if row.state in ("failed", "interrupted", "not started"))
    if counts:
        said = ", ".join(f"{count} {state}" for state, count in counts.items())
        print(f"gelora: of {len(labels)} jobs {said}; the same command does what is left", file=sys.stderr)
    if len(outcomes) < len(labels):
        return StoppedError.exit_code
    return max((found.code for found in outcomes), default=0)


def _where(found: Outcome) -> str:
    """The run directory from here, and of a job that failed its message."""
    directory = str(_relative(Path(found.directory))) if found.directory else ""
    return ": ".join(part for part in (directory, found.message) if part) or "-"


def _report_costs(costs: list[Estimate]) -> None:
    """What a grid would cost in all; a profile that several runs share counts once."""
    left = [cost for cost in costs if not cost.done]
    if not costs:
        return
    profiles = {cost.profile: cost.profile_seconds for cost in left if cost.profile}
    work = sum(cost.train_seconds + cost.evaluation_seconds + cost.attach_seconds for cost in left)
    most = max((cost.processes for cost in left), default=1)
    peak = max((cost.peak_bytes for cost in left), default=0)
    print(f"\n{len(left)} of {len(costs)} runs to do:")
    print(f"  {len(profiles)} profiles, about {sum(profiles.values()):.0f} s in all, and their neighbour searches")
    print(f"  training and evaluation about {work / 60:.1f} min; {peak / 1e9:.2f} GB at the most")
    if most > 1:
        print(f"  minutes are those of one process; up to {most} share them")


def _serve_jobs(descriptor: str, parent: str) -> int:
    """The process that a sweep forks its jobs from."""
    from gelora_cli.launchers.jobs import serve

    serve(int(descriptor), int(parent), _answer)
    return 0


def _answer(request: dict[str, Any]) -> Any:
    """What a sweep asks for: the problems of all its jobs, or the outcome of one."""
    from gelora_cli.config.files import parse_config

    command = request["command"]
    if "check" in request:
        return [_problem(command, parse_config(text)) for text in request["check"]]
    return asdict(_do(command, parse_config(request["config"]), [], request["words"]))


def _problem(command: str, config: RunConfig) -> str:
    """What is wrong with a job's model or data; nothing of most."""
    from gelora_cli.pipeline.inputs import prepare

    try:
        prepare(config, judged=command != "profile")
    except Exception as error:
        return str(_message_of(error))
    return ""


def _is_positional(text: str) -> bool:
    """Whether an argument is no override (`key=value`, `~key`) but a path, such as `a=b/c` written as `./a=b/c`."""
    if text.startswith(("/", "./", "../", "~/")):
        return True
    return "=" not in text and (not text.startswith("~") or "/" in text)


def _positional(command: str, given: list[str]) -> list[Path]:
    wanted = POSITIONAL.get(command)
    optional, many = command == "ls", (wanted or "").endswith("...")
    if (len(given) > (wanted is not None) and not many) or (wanted and not optional and not given):
        what = wanted if many else f"one {wanted}" if wanted else "only key=value overrides"
        shown = " ".join(given) or "nothing"
        raise GeloraError(f"gelora {command} takes {what}, {shown} given.\n{EXAMPLES[command]}")
    return [_path(text) for text in given]


def _checked_overrides(name: str, given: Arguments, overrides: list[str]) -> list[str]:
    """Return the overrides in a form that Hydra parses.

    Raises:
        GeloraError: some are wrong; together with what is wrong with the values of the rest.
    """
    from gelora_cli.config.checks import list_problems
    from gelora_cli.config.overrides import override_problems

    problems, good = override_problems(name, overrides, given.config_dir, multirun=given.multirun)
    if problems:
        raise GeloraError(list_problems(problems + _problems_of_rest(name, good)))
    return good


def _problems_of_rest(name: str, overrides: list[str]) -> list[str]:
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    from gelora_cli.config.checks import value_problems
    from gelora_cli.config.overrides import composed_config, protect_text
    from gelora_cli.config.shipped import config_dir

    register_schemas()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return value_problems(composed_config(compose(name, [protect_text(text) for text in overrides])))
    except (HydraException, GeloraError):
        return []


def register_schemas() -> None:
    """Give Hydra the typed configuration of every command."""
    from hydra.core.config_store import ConfigStore

    from gelora_cli.config.schema import SCHEMAS

    for name, schema in SCHEMAS.items():
        ConfigStore.instance().store(name=f"{name}_schema", node=schema)


def _hydra_main(name: str, flags: list[str], overrides: list[str], job: Callable[[Any], None]) -> None:
    import hydra

    from gelora_cli.config.overrides import protect_text, restore_text
    from gelora_cli.config.shipped import config_dir

    register_schemas()
    before = sys.argv
    sys.argv = ["gelora", *map(protect_text, overrides), *flags]
    shows_config = any(flag.partition("=")[0] in ("--cfg", "-c", "--info", "-i") for flag in flags)
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown) if shows_config else contextlib.nullcontext():
            hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(job)()
    finally:
        sys.argv = before
        print(restore_text(shown.getvalue()), end="")


def _compose(
    name: str, flags: list[str], overrides: list[str], job: Callable[[Any], None], *, elsewhere: bool = False
) -> None:
    """Let Hydra compose, and call `job` with each configuration; `elsewhere` is in processes that Hydra starts.

    Raises:
        GeloraError: what Hydra refuses.
        Exception: what a job raised first, as it was.
    """
    from unittest import mock

    from hydra.errors import HydraException

    failures: list[BaseException] = []

    def guarded(config: Any) -> None:
        try:
            job(config)
        except BaseException as error:  # Hydra would print it and end the process
            failures.append(error)

    try:
        with mock.patch.dict(os.environ, HYDRA_FULL_ERROR="1"):  # its errors come here instead of to the terminal
            _hydra_main(name, flags, overrides, job if elsewhere else guarded)
    except Exception as error:
        of_hydra = isinstance(error, HydraException)  # some of them are OSErrors, too
        if "debug=true" in overrides or isinstance(error, ImportError) or (isinstance(error, OSError) and not of_hydra):
            raise
        raise GeloraError(_refused_composition(error)) from error
    if failures:
        raise failures[0]


def _refused_composition(error: Exception) -> str:
    """Return Hydra's or YAML's reasons in one line; which of several came first is what it is about."""
    reasons = " ".join(str(error).split()) or type(error).__name__
    most = 300
    shown = reasons if len(reasons) <= most else f"{reasons[:most]}..."
    return f"the configuration can't be composed: {shown}"


def _do(command: str, composed: Any, paths: list[Path], words: list[str]) -> Outcome:
    """Do what a command says; an error is one message, shown at once, and the other jobs of a sweep go on."""
    from omegaconf import DictConfig

    from gelora_cli.config.overrides import composed_config
    from gelora_cli.launchers.jobs import Outcome

    config: Any = None
    try:
        config = composed_config(composed) if isinstance(composed, DictConfig) else composed
        return _handled(command, config, paths, shlex.join(["gelora", *words])) or Outcome(0)
    except Exception as error:
        if getattr(config, "debug", False):
            raise
        message = _message_of(error)
        return Outcome(_say(message), message.directory, _shortened(str(message)))


def _handled(command: str, config: Any, paths: list[Path], words: str) -> Outcome | None:
    """Do it here, or as one of the processes that an outer launcher (torchrun) has started."""
    from gelora_cli.launchers.workers import inside_workers, lead_or_follow

    if command not in LAUNCHED or not inside_workers():
        return HANDLERS[command](config, paths, words)
    if getattr(config, "dry_run", False):
        raise GeloraError("dry_run=true looks at one process: leave the launcher (torchrun) out")
    from gelora_cli.pipeline.worker import main as follow

    config.launch.processes = int(os.environ["WORLD_SIZE"])
    return lead_or_follow(lambda: HANDLERS[command](config, paths, words), follow)


def _run(config: RunConfig, _: list[Path], command: str) -> Outcome:
    return _report_run(config, command, measure=True)


def _train(config: RunConfig, _: list[Path], command: str) -> Outcome:
    return _report_run(config, command, measure=False)


def _report_run(config: RunConfig, command: str, *, measure: bool) -> Outcome:
    from gelora_cli.core.rundir import TRACK
    from gelora_cli.core.runtime import setup_logging
    from gelora_cli.launchers.jobs import Outcome
    from gelora_cli.pipeline.dry_run import estimate
    from gelora_cli.pipeline.run import run

    setup_logging()
    if config.dry_run:
        text, found = estimate(config, measure=measure)
        print(text)
        return Outcome(0, cost=asdict(found))
    outcome = run(config, command, measure=measure)
    directory = _relative(outcome.directory)
    if outcome.already_done:
        print(f"done before, nothing to do (force=true does it again): {directory}")
    if outcome.same_as:
        same = _relative(outcome.same_as)
        print(f"not trained: it has the ranks of {same}, so it is the same run (force=true trains it all the same)")
    print(f"{outcome.reported}: {outcome.value:.4f}", *outcome.remarks, sep="\n")
    print(f"results:  {directory / 'result.json'}\ncard:     {directory / 'README.md'}")
    if (outcome.already_done or outcome.same_as) and config.profile.track and not (outcome.directory / TRACK).exists():
        print("it was not tracked: profile.track=true with force=true does it again, with the same numbers")
    for picture in ("profile.png", "ranks.png", TRACK):
        if (outcome.directory / picture).exists():
            print(f"picture:  {directory / picture}")
    linked = outcome.same_as is not None
    return Outcome(0, str(outcome.directory), value=outcome.value, already_done=outcome.already_done, linked=linked)


def _profile(config: RunConfig, _: list[Path], __: str) -> None:
    from gelora_cli.allocation.layer_checks import profile_table
    from gelora_cli.core.runtime import setup_logging
    from gelora_cli.pipeline.profile_stage import profile

    if config.dry_run:
        raise GeloraError("dry_run=true: gelora profile has none; gelora run dry_run=true shows a profile's cost too")
    setup_logging()
    directory, found = profile(config)
    print(profile_table(found))
    print(f"{found.examples_used} examples, {found.seconds:.1f} s: {_relative(directory / 'profile.json')}")


def _ranks(config: Any, paths: list[Path], _: str) -> None:
    import json

    from gelora_cli.allocation.planning import plan_method
    from gelora_cli.allocation.ranks import PLANNED, format_plan, rank_pattern_json
    from gelora_cli.commands.outputs import check_output, write_output
    from gelora_cli.config.checks import list_problems, value_problems
    from gelora_cli.config.presets import plan_settings
    from gelora_cli.core.artifacts import IdProfile
    from gelora_cli.core.budget import parse_budget
    from gelora_cli.core.codec import read_artifact, to_json

    if problems := value_problems(config):
        raise GeloraError(list_problems(problems))
    for target in _pattern_files(config.output):
        check_output(target, force=config.force)
    source = paths[0] / IdProfile.FILE if paths[0].is_dir() else paths[0]
    profile = read_artifact(IdProfile, source)
    plan = plan_method(profile.model_map, profile, parse_budget(config.budget), **plan_settings(config))
    if plan.method not in PLANNED:
        written = f"method={plan.method} has no rank_pattern before it is run; nothing was written"
    elif config.output is None:
        written = "nothing was written; output=FILE.json writes these ranks for PEFT and for gelora train"
    else:
        pattern, *beside = _pattern_files(config.output)
        for target in beside:
            write_output(target, to_json(plan), force=config.force)
        write_output(pattern, json.dumps(rank_pattern_json(plan), indent=2) + "\n", force=config.force)
        written = f"for peft.LoraConfig(**json.load(file)): {pattern}"
        if beside:
            written += (
                f"\nto train with these ranks: gelora train ... ranks.path={pattern} (its plan: {beside[0].name})"
            )
    print(f"{format_plan(plan)}\n{written}")  # after the files, which must not depend on whoever reads this


def _pattern_files(output: str | None) -> list[Path]:
    """Return the files of a pattern: itself, and the plan beside it unless it is a pipe or a device."""
    from gelora_cli.allocation.ranks import plan_beside

    if not output:
        return []
    pattern = _path(output)
    return [pattern] if pattern.exists() and not pattern.is_file() else [pattern, plan_beside(pattern)]


def _evaluate(config: Any, paths: list[Path], _: str) -> None:
    from gelora_cli.commands.outputs import check_output, write_output
    from gelora_cli.core.codec import to_json
    from gelora_cli.pipeline.predict import EvaluationReport, evaluate

    if config.output:
        check_output(_path(config.output), force=config.force)
    results = evaluate(paths[0].absolute(), config.launch.processes)
    for result in results:
        shown = "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
        print(f"{result.split}: {result.examples} examples  {shown}", *[result.remark] * bool(result.remark), sep="\n")
    if config.output:
        write_output(_path(config.output), to_json(EvaluationReport(results)), force=config.force)


def _predict(config: Any, paths: list[Path], _: str) -> None:
    from gelora_cli.commands.outputs import check_output, write_output
    from gelora_cli.commands.prediction_files import prediction_text, with_inputs
    from gelora_cli.config.checks import list_problems, value_problems
    from gelora_cli.core.runtime import setup_logging
    from gelora_cli.pipeline.predict import predict

    if problems := value_problems(config):
        raise GeloraError(list_problems(problems))
    setup_logging()
    if sum(value is not None for value in (config.split, config.file, config.question)) > 1:
        raise GeloraError("split=, file= and question= exclude each other; give one, or none for standard input")
    if (config.question is None) != (config.context is None):
        raise GeloraError("question=... and context=... belong together: give both")
    if config.output:
        check_output(_path(config.output), force=config.force)

    def rows(run: RunConfig) -> Split:
        from gelora_cli.data.sources import unlabelled_split

        if config.split:
            return unlabelled_split(run.task, run.data, config.split)
        return _given_rows(run, config)

    task, split, found = predict(paths[0].absolute(), rows)
    target = _path(config.output) if config.output else None
    text = prediction_text(with_inputs(task, split, found), target)
    if target:
        write_output(target, text, force=config.force)
        print(f"{len(found)} predictions: {config.output}")
    else:
        print(text, end="")


def _given_rows(run: RunConfig, config: Any) -> Split:
    """What the user wants labelled or answered, in the form of the run's task."""
    from gelora_cli.data.delimited import Dialect
    from gelora_cli.data.files import read_questions, read_rows
    from gelora_cli.data.squad import one_question

    if run.task.kind == "question_answering":
        given = config.question is not None
        return one_question(config.question, config.context) if given else read_questions(config.file or "-")
    if config.question is not None:
        raise GeloraError(f"question=... is for question answering; task={run.task.name} takes file= or lines")
    given_data, run_data = config.data, run.data
    dialect = Dialect(given_data.separator or run_data.separator, given_data.quoting or run_data.quoting)
    return read_rows(run.task, config.file or "-", dialect)


def _export(config: Any, paths: list[Path], _: str) -> None:
    from gelora_cli.commands.export import export
    from gelora_cli.config.checks import list_problems, value_problems
    from gelora_cli.core.runtime import setup_logging

    if problems := value_problems(config):
        raise GeloraError(list_problems(problems))
    target = _output(config.output)
    setup_logging()
    found = export(paths[0].absolute(), target, config.form)
    if found.form == "merged":
        print(
            f"merged in float32: largest difference of scores from the adapter's {found.difference:.2g} on "
            f"{found.examples} examples, at most {found.tolerance:.2g} is accepted"
        )
    print(f"{found.form}: {_relative(target)}")


def _submit(config: Any, paths: list[Path], _: str) -> None:
    from gelora_cli.commands.submission import submit, summary
    from gelora_cli.config.checks import list_problems, value_problems
    from gelora_cli.config.paths import local_or_hub
    from gelora_cli.core.runtime import setup_logging

    if problems := value_problems(config):
        raise GeloraError(list_problems(problems))
    target = _output(config.output)
    setup_logging()
    written = submit(
        paths,
        target,
        glue=config.data.glue and local_or_hub(config.data.glue),
        choose=config.choose,
        check_rows=config.check_rows,
        fill_missing=config.fill_missing,
    )
    print(summary(written, _relative(target)))


def _output(given: str | None) -> Path:
    """The directory that a command is to write."""
    if given is None:
        raise GeloraError("output=DIR is needed: the directory to write, empty or not there yet")
    return _path(given).resolve()


def _ls(config: Any, paths: list[Path], _: str) -> None:
    from gelora_cli.core.rundir import json_text
    from gelora_cli.report.grid import runs_table
    from gelora_cli.report.listing import list_runs, listed_runs
    from gelora_cli.report.runs import examine_runs, sort_runs

    directory = paths[0] if paths else _path(config.runs_dir)
    if not directory.is_dir():
        raise GeloraError(f"{directory}: no such directory; give one with runs in it: gelora ls DIR")
    examined = examine_runs([directory], verify=config.verify)
    listed = listed_runs(directory, examined)
    if config.json:
        print(json_text([asdict(row) for row in listed], indent=1))
        return
    print(list_runs(directory, listed))
    if table := runs_table(sort_runs(examined).runs):
        print(f"\n{table}")


def _report(config: Any, paths: list[Path], _: str) -> None:
    from gelora_cli.report.build import write_report

    if not config.output:
        raise GeloraError("output= is empty: a directory is accepted, made where there is none; output=. is this one")
    found = write_report(
        paths,
        _path(config.output),
        title=config.title,
        mix_protocols=config.mix_protocols,
        published=_path(config.published) if config.published else None,
        figures=config.figures,
        force=config.force,
    )
    for line in found.summary:
        print(f"- {line}")
    for run in found.unused:
        reason = f": {run.reason}" if run.reason else ""
        print(visible(f"not used: {run.status} {run.directory}{reason}", one_line=True), file=sys.stderr)
    print(f"report:  {_relative(found.page)} ({found.files} files beside each other)")


def _fetch(config: RunConfig, paths: list[Path], command: str) -> None:
    from gelora_cli.commands.fetch import Fetched, fetch
    from gelora_cli.config.complete import complete
    from gelora_cli.core.runtime import setup_logging

    if config.dry_run:
        raise GeloraError("dry_run=true: gelora fetch has none; leave it out")
    setup_logging()
    target = paths[0].absolute()
    found = fetch(complete(config), target)
    print(f"model:  {found.model}\ndata:   {found.data}")
    print(f"{len(found.files)} files, their sha256 in {_relative(target / Fetched.FILE)}; where there is no network:")
    given = [word for word in shlex.split(command) if word.startswith("task")] or [f"task={config.task.name}"]
    print(f"  {shlex.join(['gelora', 'run', *given, *found.overrides])}")
    print("The directory may be moved; paths may be relative: what counts is what the files hold.")


def _doctor(config: Any, _: list[Path], __: str) -> None:
    from gelora_cli.commands.doctor import findings

    broken = []
    for found in findings(_path(config.runs_dir)):
        print(
            f"{found.state:<8}{found.what}: {found.text}" + (f"\n        fix: {found.fix}" if found.fix else ""),
            flush=True,
        )
        broken += [found.what] if found.state == "problem" else []
    if broken:
        raise GeloraError(f"nothing will run before this is mended: {', '.join(broken)}")


HANDLERS: dict[str, Callable[[Any, list[Path], str], Outcome | None]] = {
    "run": _run,
    "profile": _profile,
    "ranks": _ranks,
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "export": _export,
    "submit": _submit,
    "ls": _ls,
    "report": _report,
    "fetch": _fetch,
    "doctor": _doctor,
}


def _complete(arguments: list[str]) -> int:
    """Hydra's completion behind our commands: the command word is completed here, the rest by Hydra."""
    words = os.environ.get("COMP_LINE", "").split(" ")
    if any("query=" in argument for argument in arguments):
        if len(words) <= 2:
            print(" ".join(name for name in COMMANDS if name.startswith(words[-1] if len(words) == 2 else "")))
            return 0
        if words[1] not in COMMANDS:
            return 0
        name = _config_name(words[1])
        if values := _value_completions(name, words[-1]):
            print(" ".join(values))
            return 0
        os.environ["COMP_LINE"] = " ".join([words[0], *words[2:]])
    else:
        name = "run"
    _hydra_main(name, arguments, [], lambda _: None)
    return 0


def _value_completions(name: str, word: str) -> list[str]:
    """Return the completions of `key=` and the start of a value, of a key whose accepted values are known."""
    from gelora_cli.config.keys import accepted_words
    from gelora_cli.config.schema import SCHEMAS

    key, equals, start = word.partition("=")
    accepted = accepted_words(SCHEMAS[name], key) if equals else ()
    return [f"{key}={value}" for value in accepted if value.startswith(start)]


def _path(text: str) -> Path:
    """Return a path as given, with `~` as the home directory where there is one of that name."""
    from gelora_cli.config.paths import expand_home

    return Path(expand_home(text))


def _relative(path: Path) -> Path:
    """The path from here where it lies below, else as it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    main()
