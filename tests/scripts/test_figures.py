"""`scripts/figures.py`: the pictures of the paper's theory, and the numbers it prints."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gelora_cli.core.codec import to_json
from tests.helpers.plans import PLAN

SCRIPT = Path(__file__).parents[2] / "scripts/figures.py"


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("figures", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("figure", "says"), [("1", "dimensionality 1 of 2"), ("4", "figure 4: idim ")])
def test_figures_1_and_4(
    figures: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], figure: str, says: str
) -> None:
    assert figures.main(["--figure", figure, "--output", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out
    assert says in printed
    assert {path.name for path in (tmp_path / "new").iterdir()} == {f"figure-{figure}.png", f"figure-{figure}.svg"}
    if figure == "4":
        low, high = printed.split("95 % interval ")[1].split(",")[0].split(" to ")
        assert float(low) < 1 < float(high)


def test_figure_5_comes_from_a_run_without_torch(tmp_path: Path) -> None:
    (tmp_path / "ranks.json").write_text(to_json(PLAN), encoding="utf-8")
    code = (
        f"import runpy, sys; sys.argv = ['figures', '--figure', '5', '--run', {str(tmp_path)!r}, "
        f"'--output', {str(tmp_path)!r}]\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit as stop: sys.exit(stop.code or 3 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "uniform ranks" in done.stdout
    assert (tmp_path / "figure-5.svg").exists()


def test_the_theorems_of_a_tiny_model(
    figures: ModuleType, tmp_path: Path, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    # A token of an encoder's block loses two directions to the norm, the decoder's block keeps all.
    places = [str(tiny_models["bert"]), str(tiny_models["llama"])]
    settings = ["--texts", "40", "--probes", "1", "--tokens", "4"]
    assert figures.main(["--figure", "theorem", "--output", str(tmp_path), "--model", *places, *settings]) == 0
    printed = capsys.readouterr().out
    bert, llama = (printed.split(f"theorem 3.2, {place}")[1].split("written")[0].splitlines() for place in places)
    assert [line.split()[4:6] for line in bert[2:] if line] == [["120", "128"]] * 3
    assert [line.split()[4:6] for line in llama[2:] if line] == [["128", "128"]] * 3
    first = next(line for line in printed.splitlines() if line.startswith("theta_1"))
    assert first.split()[3:5] == ["2", "1"]
    assert len(list(tmp_path.glob("theorem-3.2-*.png"))) == 3


def test_wrong_input_is_named(figures: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--figure", "5"], ["--figure", "theorem", "--probes", "0"], ["--figure", "2"]):
        with pytest.raises(SystemExit) as stop:
            figures.main([*wrong, "--output", str(tmp_path)])
        assert stop.value.code == 2
    missing = str(tmp_path / "nowhere")
    assert figures.main(["--figure", "5", "--run", missing, "--output", str(tmp_path)]) == 2
    assert figures.main(["--figure", "theorem", "--model", missing, "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("nowhere") >= 2
    (tmp_path / "file").touch()
    assert figures.main(["--figure", "4", "--output", str(tmp_path / "file")]) == 2
    assert "file can't be written to: File exists" in capsys.readouterr().err
