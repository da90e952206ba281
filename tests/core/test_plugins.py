"""Plug-ins from a folder and from an installed package: what is imported, fingerprinted and refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gelora_cli.commands.execution import execute
from gelora_cli.commands.failures import user_error
from gelora_cli.commands.ls import Ls
from gelora_cli.core import plugins
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.plugins import find_plugins, load_plugins, loaded_folders, plugins_fingerprint
from gelora_cli.launchers.failure import failure_of
from tests.helpers.packages import install_package


def test_files_are_imported_once_and_fingerprinted(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import pathlib\nwith open(pathlib.Path(__file__).parent / 'log', 'a') as f: f.write('x')"
    )
    (tmp_path / "_helper.py").write_text("raise ValueError")
    load_plugins(tmp_path)
    load_plugins(tmp_path)
    assert (tmp_path / "log").read_text() == "x"
    before = plugins_fingerprint(tmp_path)
    (tmp_path / "_helper.py").write_text("raise TypeError")
    assert plugins_fingerprint(tmp_path) != before
    with pytest.raises(GeloraError, match="files have changed"):
        load_plugins(tmp_path)


def test_files_of_a_folder_import_each_other(tmp_path: Path) -> None:
    (tmp_path / "_numbers.py").write_text("SEVEN = 7\n")
    (tmp_path / "later.py").write_text("from ._numbers import SEVEN\nFROM_LATER = SEVEN + 1\n")
    (tmp_path / "entries.py").write_text("from .later import FROM_LATER\nEIGHT = FROM_LATER\n")
    before = list(sys.path)
    load_plugins(tmp_path)
    (module,) = [module for name, module in sys.modules.items() if name.endswith(".entries") and "gelora_plug" in name]
    assert module.EIGHT == 8
    assert sys.path == before
    assert not {"entries", "later", "_numbers"} & set(sys.modules)


def test_an_init_file_is_imported_first(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("ORDER = [__name__]\n")
    (tmp_path / "entries.py").write_text("from . import ORDER\nORDER.append(__name__)\n")
    load_plugins(tmp_path)
    initial = str(tmp_path / "__init__.py")
    (package,) = [module for module in sys.modules.values() if getattr(module, "__file__", None) == initial]
    assert [package.__name__, f"{package.__name__}.entries"] == package.ORDER


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1 / 0",
            r"ZeroDivisionError: division by zero \(broken\.py, line 1\)",
        ),
        ("x = 1\ndef f(:\n", r"SyntaxError: invalid syntax.* \(broken\.py, line 2\)"),
        ("raise SystemExit(3)", r"SystemExit: 3 \(broken\.py, line 1\)"),
        ("import _other", r"No module named '_other' .*from \._other import"),
        ("from ._other import missing", r"cannot import name 'missing'.* _other\.py has no such name, or"),
        ("from . import _bad", r"ValueError: bad \(_bad\.py, line 2\)"),
    ],
)
def test_a_file_that_cannot_be_imported_is_one_line_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "broken.py").write_text(text)
    (tmp_path / "_other.py").write_text("")
    (tmp_path / "_bad.py").write_text("\nraise ValueError('bad')\n")
    with pytest.raises(GeloraError, match=message) as caught:
        load_plugins(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_or_empty_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    with pytest.raises(GeloraError, match=r"method: no such folder; .*methods") as caught:
        load_plugins(tmp_path / "method")
    assert str(caught.value).endswith("accepted: a folder with NAME.py files")
    with pytest.raises(GeloraError, match="no Python file in it"):
        load_plugins(tmp_path / "methods")


def test_an_installed_package_is_imported_when_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = install_package(
        tmp_path / "site", "gelora_toy_one", {"__init__.py": "from . import _part\n", "_part.py": ""}
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(plugins, "_loaded", {})
    source = find_plugins("gelora_toy_one")
    assert (source.name, source.root) == ("gelora_toy_one", root)
    assert "gelora_toy_one" not in sys.modules
    load_plugins("gelora_toy_one")
    assert "gelora_toy_one._part" in sys.modules
    assert loaded_folders() == (root,)
    before = plugins_fingerprint("gelora_toy_one")
    (root / "_part.py").write_text("PART = 1\n")
    assert plugins_fingerprint("gelora_toy_one") != before
    with pytest.raises(GeloraError, match=r"did you mean gelora_toy_one\?"):
        find_plugins("gelora_toy_on")
    (tmp_path / "gelora_toy_one").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_plugins("./gelora_toy_one").root == tmp_path / "gelora_toy_one"


def test_an_installed_module_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_package(tmp_path / "site", "gelora_toy_two", {"__init__.py": "\n1 / 0\n"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(GeloraError, match=r"plugins=gelora_toy_two .*Zero.*\(__init__\.py, line 2\)"):
        load_plugins("gelora_toy_two")


def test_nothing_installed_is_imported_unasked(tmp_path: Path) -> None:
    install_package(tmp_path / "site", "gelora_toy_three", {"__init__.py": "raise SystemExit('imported')\n"})
    site = str(tmp_path / "site")
    code = f"import sys; sys.path.insert(0, {site!r}); from gelora_cli.commands.main import main; main(['ls', '.'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_of_a_plugin_names_its_line_and_not_gelora(tmp_path: Path) -> None:
    file = tmp_path / "entries.py"
    file.write_text("def divide():\n    return open('/nowhere')\n")
    load_plugins(tmp_path)
    (module,) = [module for module in sys.modules.values() if getattr(module, "__file__", "") == str(file)]
    with pytest.raises(OSError, match="/nowhere") as caught:
        module.divide()
    message = user_error(caught.value)
    assert message.exit_code == 1
    assert "a plug-in raised FileNotFoundError" in str(message)
    assert f"'/nowhere' ({tmp_path.name}/entries.py, line 2)" in str(message)
    assert "entries.py, line 2" in failure_of(caught.value, 0).message
    assert "fault of gelora" in str(user_error(ZeroDivisionError()))


def test_a_plugin_that_ends_the_process_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "entries.py").write_text("def leave(*_):\n    raise SystemExit(0)\n")
    load_plugins(tmp_path)
    (module,) = [module for module in sys.modules.values() if str(tmp_path) in str(getattr(module, "__file__", ""))]

    class Leaving(Ls):
        handle = module.leave

    assert execute(Leaving(), None, [], ["ls"]).code == 1
    assert "a plug-in raised SystemExit: 0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        execute(type("Other", (Ls,), {"handle": lambda *_: sys.exit(3)})(), None, [], ["ls"])
