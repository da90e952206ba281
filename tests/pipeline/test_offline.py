"""Doctor, fetch, dry runs and listings: what they say, and that they leave nothing where they should not."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import sys
import time
from pathlib import Path

import pytest

from gelora_cli.commands import diagnosis
from gelora_cli.commands.diagnosis import findings
from gelora_cli.commands.main import command_line
from gelora_cli.core import install
from gelora_cli.core.install import install_gelora, install_package
from tests.helpers.bench import Bench, answer_here, result_of


def test_doctor_looks_at_everything_and_names_fixes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(diagnosis, "HUB_SECONDS", 0.5)
    assert command_line(["doctor", f"runs_dir={tmp_path / 'runs'}"]) == 0
    shown = capsys.readouterr().out
    names = (
        "versions",
        "devices",
        "precision",
        "tokenizers",
        "extras",
        "runs_dir",
        "hub cache",
        "temporary files",
        "hub",
    )
    assert all(re.search(rf"^(ok|note) +{name}: ", shown, re.MULTILINE) for name in names)
    assert shown.count("note  ") == shown.count("fix: ")
    assert list(tmp_path.iterdir()) == []


def test_doctor_fails_where_nothing_could_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(diagnosis, "HUB_SECONDS", 0.5)
    (tmp_path / "file").write_text("")
    assert command_line(["doctor", f"runs_dir={tmp_path / 'file' / 'runs'}"]) == 2
    assert "before this is fixed: runs_dir" in capsys.readouterr().err


def test_a_directory_that_can_not_be_looked_at_is_named_by_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("b" * 300)))
    found = {finding.what: finding for finding in findings(Path("a" * 300))}
    assert found["hub cache"].state == "ok"
    for name, setting in (("runs_dir", "runs_dir=DIR"), ("temporary files", "TMPDIR=DIR")):
        assert found[name].state == "problem" and "File name too long" in found[name].text
        assert found[name].fix == f"name another directory: {setting}"


def test_a_file_that_can_not_be_read_is_no_fault_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "HUB_SECONDS", 0.1)
    monkeypatch.setattr(diagnosis, "CONSTRAINTS", tmp_path)  # a directory
    (tested,) = [finding for finding in findings(tmp_path) if finding.what == "tested versions"]
    assert tested.fix == install_gelora()


def test_every_finding_that_is_not_ok_has_a_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_is_installed", lambda _: False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = list(findings(tmp_path))
    assert {finding.what for finding in found if finding.state == "note"} >= {"tokenizers", "model=minilm"}
    assert all(finding.fix for finding in found if finding.state != "ok")


def test_what_is_fetched_runs_without_a_network(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "task.rte"  # a directory that begins as a key does
    monkeypatch.chdir(tmp_path)
    source = [f"model.path={bench.models['bert']}", f"data.glue={bench.data}"]
    assert command_line(["fetch", target.name, "task=rte", *source]) == 0
    shown = capsys.readouterr().out
    overrides = shlex.split(shown.splitlines()[-2])[2:]
    assert overrides[1:] == [f"model.path={target / 'models' / 'bert'}", f"data.glue={target / 'glue'}"]
    fetched = json.loads((target / "fetched.json").read_text())
    assert "models/bert/model.safetensors" in fetched["files"]
    assert "glue/rte/train-00000-of-00001.parquet" in fetched["files"]
    settings = ["train.max_steps=2", "train.learning_rate=0.01", "train.batch_size=16", "precision=float32"]
    settings += [f"runs_dir={bench.root}"]
    assert command_line(["run", *overrides, *settings]) == 0
    assert bench.run("task=rte", "train.max_steps=2", "train.epochs=50", *source) == 0
    assert len(bench.directories()) == 1  # the same model and data are the same run, wherever they lie


def test_a_dry_run_writes_nothing(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("task=cola", "dry_run=true") == 0
    shown = capsys.readouterr().out
    assert re.search(r"ranks of the \d blocks: unknown before the profile is measured", shown)
    assert re.search(r"profile: about \d+ s and the neighbour search", shown)
    assert re.search(r"training: 6 steps of 16, about \d+ s", shown)
    assert "more than any ranks can use" not in shown
    assert not bench.root.exists()
    assert bench.run("task=cola") == 0
    before = sorted(path.stat().st_mtime_ns for path in bench.root.rglob("*"))
    capsys.readouterr()
    assert bench.run("task=cola", "dry_run=true") == 0
    shown = capsys.readouterr().out
    assert "This run is finished: the command would do nothing." in shown
    assert "profile: nothing to measure" in shown
    assert bench.run("task=cola", "dry_run=true", "force=true") == 0
    assert "nothing would be done again" not in capsys.readouterr().out
    assert before == sorted(path.stat().st_mtime_ns for path in bench.root.rglob("*"))


def test_a_dry_run_says_what_other_signals_cost(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("task=cola", "method=fisher", "budget=2500", "dry_run=true") == 0
    shown = capsys.readouterr().out
    assert "unknown before the signal gradients is measured" in shown
    assert bench.run("task=cola", "budget=1000M", "dry_run=true") == 0
    assert "warning: budget=1000M is more than any ranks can use: at most " in capsys.readouterr().out
    per_rank = re.findall(r"one rank more in every block costs ([\d,]+)", shown)
    assert re.search(r"signal gradients: about \d+ s and eleven times the singular values", shown)
    assert bench.run("task=cola", "method=weights", "budget=2500", "dry_run=true") == 0
    shown = capsys.readouterr().out
    assert "signal weights: the singular values of every weight, without a text" in shown
    assert bench.run("task=cola", "budget=2500", "dry_run=true") == 0  # a rank per block costs the same
    assert per_rank == re.findall(r"one rank more in every block costs ([\d,]+)", capsys.readouterr().out)
    assert not bench.root.exists()


def test_a_dry_run_of_a_grid_adds_up_and_counts_a_profile_once(
    bench: Bench,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer_here(monkeypatch)
    assert bench.run("-m", "task=cola", "method=gelora,lora,sora", "budget=2500", "dry_run=true") == 0
    shown = capfd.readouterr().out
    assert "3 of 3 runs to do:" in shown
    assert "  1 profiles and signals, about" in shown
    assert not bench.root.exists()
    assert bench.run("-m", "task=cola", "method=gelora,sora", "budget=20", "dry_run=true") == 2


def test_ls_as_json(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run("task=cola", "train.max_steps=2") == 0
    assert bench.run("task=cola", "budget=100") == 2
    capsys.readouterr()
    assert command_line(["ls", str(bench.root), "--json"]) == 0
    rows = {row["status"]: row for row in json.loads(capsys.readouterr().out)}
    (done,) = [path for path in bench.directories() if (path / "DONE").exists()]
    assert rows["done"]["value"] == result_of(done).value
    assert rows["done"]["run"] == str(done.relative_to(bench.root))
    assert "the smallest possible" in rows["failed"]["error"]


def test_doctor_without_torch_says_so_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(diagnosis, "HUB_SECONDS", 0.1)
    found = list(findings(tmp_path))
    (missing,) = [finding for finding in found if finding.what == "devices"]
    assert missing.state == "problem"
    assert missing.fix.startswith("pip install ")
    assert missing.fix.endswith(" torch")
    assert found[-1].what == "hub"


@pytest.mark.parametrize("package", ["hydra", "torch"])
def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert command_line(["run", "task=demo", "model=minilm", f"runs_dir={tmp_path}"]) == 2
    message = capsys.readouterr().err
    wanted = {"hydra": "hydra-core", "torch": "torch"}[package]
    assert message.startswith(f"gelora: the package {package} is missing: pip install -c ")
    assert f"constraints.txt {wanted}, or all that gelora needs: pip install -c " in message
    assert "Traceback" not in message


def test_doctor_compares_with_the_tested_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constraints = tmp_path / "constraints.txt"
    monkeypatch.setattr(diagnosis, "CONSTRAINTS", constraints)
    numpy = importlib.metadata.version("numpy")
    assert list(diagnosis._tested_versions()) == []  # a wheel has none
    constraints.write_text(f"# made\nnumpy=={numpy}\nnot-installed==1.0\n")
    assert [finding.state for finding in diagnosis._tested_versions()] == ["ok"]
    constraints.write_text("numpy==0.1\n")
    (finding,) = diagnosis._tested_versions()
    assert (finding.state, finding.text) == (
        "note",
        f"other versions are installed than were tested: numpy {numpy} (0.1)",
    )


def test_doctor_waits_for_no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(diagnosis, "HUB_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(20))
    (finding,) = diagnosis._hub()
    assert finding.state == "note"
    assert "no answer within 0.2 s" in finding.text


def hub_cache(root: Path, bench: Bench) -> tuple[str, str]:
    """Make a model and a data set as the hub's cache holds them: snapshots of links to blobs, and a branch."""
    commits = []
    sources = {"models--made--tiny": bench.models["bert"], "datasets--made--glue": bench.data}
    for number, (name, source) in enumerate(sources.items(), start=1):
        commit = f"{number}" * 40
        folder = root / name
        for path in (path for path in sorted(source.rglob("*")) if path.is_file()):
            blob = folder / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
            link = folder / "snapshots" / commit / path.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            blob.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, blob)
            link.symlink_to(os.path.relpath(blob, link.parent))
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(commit)
        commits.append(commit)
    return commits[0], commits[1]


