"""docs/benchmarks.md and its records: the page is what the records give, and a pass resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.benchmarks import __main__ as passes
from scripts.benchmarks import measuring, page
from scripts.benchmarks.pictures import picture_name
from scripts.benchmarks.record import BenchmarkRecord, Picture, Series, Table, read_records

PICTURE = Picture(
    kind="bars",
    title="Rates",
    subtitle="examples per second",
    alternative="gelora's bar is the longest",
    series=(Series(name="CPU", at=("gelora", "loop"), values=(2.0, 1.0)),),
    values_label="examples per second",
)
RECORD = BenchmarkRecord(
    name="training",
    machine_kind="cpu",
    title="Training, beside a loop",
    setting="LoRA.",
    goal="1.15 times: reached, 2.0.",
    command="python -m scripts.benchmarks.training",
    tables=(Table(caption="rates", columns=("tool", "rate"), rows=(("gelora|bf16", "2.0"), ("loop", "-"))),),
    notes=("Fused optimizer: kept.",),
    picture=PICTURE,
    machine="two cores",
    versions={"torch": "2.13.0"},
    measured="2026-01-01",
)


def test_the_page_is_what_the_records_give() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page_text(read_records())


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    RECORD.write(tmp_path)
    replace(RECORD, name="start", picture=None).write(tmp_path)
    assert read_records(tmp_path) == [replace(RECORD, name="start", picture=None), RECORD]


def test_the_cpu_stands_before_the_gpu_in_one_section() -> None:
    records = [replace(RECORD, machine_kind="h100"), replace(RECORD, name="zoo", title="Zoo"), RECORD]
    text = page.page_text(records)
    assert text == page.page_text(records[::-1])
    headings = [line for line in text.splitlines() if line.startswith("#")][2:]
    assert headings == [
        "## Training, beside a loop",
        "### Training, beside a loop: CPU",
        "### Training, beside a loop: H100",
        "## Zoo",
    ]
    assert "| [Training, beside a loop](#training-beside-a-loop) | H100 | 1.15 times: reached, 2.0. |" in text
    assert "| tool | rate |\n| --- | ---: |\n| gelora\\|bf16 | 2.0 |" in text


def test_equal_pictures_give_equal_bytes(tmp_path: Path) -> None:
    lines = replace(PICTURE, kind="lines", series=(Series(name="s", at=(1, 10), values=(1.0, 100.0)),))
    records = [RECORD, replace(RECORD, name="scaling", picture=lines)]
    for folder in ("first", "second"):
        page.write_page(records, tmp_path / f"{folder}.md", tmp_path / folder)
    for record in records:
        name = picture_name(record)
        first = (tmp_path / "first" / name).read_bytes()
        assert first.startswith(b"\x89PNG")
        assert first == (tmp_path / "second" / name).read_bytes()


def test_a_pass_resumes_and_begins_again_with_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "progress.json"
    passes.add_progress("training", path)
    passes.add_progress("start", path)
    assert passes.read_progress(path).done == ("training", "start")
    monkeypatch.setattr(passes, "code_fingerprint", lambda: "another")
    assert passes.read_progress(path).done == ()


def test_a_missing_tool_leaves_a_benchmark_out(capsys: pytest.CaptureFixture[str]) -> None:
    measuring.require_modules("json")
    with pytest.raises(SystemExit) as ended:
        measuring.require_modules("json", "no_such_tool")
    assert ended.value.code == measuring.SKIPPED
    assert "no_such_tool" in capsys.readouterr().err
