"""The published schema of an archive is the one that its dataclasses have, and real lines keep to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gelora_cli.archive.frames import read_bytes, read_lines
from gelora_cli.archive.writing import pack
from gelora_cli.core.codec import write_artifact
from scripts.json_schema import ARCHIVE_SCHEMA, archive_schema
from scripts.reference import field_notes
from tests.helpers.packed_runs import write_packable
from tests.helpers.studies import method_study, study

FILE = Path(__file__).resolve().parents[2] / "docs" / "reference" / ARCHIVE_SCHEMA


def test_the_published_schema_is_that_of_the_code() -> None:
    assert FILE.read_text(encoding="utf-8") == archive_schema(field_notes), (
        f"python -m scripts.reference {ARCHIVE_SCHEMA} > docs/reference/{ARCHIVE_SCHEMA}; what an archive of this "
        "version may lack is a field with a default, and any other change raises SCHEMA_VERSION"
    )


def test_an_archive_keeps_to_the_schema(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    write_packable(tmp_path / "runs", "lora", 0)
    (tmp_path / "runs" / "tune" / "study").mkdir(parents=True)
    write_artifact(study(method_study("lora")), tmp_path / "runs" / "tune" / "study")
    pack([tmp_path / "runs"], tmp_path / "a.zst")
    lines = [*map(json.loads, read_lines(tmp_path / "a.zst", read_bytes(tmp_path / "a.zst")))]
    assert {line["kind"] for line in lines} == {"archive", "rows", "signal", "run", "study"}
    schema = json.loads(FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for line in lines:
        assert validator.is_valid(line), line["kind"]
        assert not validator.is_valid({**line, "color": 1})
    run = next(line for line in lines if line["kind"] == "run")
    assert not validator.is_valid({**run, "result": {**run["result"], "value": "high"}})