def test_fetching_from_a_hub_cache_pins_what_it_holds(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from huggingface_hub import constants

    model, data = hub_cache(tmp_path / "cache", bench)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "off line, it's=1"
    sources = ["task=rte", "model=bert_base", "data.glue=made/glue", "model.hub=made/tiny"]
    assert command_line(["fetch", str(target), *sources]) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert f"model:  made/tiny@{model}\ndata:   made/glue@{data}\n" in shown
    fetched = json.loads((target / "fetched.json").read_text())
    assert (fetched["model"], fetched["data"]) == (f"made/tiny@{model}", f"made/glue@{data}")
    assert not [path for path in target.rglob("*") if path.is_symlink()]
    assert "glue/rte/validation-00000-of-00001.parquet" in fetched["files"]
    shutil.rmtree(tmp_path / "cache")
    words = shlex.split(shown.splitlines()[-2])[1:]
    settings = ["dry_run=true", "precision=float32", "train.learning_rate=0.01", f"runs_dir={bench.root}"]
    assert command_line([*words, *settings]) == 0
    assert command_line(["fetch", str(target), *sources]) == 2
    assert "made/tiny can't be fetched" in capsys.readouterr().err


def test_nothing_says_to_install_gelora_from_the_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # No package of that name is ours: somebody else could publish one.
    checkout = Path(install.__file__).parents[2]
    assert install_gelora("demo") == f"pip install -c {checkout}/constraints.txt -e '{checkout}[demo]'"
    assert install_package("gelora") == install_gelora()
    monkeypatch.setattr(install, "CONSTRAINTS", tmp_path / "none")
    assert install_gelora("demo") == "pip install -c constraints.txt -e '.[demo]' (in a checkout of gelora)"
    assert install_package("yaml") == "pip install pyyaml"
    named = re.compile(r"pip install (-\S+ )*['\"]?gelora(?![\w/-])")
    folders = [checkout / name for name in ("gelora_cli", "configs", "scripts", "docs")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".yaml", ".md", ".sh")]
    for path in [*files, checkout / "README.md", checkout / "Makefile"]:
        assert not named.search(path.read_text(encoding="utf-8")), path
