"""JSON there and back, and what is refused."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path

import pytest

from gelora_cli.core.artifacts.profile import ProfileSettings
from gelora_cli.core.artifacts.result import EvalResult, ReloadCheck, RunResult
from gelora_cli.core.codec import SCHEMA_VERSION, from_json, read_artifact, to_json
from gelora_cli.core.errors import GeloraError


@dataclass(frozen=True)
class Block:
    block: int
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Blocks:
    blocks: tuple[Block, ...]


RESULT = EvalResult("validation", 10, {"accuracy": 0.5}, "accuracy", False, 1.5)


def test_round_trip() -> None:
    assert from_json(EvalResult, to_json(RESULT)) == RESULT
    assert RESULT.value == 0.5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"schema_version": SCHEMA_VERSION + 1},
            "holds the EvalResult of schema version 3, and this gelora reads version 2",
        ),
        ({"schema": "RankPlan"}, "holds the values of RankPlan, and those of EvalResult are needed"),
        ({"schema": None}, "is no EvalResult that gelora wrote: it has no schema"),
        ({"schema_version": None}, "is no EvalResult that gelora wrote: it has no schema_version"),
        ({"examples": "10"}, "examples: '10' given, a whole number"),
        ({"examples": True}, "examples: True given, a whole number"),
        ({"examples": 10.0}, "examples: 10.0 given"),
        ({"examples": 10**400}, "examples: 1.* given, a whole number of at most 30 digits"),
        ({"extra": 1}, "EvalResult has no field extra"),
        ({"seconds": None}, "seconds: None given, a number expected"),
        ({"seconds": float("nan")}, "seconds: nan given, a finite number"),
        ({"seconds": 10**400}, "seconds: 1.* given, a finite number"),
        ({"metrics": {"accuracy": "high"}}, r"metrics\['accuracy'\]: 'high' given"),
        ({"metrics": []}, r"metrics: \[\] given, an object expected"),
    ],
)
def test_another_content_is_refused(change: dict[str, object], named: str) -> None:
    values = json.loads(to_json(RESULT)) | change
    del values["sha256"]
    with pytest.raises(GeloraError, match=named):
        from_json(EvalResult, json.dumps(values))


def test_an_error_names_the_path_to_a_value_deep_inside() -> None:
    plan = {"blocks": [{"block": 1, "modules": ["query", 2]}]}
    with pytest.raises(GeloraError, match=r"blocks\[0\]\.modules\[1\]: 2 given, a text"):
        from_json(Blocks, json.dumps({"schema": "Blocks", "schema_version": SCHEMA_VERSION} | plan))


def test_an_edited_value_is_noticed_by_its_checksum() -> None:
    values = json.loads(to_json(RESULT)) | {"examples": 11}
    with pytest.raises(GeloraError, match=r"was edited.*another sha256"):
        from_json(EvalResult, json.dumps(values))
    del values["sha256"]
    assert from_json(EvalResult, json.dumps(values)).examples == 11
    assert from_json(EvalResult, json.dumps(json.loads(to_json(RESULT)), sort_keys=True)) == RESULT


def test_a_missing_field_and_a_cut_file_are_refused(tmp_path: Path) -> None:
    values = json.loads(to_json(RESULT))
    del values["split"], values["sha256"]
    with pytest.raises(GeloraError, match="split"):
        from_json(EvalResult, json.dumps(values))
    path = tmp_path / "result.json"
    path.write_text(to_json(RESULT)[:-20])
    with pytest.raises(GeloraError, match=r"result\.json is damaged"):
        read_artifact(EvalResult, path)
    with pytest.raises(GeloraError, match="can't be read"):
        read_artifact(ProfileSettings, tmp_path / "none.json")


def test_not_a_number_is_never_written() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        to_json(EvalResult("validation", 1, {"accuracy": float("nan")}, "accuracy", False, 0.0))


def test_results_written_before_remarks_and_scales_still_open() -> None:
    values = json.loads(to_json(replace(RESULT, collapsed=True)))
    for name in ("remark", "sha256"):
        del values[name]
    assert from_json(EvalResult, json.dumps(values)) == replace(RESULT, collapsed=True, remark="")
    assert {"scale", "smoke"} <= {entry.name for entry in fields(RunResult) if entry.default is not MISSING}


@dataclass(frozen=True)
class Grown:
    """An artifact whose second field is newer, with a default that is made for each object."""

    name: str
    added: dict[str, float] = field(default_factory=dict)


def test_a_field_may_be_missing_whatever_its_default_is() -> None:
    values = {"schema": "Grown", "schema_version": SCHEMA_VERSION, "name": "old"}
    assert from_json(Grown, json.dumps(values)) == Grown("old")


def test_a_reload_check_says_how_near_the_scores_are() -> None:
    exact = ReloadCheck(64, 0.0, 1e-4, 0.35, passed=True)
    assert exact.in_words() == (
        "the saved adapter, loaded again, gives the same scores on 64 sequences; without the adapter they differ by up "
        "to 0.35"
    )
    assert "the same scores within 2e-06 on 64" in replace(exact, largest_difference=2e-6).in_words()
