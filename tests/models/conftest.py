"""Models that several of these test files load."""

from __future__ import annotations

import pytest

from gelora_cli.models.locate import ResolvedModel
from tests.helpers.models import from_directory
from tests.helpers.tiny import KINDS as TINY_KINDS
from tests.helpers.tiny import make_tiny
from tests.helpers.tiny_encoders import UNDECLARED_ENCODERS


@pytest.fixture(scope="package")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ResolvedModel]:
    """Make every known kind and an unknown one, and resolve them."""
    root = tmp_path_factory.mktemp("tiny")
    return {kind: from_directory(make_tiny(kind, root / kind)) for kind in (*TINY_KINDS, *UNDECLARED_ENCODERS)}
