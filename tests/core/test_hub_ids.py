"""What a user gave is an id on the hub or a path here: one rule for models and data."""

from __future__ import annotations

from pathlib import Path

import pytest

from gelora_cli.config.complete import complete
from gelora_cli.config.paths import local_or_hub
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.hub_ids import is_hub_id
from gelora_cli.models import locate
from gelora_cli.pipeline.card_facts import hub_data_set, hub_model
from tests.helpers.composed import composed


def test_what_is_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert is_hub_id("microsoft/deberta-v3-base")
    assert is_hub_id("bert-base-uncased", one_word=True)
    assert not is_hub_id("bert-base-uncased")
    paths = ("models", "models/mine", "models/mien", "/models/bert", "a/b/c", "../bert", "./bert", "~/bert", "a b", "")
    for path in (*paths, "x" * 300 + "/../y"):
        assert not is_hub_id(path, one_word=True)
        assert Path(local_or_hub(path)).is_absolute()


def test_a_plain_word_is_a_model_of_the_hub_but_a_file_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("task=text", "task.columns=[a]", "task.label=b", "data.text=rows.csv", "method=lora", "budget=rank:1")
    config = complete(composed(*words, "model.path=bert-base-uncased"))
    assert (config.model.path, config.model.name) == ("bert-base-uncased", "bert-base-uncased")
    assert (hub_model(config), hub_data_set(config)) == ("bert-base-uncased", None)
    assert config.data.text == str(tmp_path / "rows.csv")
    (tmp_path / "bert-base-uncased").mkdir()
    config = complete(composed(*words, "model.path=bert-base-uncased"))
    assert (config.model.path, hub_model(config)) == (str(tmp_path / "bert-base-uncased"), None)


def test_a_mistyped_directory_is_named_where_a_plain_word_is_read_as_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(repository: str, revision: str | None, note: str, also: tuple[str, ...]) -> None:
        raise GeloraError(f"{note}No {repository}.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locate, "_from_hub", refuse)
    (tmp_path / "my-bert").mkdir()
    with pytest.raises(GeloraError) as raised:
        locate.resolve_model(hub=None, path="my-bret")
    assert str(raised.value) == (
        f"There is no directory my-bret here, so it was read as a hub id. Did you mean {tmp_path / 'my-bert'}? "
        "No my-bret."
    )
