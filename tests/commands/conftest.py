"""Whole runs whose pictures are drawn and not rendered, except where a test asks for it."""

from __future__ import annotations

from tests.helpers.pictures import rendered_pictures, unrendered_pictures  # noqa: F401 - fixtures
