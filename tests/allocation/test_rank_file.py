"""`method=file`: ranks and weights of a user's own, and what is wrong with a file that is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.allocation.planning import plan_method
from gelora_cli.allocation.rank_file import read_rank_file
from gelora_cli.allocation.saved_plan import read_plan
from gelora_cli.config.complete import complete
from gelora_cli.config.identity import identity_values
from gelora_cli.config.schema import MethodConfig, RunConfig, TaskConfig, TrainConfig
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.budget import Budget
from gelora_cli.core.errors import GeloraError
from tests.helpers.planned import encoder

MAP = encoder(2)
TRAIN = TrainConfig(epochs=1, batch_size=8, learning_rate=0.1)
TASK = TaskConfig(name="mine", columns=["text"], labels=["a", "b"])
UNIT = 64  # parameters of a unit of rank on one attention linear, of which each block has four
QUERY, KEY = "layer.1.attention.self.query", "layer.1.attention.self.key"


def write(tmp_path: Path, text: str, name: str = "mine.json") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def plan(path: str, units: int = 40, **rules: Any) -> RankPlan:
    settings = MethodConfig.of("file", path=path)
    return plan_method(MAP, {}, Budget("params", units * UNIT), method="file", settings=settings, **rules)


def by_module(value: dict[str, float], default: float = 1) -> str:
    names = [linear.name for block in MAP.blocks for linear in block.linears[:4]]
    return "\n".join(["module,rank", *(f"{name},{value.get(name, default)}" for name in names)])


def test_ranks_of_blocks_are_used_as_they_are(tmp_path: Path) -> None:
    made = plan(write(tmp_path, '{"ranks": {"2": 5, "1": 0}}'))
    assert made.ranks == (0, 5)
    assert made.adapter_params == 20 * UNIT
    assert list(made.rank_pattern.values()) == [5] * 4
    assert made.granularity == "block"
    assert made.stability is not None and made.stability.verdict == "stable"
    as_csv = plan(write(tmp_path, "rank , Block\n\n5,2\n0,1\n", "mine.CSV"))
    assert as_csv.rank_pattern == made.rank_pattern
    assert "Ranks of each block from " in made.note


def test_weights_share_out_the_budget(tmp_path: Path) -> None:
    made = plan(write(tmp_path, "block,weight\n1,1\n2,3.5\n", "mine.csv"))
    assert made.ranks == (2, 8)  # 3.5 over 3 5 7 9 11 13, 15: all above 1/3 but the last, which is below
    modules = plan(write(tmp_path, "block,weight\n1,1\n2,3.5\n", "mine.csv"), granularity="module")
    assert modules.granularity == "module"
    assert [row.module_weights for row in modules.blocks] == [(1.0,) * 4, (3.5,) * 4]


def test_ranks_of_modules(tmp_path: Path) -> None:
    made = plan(write(tmp_path, by_module({QUERY: 7, KEY: 0}), "mine.csv"))
    assert made.granularity == "module"
    assert made.blocks[0].module_ranks == (7, 0, 1, 1)
    assert KEY not in made.rank_pattern
    even = write(tmp_path, by_module({}, 3), "mine.csv")
    assert plan(even, granularity="block").ranks == (3, 3)
    with pytest.raises(GeloraError, match=r"the ranks of block 1 differ, and ranks.granularity=block gives them one"):
        plan(write(tmp_path, by_module({QUERY: 2}), "mine.csv"), granularity="block")


def test_equal_content_is_one_file(tmp_path: Path) -> None:
    first = read_rank_file(write(tmp_path, '{"ranks": {"2": 5, "1": 1}}'))
    second = read_rank_file(write(tmp_path, "block,rank\n1,1.0\n2,5\n", "other.csv"))
    assert first.content() == second.content()
    assert first.content() != read_rank_file(write(tmp_path, '{"weights": {"2": 5, "1": 1}}')).content()


def test_what_a_file_says_is_part_of_a_run_and_its_name_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "block,rank\n1,1\n2,5\n", "mine.csv")
    method = MethodConfig.of("file", path=path)
    assert method.contents() == {"rank file": ["ranks", "block", ["1", 1.0], ["2", 5.0]]}
    assert "path" not in identity_values(RunConfig(method=method, budget=100))["method"]
    assert MethodConfig.of("lora").contents() == {}
    monkeypatch.chdir(tmp_path)
    completed = complete(RunConfig(method=MethodConfig.of("file", path="mine.csv"), train=TRAIN, task=TASK))
    assert vars(completed.method)["path"] == path  # workers may start in another directory


def without_quotes(error: GeloraError) -> str:
    return str(error).replace("'", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1, column 2: Expecting property name"),
        ("[4, 2]", r"\[4, 2\] given; accepted is an object"),
        ('{"rank": {"1": 2}}', "an object with rank given; accepted is an object"),
        ('{"ranks": {"1": 2}, "weights": {"1": 2}}', "an object with ranks, weights given"),
        ('{"ranks": [1, 2]}', r'"ranks" holds \[1, 2\]'),
        ('{"ranks": {"1": "2"}}', '"ranks", key 1: 2 is no number'),
        ('{"ranks": {"1": true}}', "key 1: True is no number"),
        ('{"ranks": {"1": 2.5}}', "rank 2.5 is no whole number; to share out units in proportion, give weights"),
        ('{"weights": {"1": -1}}', "-1 is no number from 0"),
        ('{"weights": {"1": NaN}}', "NaN is no finite number"),
        ('{"weights": {"1": 1e400}}', "inf is no number from 0"),
        ('{"ranks": {"1": 1, "1": 2}}', "the key 1 stands there twice"),
        ('{"ranks": {"1": 1, "layer.1": 2}}', 'key layer.1 is no number of a block, as that of "ranks", key 1 is'),
        ('{"ranks": {}}', "it names no block and no linear"),
        ('{"weights": {"1": 0, "2": 0}}', "all values are 0"),
        ('{"ranks": {"1": 1}}', "it lacks block 2; give each a value, 0 among them"),
        ('{"ranks": {"1": 1, "2": 1, "3": 1}}', '"ranks", key 3 names no block of this model; accepted: 1, 2'),
        ('{"ranks": {"1": 1, "01": 1, "2": 1}}', "two of its numbers are the same block"),
        ('{"ranks": {"1": 33, "2": 1}}', "rank 33 for .*query of block 1, whose smallest side is 32; give 32 or less"),
        ('{"ranks": {"1": 9, "2": 2}}', "cost 2,816 parameters, above the 2,560 of budget=0.00256M. Give budget=2816"),
        (f'{{"weights": {{"{QUERY}x": 1}}}}', f"names no linear that method.modules adapts .*did you mean {QUERY}?"),
        (f'{{"weights": {{"{QUERY}": 1}}}}', f"it lacks linear that method.modules adapts {KEY}, .* and 4 more"),
    ],
)
def test_a_wrong_json_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(GeloraError) as raised:
        plan(write(tmp_path, text))
    assert re.search(message, without_quotes(raised.value))
    assert str(raised.value).startswith(f"method.path={tmp_path / 'mine.json'}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the columns are none"),
        ("block,ranks\n1,2\n", "line 1: the columns are block, ranks; give JSON such as"),
        ("block,rank\n1,2,3\n", "line 2: 3 values instead of 2"),
        ("block,rank\n1,two\n", "line 2: two is no number"),
        ("block,rank\n1,1_0\n", "line 2: 1_0 is no number"),
        ("block,rank\n1,2\n\n1,3\n", "line 4: 1 stands there twice, first at line 2"),
        (f"block,rank\n{QUERY},2\n", f"line 2: {QUERY} is no block; accepted is numbers of blocks from 1 on"),
        ("module,rank\n1,2\n", "line 2: 1 is no module; accepted is full names of linears"),
        ('block,rank\n"1,2\n', "line 2: unexpected end of data"),
    ],
)
def test_a_wrong_csv_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(GeloraError) as raised:
        plan(write(tmp_path, text, "mine.csv"))
    assert re.search(message, without_quotes(raised.value))


def test_what_is_no_file_of_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeloraError, match="no such file; give JSON such as"):
        plan(str(tmp_path / "missing.json"))
    with pytest.raises(GeloraError, match="a directory; give JSON"):
        plan(str(tmp_path))
    with pytest.raises(GeloraError, match="a number of 5,000 digits; accepted is one from 0 to 1e"):
        plan(write(tmp_path, '{"ranks": {"1": ' + "9" * 5000 + "}}"))
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GeloraError, match="can't be read: "):
        plan(str(tmp_path / "bytes.json"))
    deep = write(tmp_path, "[" * 100_000)
    with pytest.raises(GeloraError, match=r"method.path=.*: "):
        plan(deep)
    assert list(MethodConfig.of("file").problems()) == [
        "method=file needs method.path=FILE, a JSON or CSV file of ranks or weights"
    ]


def test_a_home_directory_that_is_not_there_is_no_such_file() -> None:
    with pytest.raises(GeloraError, match=r"~nobody-of-that-name/r\.json: no such file"):
        read_rank_file("~nobody-of-that-name/r.json")
    with pytest.raises(GeloraError, match=r"~nobody-of-that-name/ranks\.json can't be read as RankPlan"):
        read_plan("~nobody-of-that-name/ranks.json")
