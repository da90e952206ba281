"""Imports with the garbage collector off."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from gelora_cli.core.heavy_imports import import_heavy


def test_the_collector_is_off_during_an_import_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The module sees the collector off; afterwards it is on, whether or not the import succeeds.
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(gc, "freeze", lambda: None)  # objects of other tests stay collectable
    (tmp_path / "heavy_module.py").write_text("import gc\nwas_enabled = gc.isenabled()\n")
    (tmp_path / "failing_module.py").write_text("raise ImportError('broken')\n")
    import_heavy("heavy_module")
    assert sys.modules["heavy_module"].was_enabled is False
    assert gc.isenabled()
    with pytest.raises(ImportError, match="broken"):
        import_heavy("failing_module")
    assert gc.isenabled()


def test_objects_stay_collectable_where_nothing_is_imported() -> None:
    # A second run in one process leaves the model of the first one to the collector.
    before = gc.get_freeze_count()
    import_heavy("gc", "sys")
    assert gc.get_freeze_count() == before
