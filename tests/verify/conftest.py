"""An archive to damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.verify.archives import distributions, make


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return make(tmp_path / "archive", distributions(4, 10_000))
