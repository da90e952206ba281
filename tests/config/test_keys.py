"""A key is declared once: every key has help, and checks, identity and help follow from the declarations alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.config.checks import declared_problems
from gelora_cli.config.defaults import composed_values, resolved_defaults
from gelora_cli.config.help import key_lines
from gelora_cli.config.identity import identity_values
from gelora_cli.config.keys import Declaration, accepted_words, declared_keys, key, section, written_value
from gelora_cli.config.override_values import keys
from gelora_cli.config.overrides import override_problems, replaced_values
from gelora_cli.config.schema import MethodConfig, PresetConfig, RunConfig, tracker_keys
from gelora_cli.config.typed import typed
from gelora_cli.core.registries import COMMANDS
from tests.helpers.composed import composed

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "gelora_cli" / "config"
SCHEMAS = {COMMANDS.get(name).config_name: COMMANDS.get(name).keys for name in COMMANDS.names()}
EVERY_KEY = [
    (name, entry) for name, schema in [*SCHEMAS.items(), ("preset", PresetConfig)] for entry in declared_keys(schema)
]


@pytest.mark.parametrize(("command", "entry"), EVERY_KEY, ids=[f"{name}-{entry.name}" for name, entry in EVERY_KEY])
def test_every_key_has_one_line_of_help(command: str, entry: Any) -> None:
    assert 5 <= len(entry.declared.help) <= 110
    assert "\n" not in entry.declared.help
    assert not entry.declared.help.endswith(".")


@dataclass
class Inner:
    """A section."""

    word: str = key("one", help="a word", choices=("one", "two"), identity="shared")
    share: float | None = key(None, help="a share", above=0, high=1, absent=(None, 0.5), identity="shared")


@dataclass
class Outer:
    """A schema."""

    inner: Inner = section(Inner, help="words")
    count: int = key(3, help="how many", low=1)
    names: list[str] = key(["a"], help="names")
    folder: str = key("here", help="a name", directory=True)


def test_a_schema_gives_its_keys_with_their_defaults() -> None:
    entries = {entry.name: entry for entry in declared_keys(Outer)}
    assert {name: entry.default for name, entry in entries.items()} == {
        "inner.word": "one",
        "inner.share": None,
        "count": 3,
        "names": ["a"],
        "folder": "here",
    }
    assert entries["inner.share"].types() == (float, type(None))
    assert (entries["inner.share"].section, entries["inner.share"].last) == ("inner", "share")
    assert Outer().names is not Outer().names


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Outer(), ""),
        (Outer(inner=Inner("tow")), "inner.word=tow: not known; did you mean two? accepted: one, two"),
        (Outer(inner=Inner(share=0)), "inner.share=0: accepted is a number above 0 and at most 1"),
        (Outer(inner=Inner(share=1.5)), "inner.share=1.5: accepted is a number"),
        (Outer(count=0), "count=0: accepted is a number"),
        (Outer(count=10**400), "at least 1"),
        (Outer(folder="../x"), "folder=../x: letters, digits"),
        (Outer(folder="x" * 101), "101 characters; at most 100"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_checks_follow_from_the_declaration(config: Outer, message: str) -> None:
    problems = list(declared_problems(config))
    assert len(problems) == bool(message)
    assert not message or message in problems[0]


def test_a_key_without_a_declaration_or_help_is_an_error() -> None:
    @dataclass
    class Bare:
        """A schema with a field of no declaration."""

        count: int = 3

    with pytest.raises(TypeError, match=r"Bare\.count has no declaration"):
        declared_keys(Bare)
    for help_text in ("", "two\nlines"):
        with pytest.raises(ValueError, match="one line of help"):
            Declaration(help=help_text)


def test_a_value_is_shown_as_a_user_writes_it() -> None:
    assert written_value([None, True, 32.0, 1e-05, "a"]) == "[null,true,32,1e-05,a]"
    for word in ("seed=[a,true]", "seed=3.0"):
        (problem,), _ = override_problems("run", [word], None)
        assert problem.startswith(f"{word}: ")


@pytest.mark.parametrize(
    ("word", "accepted"),
    [
        ("train.learning_rate=abc", "a number, such as 2e-4, or null"),
        ("train.epochs=x", "a whole number, such as 3, or null"),
        ("seed=null", "a whole number, such as 3; the default is 0"),
        ("smoke=maybe", "true or false; the default is false"),
        ("task.labels={a: 1}", "a list, such as [one,other]; the default is []"),
        ("model.linears=[1]", "a mapping, such as {name: value}; the default is {}"),
        ("protocol=[last]", "one of last, dev, split; the default is last"),
        ("budget=[1]", "a number, such as 2e-4, or a text; the default is auto"),
        ("method.dropout=x", "a number, such as 2e-4; the default is 0"),
        ("tracker.wandb.wait_seconds=x", "a number, such as 2e-4; the default is 30"),
    ],
)
def test_a_value_of_another_type_is_told_what_is_accepted(word: str, accepted: str) -> None:
    (problem,), _ = override_problems("run", [word], None)
    assert problem.partition(": accepted is ")[2] == accepted


def test_words_that_are_accepted_are_completed_and_checked_alike() -> None:
    assert accepted_words(RunConfig, "protocol") == ("last", "dev", "split")
    assert accepted_words(RunConfig, "smoke") == ("true", "false")
    assert accepted_words(RunConfig, "seed") == accepted_words(RunConfig, "no.such.key") == ()


def test_no_key_stands_in_a_second_table() -> None:
    # No file of the package but the schema has a mapping or list that names many keys.
    names = {entry.name for entry in declared_keys(RunConfig) if "." in entry.name}
    tables = []
    for path in sorted(CONFIG.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                texts = [item.value for item in ast.walk(node) if isinstance(item, ast.Constant)]
                named = [text for text in texts if text in names]
                tables += [f"{path.name}: {named}"] if len(named) > 2 else []
    assert tables == []


SILENT = (
    *("task.label", "task.group", "task.presets", "model.name", "model.hub", "model.path", "model.revision"),
    *("model.accept_map", "train.gradient_checkpointing"),
    *("model.package", "model.sha256", "model.bytes", "method.preset", "method.presets", "profile.track"),
    *("profile.track_examples", "profile.track_tokens", "ranks.path", "train.log_steps", "train.checkpoint_steps"),
    *("train.checkpoint_seconds", "launch.processes", "launch.launcher", "launch.parallel", "data.glue", "data.squad"),
    "launch.gpus_per_run",
    *("task.label_columns", "task.label_separator"),
    *("data.squad_v2", "data.instruct", "data.instruct_validation", "data.gsm8k", "data.text", "profile.scales"),
    *("data.text_validation", "data.separator", "data.quoting", "init_from", "runs_dir", "force", "dry_run"),
    *("debug", "preset_source", "preset_trials", "tuned_presets", "keys_given", "plugins", "trackers", "tracker"),
    "archives",
)
"""Written out once more on purpose: whoever takes a key out of the identity says so here, too."""


def test_a_new_key_counts_unless_it_is_said_to_change_no_number() -> None:
    assert {entry.name for entry in declared_keys(RunConfig) if entry.declared.identity is False} == set(SILENT)


def test_the_identity_holds_each_key_that_counts() -> None:
    values = identity_values(composed("task=cola", "model=minilm", "method=sora", "protocol=split", "budget=0.1M"))
    found = set()
    for name, held in values.items():
        if isinstance(held, dict):
            found |= {f"{name}.{key}" for key in held}
    counted = {
        entry.name
        for entry in declared_keys(RunConfig)
        if entry.declared.identity is True and entry.section in ("task", "train") and not entry.declared.absent
    }
    assert counted <= found


OPTIONS = [
    {"task": "squad_v2", "model": "minilm", "method": "adalora"},
    {"task": "text", "model": "bert_base", "method": "eva"},
    {"task": "demo", "model": "deberta_v3_base", "method": "houlsby"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_defaults_without_hydra_are_those_of_hydra(options: dict[str, str]) -> None:
    words = [f"{name}={option}" for name, option in options.items()]
    assert typed(RunConfig, composed_values("run", options)) == typed(RunConfig, asdict(composed(*words)))


@pytest.mark.parametrize("name", [name for name in SCHEMAS if name != "run"])
def test_defaults_of_the_other_commands_are_those_of_hydra(name: str) -> None:
    assert typed(SCHEMAS[name], composed_values(name, {})) == typed(SCHEMAS[name], asdict(composed(name=name)))


def lines_of(*words: str, everything: bool = False, width: int = 110) -> list[str]:
    return key_lines("run", words, everything=everything, width=width)


def shown_keys(lines: list[str]) -> list[str]:
    found = (re.match(r"  ([a-z][\w.]*)=", line) for line in lines)
    return [match[1] for match in found if match]


def test_help_shows_the_defaults_of_task_model_and_method() -> None:
    text = "\n".join(lines_of("task=cola", "model=minilm"))
    assert "train.learning_rate=0.00015 " in text
    assert "train.epochs=15 " in text
    assert "train.batch_size=16 " in text
    assert "with their defaults for task=cola model=minilm method=gelora:" in text
    other = "\n".join(lines_of("task=squad", "model=minilm", "method=adalora"))
    assert ("train.learning_rate=0.0015 " in other, "method.modules=all " in other) == (True, True)
    mine = "\n".join(lines_of("task=reviews"))  # an option of the user's own
    assert "task=reviews " in mine
    assert "train.learning_rate=null " in mine


def test_help_of_ranks_shows_what_is_planned_without_a_preset() -> None:
    method = resolved_defaults("ranks", {}).method
    assert (method.modules, method.scaling) == ("attention", 32.0)
    assert "method.scaling=32 " in "\n".join(key_lines("ranks"))
    assert not hasattr(resolved_defaults("ranks", {"method": "bitfit"}).method, "scaling")


def test_help_shows_the_common_keys_and_all_the_rest_when_asked() -> None:
    common, everything = shown_keys(lines_of()), shown_keys(lines_of("method=sora", everything=True))
    assert common[:6] == ["task", "model", "method", "launch", "experiment", "budget"]
    assert {"data.glue", "model.path", "runs_dir", "precision", "protocol", "launch.processes", "smoke"} <= set(common)
    assert "profile.pooling" not in common
    hidden = {"task.presets", "method.presets", "model.name", "method.name", "preset_source", "tracker"}
    hidden |= {"preset_trials", "tuned_presets", "keys_given"}
    declared = {entry.name for entry in declared_keys(RunConfig, {"method": MethodConfig.class_of("sora")})}
    declared |= {entry.name for entry in tracker_keys()}
    assert "method.gate_penalty" in declared
    assert "method.tinit" not in declared
    assert declared - hidden == set(everything) - {"task", "model", "method", "launch", "experiment"}
    assert "--help all" in lines_of()[-1]


def test_help_says_what_is_accepted() -> None:
    text = " ".join(" ".join(lines_of(everything=True)).split())
    for said in ("(last, dev, split)", "(above 0)", "(0 to 0.99)", "(at least 1)", "(growth+1, growth)"):
        assert said in text


def test_help_starts_without_hydra_and_torch() -> None:
    code = (
        "import sys; from gelora_cli.config.help import key_lines; key_lines('run', ['task=cola', 'method=sora']); "
        "print(*{'hydra', 'omegaconf', 'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("width", [60, 80, 140])
def test_help_is_as_wide_as_the_terminal(width: int) -> None:
    lines = lines_of(everything=True, width=width)
    assert max(map(len, lines)) <= width
    assert len(lines) > len(lines_of(everything=True, width=200))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_command_has_help_of_its_keys(name: str) -> None:
    shown = shown_keys(key_lines(name, everything=True))
    assert {key for key in keys(SCHEMAS[name]) if "." not in key} <= set(shown)


def test_a_number_of_jobs_side_by_side_that_older_runs_have_saved_is_read() -> None:
    assert RunConfig().launch.parallel is None
    assert typed(RunConfig, {"launch": {"parallel": 1}}).launch.parallel == 1


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"task": {"presets": {"default": {"gelora": {"learning_rate": 0.1}}}}}, "gelora.source is missing"),
        ({"train": {"learning_rate": 10**400}}, "train.learning_rate is an integer of more digits than a float"),
    ],
)
def test_a_file_that_lacks_a_key_or_holds_no_number_is_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        typed(RunConfig, values)


@pytest.mark.parametrize(
    "name", ["model.path", "init_from", "data.text", "ranks.path", "method.path", "tracker.wandb.directory"]
)
def test_keys_that_are_paths_are_refused_where_they_are_empty(name: str) -> None:
    problems, _ = override_problems("run", [f"{name}="], None)
    assert problems == [f"{name}= is empty: give a path, or leave it out to have the default"]


@pytest.mark.parametrize(
    ("command", "word", "sweep", "read"),
    [
        ("ranks", "allocators=gelora,lora", False, "allocators=[gelora,lora]"),
        ("ranks", "allocators=all", False, "allocators=[all]"),
        ("ranks", "allocators=[lora]", False, "allocators=[lora]"),
        ("profile", "signals=idim", True, "signals=[idim]"),
        ("profile", "signals=[idim],[idim]", True, "signals=[idim],[idim]"),
        ("run", "task.columns=review,'a b'", False, "task.columns=[review,'a b']"),
        ("run", "task=cola,rte", True, "task=cola,rte"),
    ],
)
def test_a_list_needs_no_brackets_where_a_comma_is_no_sweep(command: str, word: str, sweep: bool, read: str) -> None:
    assert override_problems(command, [word], None, multirun=sweep) == ([], [read])


def test_a_list_without_brackets_is_ambiguous_in_a_sweep() -> None:
    problems, good = override_problems("profile", ["signals=idim,weights"], None, multirun=True)
    assert good == []
    assert "'signals=[idim,weights]' for every job, or 'signals=[idim],[weights]' for one job each" in problems[0]


def test_a_key_with_several_values_is_said_with_the_one_that_counts() -> None:
    words = ["seed=1", "method=gelora,lora", "+seed=2", "seed=2", "method=sora", "budget=0.1M", "budget=0.1M"]
    assert list(replaced_values(words)) == [
        "seed=1 seed=2 seed=2: the last one counts",
        "method=gelora,lora method=sora: the last one counts",
    ]
    assert not list(replaced_values(["hydra.verbose=true", "hydra.verbose=false"]))
