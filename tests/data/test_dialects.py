"""CSV and TSV files as spreadsheets and other programs write them: the separator, the quoting, unnamed columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.config.keys import accepted_words
from gelora_cli.config.schema import DataConfig, TaskConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.delimited import SEPARATORS, Dialect
from gelora_cli.data.files import read_rows
from gelora_cli.data.splits import TextSplit
from gelora_cli.data.user_data import complete_user_task, load_user_split

TASK = TaskConfig(name="films", source="text", columns=["plot"], label="verdict", metric="accuracy")
TEXTS = [f"a ship, a storm and {i} sailors" for i in range(40)]
VERDICTS = ["dull", "fine"] * 20


def written(path: Path, header: str, row: str, **replaced: str) -> Path:
    """Write a file of 40 rows; `replaced` gives other texts by their row, as `row_3`."""
    texts = [replaced.get(f"row_{i}", text) for i, text in enumerate(TEXTS)]
    rows = [row.format(text, verdict) for text, verdict in zip(texts, VERDICTS, strict=True)]
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def read(path: Path, task: TaskConfig = TASK, **dialect: str) -> TextSplit:
    """Return all rows of a file, which stands for training and validation rows alike."""
    data = replace(DataConfig(text=str(path), text_validation=str(path)), **dialect)  # type: ignore[arg-type]
    return load_user_split(complete_user_task(task, data), data, "train")


@pytest.mark.parametrize(
    ("name", "header", "row"),
    [
        ("a.csv", "plot;verdict", "{0};{1}"),
        ("a.csv", "plot\tverdict", "{0}\t{1}"),
        ("a.csv", "plot|verdict", "{0}|{1}"),
        ("a.tsv", "plot;verdict", "{0};{1}"),
        ("a.csv", '"plot";"verdict"', '"{0}";"{1}"'),
        ("a.csv", "\ufeffplot;verdict", "{0};{1}"),
        ("a.csv", "sep=;\nplot;verdict", "{0};{1}"),
        ("a.csv", "sep=\t\nplot\tverdict", "{0}\t{1}"),
        ("a.csv", "plot;verdict;;", "{0};{1};;"),
        ("a.csv", "plot;verdict", "{0};{1};;"),
        ("a.csv", "plot;verdict;;", "{0};{1}"),
        ("a.csv", ";plot;verdict", "17;{0};{1}"),
        ("a.csv", "note;note;plot;verdict", ";;{0};{1}"),
        ("a.csv", '"plot", "verdict"', '"{0}", "{1}"'),
        ("a.csv", "verdict ; plot", "{1};{0}"),
    ],
)
def test_the_separator_is_found_and_unused_columns_need_no_name(
    tmp_path: Path, name: str, header: str, row: str
) -> None:
    path = written(tmp_path / name, header, row)
    found = read(path)
    assert found.columns == (TEXTS,)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1] * 20
    assert read_rows(TASK, str(path)).columns == (TEXTS,)


def test_a_found_separator_is_named_and_a_given_one_holds(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "plot;verdict", "{0};{1}")
    assert read(path).note == "columns separated by semicolon"
    assert read(path, separator="semicolon").columns == (TEXTS,)
    with pytest.raises(GeloraError, match=r"separated by comma.*data.separator=NAME"):
        read(path, separator="comma")
    with pytest.raises(GeloraError, match=r"line 2: 2 fields, .*comma"):
        read_rows(replace(TASK, columns=["plot;verdict"]), str(path), Dialect(separator="comma"))
    other = replace(TASK, columns=["story"])
    with pytest.raises(GeloraError, match=r"no column story; accepted: plot, verdict.*semicolon"):
        read(path, other)
    with pytest.raises(GeloraError, match=r"Rename the column in the file") as caught:
        read_rows(other, str(path))
    assert "task.columns" not in str(caught.value)
    assert set(accepted_words(DataConfig, "separator")) == {"auto", *SEPARATORS}


LONE = {"row_3": '"so it begins', "row_8": 'it ends so"', "row_9": 'and so"', "row_21": '"here, there'}


@pytest.mark.parametrize("lone", [LONE, {"row_3": '"so it begins'}, {"row_3": '"so" it begins'}])
def test_an_unquoted_tsv_keeps_its_rows(tmp_path: Path, lone: dict[str, str]) -> None:
    expected = [lone.get(f"row_{i}", text) for i, text in enumerate(TEXTS)]
    for header, row in (("plot\tverdict", "{0}\t{1}"), ("verdict\tplot", "{1}\t{0}")):
        path = written(tmp_path / "a.tsv", header, row, **lone)
        found = read(path)
        assert found.columns == (expected,)
        assert "read without quoting" in found.note
        assert "data.quoting=quotes" in found.note
        assert "line " in found.note
        assert read_rows(TASK, str(path)).columns == (expected,)
        assert read(path, quoting="none").columns == (expected,)
        assert read(path, quoting="none").note == ""


def test_a_tsv_that_reads_both_ways_is_refused_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", "plot\tverdict", "{0}\t{1}", row_4='"so\tfine\nand so"')
    with pytest.raises(GeloraError, match=r"a\.tsv, line 6: .*40 rows .*41 without"):
        read(path)
    assert read(path, quoting="quotes").columns[0][4] == "so\tfine\nand so"
    assert read(path, quoting="none").columns[0][4:6] == ['"so', 'and so"']


def test_quoted_fields_keep_separators_and_line_breaks(tmp_path: Path) -> None:
    for name, comma in (("a.tsv", "\t"), ("a.csv", ",")):
        text = f"one{comma}two{comma}three\nfour"
        found = read(written(tmp_path / name, f"plot{comma}verdict", '"{0}"' + comma + "{1}", row_0=text))
        assert (found.columns[0][0], len(found), found.note) == (text, 40, "")
    found = read(written(tmp_path / "a.csv", "plot,verdict", '"{0}",{1}', row_5="one, two\nthree"))
    assert len(found) == 40
    found = read(written(tmp_path / "b.csv", "plot,verdict", '"{0}",{1}', **dict.fromkeys(ROWS, "one, two\nthree")))
    assert len(found) == 40
    assert "40 rows with quoting and 80 without" in found.note


ROWS = [f"row_{i}" for i in range(40)]


def test_quotes_that_are_characters_are_named_in_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('plot,verdict\n"so,fine\n"so" it is,dull\n')
    with pytest.raises(GeloraError, match=r"line 3: .*data.quoting=none"):
        read(path)
    assert read(path, quoting="none").columns == (['"so', '"so" it is'],)


def test_a_message_is_short_however_many_columns_there_are(tmp_path: Path) -> None:
    names = [f"column_{i}" for i in range(3000)]
    cases: dict[str, Any] = {
        ",".join(names) + "\n" + ",".join(["x"] * 3000) + "\n": "no column plot; .*and 2,9.. more",
        "plot,verdict," + ",".join(names) + "\nso,fine\n": "line 2: 2 fields, .*3002",
        "p" * 5000 + ",verdict\nso,fine\n": "no column plot",
        "plot,plot,verdict\nso,so,fine\n": "two columns are named plot",
    }
    for content, message in cases.items():
        (tmp_path / "a.csv").write_text(content)
        with pytest.raises(GeloraError, match=message) as caught:
            read(tmp_path / "a.csv")
        assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_the_names_of_the_columns_again_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "joined.tsv"
    path.write_text("plot\tverdict\none\tdull\nplot\tverdict\ntwo\tfine\n")
    with pytest.raises(GeloraError, match=r"line 3: the names of the columns"):
        read(path)
